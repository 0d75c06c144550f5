"""The network of an index: which it is, and loading it again for queries."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from vidjax.config import SamplingConfig
from vidjax.data.listing.paths import VIDEO_SUFFIXES
from vidjax.data.records import Record
from vidjax.embeddings.index import Index, Origin, VectorsError, file_state, place, refuse_other
from vidjax.errors import UserError
from vidjax.inputs import to_dict
from vidjax.predictions import ClipVectors
from vidjax.predictor import Predictor
from vidjax.training.checkpoints import CheckpointFolderError
from vidjax.video.byte_sources import is_remote
from vidjax.zero_shot import encode_texts


def origin_of(predictor: Predictor, *, layer: str = "", per: str = "clip", step: int | None = None) -> Origin:
    """Describe the vectors that a network gives with its settings.

    Args:
      predictor: network with its views of a file.
      layer: path of the layer; empty: the classifier's input.
      per: "clip" or "video": what gets a vector.
      step: number of the update of the checkpoint; None: the best.

    Raises:
      UserError: if the network has no such layer.
    """
    return Origin(
        model=predictor.spec.name,
        folder=os.path.abspath(predictor.title),
        step=step,
        fingerprint=predictor.fingerprint,
        layer=layer,
        inputs={name: value for name, value in to_dict(predictor.spec.inputs).items() if value["kind"] != "text"},
        sampling=predictor.sampling,
        per=per,
        width=predictor.width(layer),
    )


def network_of(folder: str | Path, origin: Origin, run: str = "") -> Predictor:
    """Load the network that made the vectors of an index, with the same views.

    Args:
      folder: folder of the index, for messages.
      origin: network and settings of the index.
      run: folder of the checkpoint; empty: that from which the index was made.

    Raises:
      VectorsError: if the checkpoint is gone, or another network is there now; names both.
    """
    views: dict[str, Any] = dict(origin.sampling)
    sampling = SamplingConfig(eval=views.pop("rule"), hop=views.pop("hop"))
    try:
        predictor = Predictor(run or origin.folder, step=None if run else origin.step, sampling=sampling, **views)
    except CheckpointFolderError as error:
        if run:
            raise
        raise VectorsError(
            f"{folder} has vectors of {origin.words}, but {error}; if that folder has moved, give it with --run"
        ) from None
    refuse_other(folder, origin, origin_of(predictor, layer=origin.layer, per=origin.per))
    return predictor


def pooled(found: ClipVectors, per: str) -> ClipVectors:
    """Vectors of a file per "clip", as they are, or per "video": their mean, from the first frame to the last."""
    if per == "clip" or found.vectors is None or found.start is None or found.end is None:
        return found
    whole = np.array([found.start.min()]), np.array([found.end.max()])
    return ClipVectors(found.path, found.vectors.mean(axis=0, keepdims=True), *whole)


class Queries:
    """Clip vectors of files: from an index if they are there and unchanged, or else of its network, loaded on use.

    Args:
      index: index to compare with.
      run: folder of the network's checkpoint; empty: that from which the index was made.
    """

    def __init__(self, index: Index, run: str = ""):
        self._index, self._run = index, run
        self._network: Predictor | None = None

    def __call__(self, path: str) -> ClipVectors:
        """Return the vectors of a file.

        Raises:
          VectorsError: if the file cannot be read, or the index was made by another network than there is.
        """
        index, number = self._index, self._index.find(path)
        if number is not None and not self._run:
            video, rows = index.videos[number], index.rows(number)
            state = file_state(video.path)
            if state in ((video.bytes, video.modified), (-1, -1)):
                return ClipVectors(video.path, index.vectors[rows], index.start[rows], index.end[rows])
        (found,) = self._loaded().embed(Record(place(path)), layer=index.origin.layer)
        if found.error:
            raise VectorsError(f"{path}: {found.error}")
        return pooled(found, index.origin.per)

    def in_words(self, query: str) -> bool:
        """Whether a query is words: it names no file, and has no suffix or address of a video."""
        suffixed = Path(query).suffix.lower() in VIDEO_SUFFIXES or is_remote(query)
        return not suffixed and not Path(query).exists() and self._index.find(query) is None

    def text(self, words: str) -> ClipVectors:
        """Return the vector of words, `(1, D)`, without times.

        Raises:
          VectorsError: if the vectors of the index are those of a layer, or as `network_of`.
          UserError: if the network of the index reads no text, or looks at the video beside it, or the words are too
            many for it.
        """
        if self._index.origin.layer:
            raise VectorsError(
                f"{self._index.folder} has vectors of the layer {self._index.origin.layer}, which texts do not have; "
                "embed anew without --layer"
            )
        network = self._loaded()
        if getattr(network.network, "texts_vary", False):
            raise UserError(
                f"{words!r} is no file, and as words: in {network.spec.name} a text has another vector beside each "
                "video, of which an index keeps too little. Ask it for classes, with `vidjax predict --labels`, or "
                "embed with a network whose texts stand by themselves, such as clip_b32"
            )
        try:
            return ClipVectors(words, encode_texts(network.network, network.spec, [words]))
        except UserError as error:
            raise UserError(f"{words!r} is no file, and as words: {error}") from None

    def _loaded(self) -> Predictor:
        """The network of the index."""
        if self._network is None:
            self._network = network_of(self._index.folder, self._index.origin, self._run)
        return self._network
