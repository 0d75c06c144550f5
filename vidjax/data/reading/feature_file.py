"""Files of features of long videos, one per video: vectors, and the times that they stand for.

Vector i comes from `window` frames, the first of which is number `i · stride`, and stands for the middle of them. Files
of `vidjax features` (.npz) state stride, window and frame rate themselves, and the fingerprint of the network; for
published files (.npy, .npz, .h5, .pkl) settings give them.
"""

import os
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vidjax.config import FeaturesConfig
from vidjax.data.records import Segments
from vidjax.data.text import DataError
from vidjax.errors import UserError, install
from vidjax.unpickle import ForbiddenError, load
from vidjax.video import VideoError

SUFFIXES = (".npz", ".npy", ".h5", ".hdf5", ".pkl", ".pickle")
KEYS = ("features", "feats", "feat", "feature")  # of the vectors in files with several arrays
_HDF5, _PICKLES = (".h5", ".hdf5"), (".pkl", ".pickle")
_MEND = "make it again, or leave it out"
_FACTS = ("stride", "window", "fps")  # arguments of `Grid.of_frames`


@dataclass(frozen=True)
class Grid:
    """Times of the vectors of a video.

    Attributes:
      step: time from one vector to the next, seconds.
      reach: half of the window that a vector is computed from, in steps: how far it reaches beyond its time.
      first: number in the file of the vector at place 0.
    """

    step: float
    reach: float
    first: float = 0.0

    @classmethod
    def of_frames(cls, stride: float, window: float, fps: float) -> "Grid":
        """Make the grid of vectors from `window` frames each, `stride` frames apart, of a video of `fps` frames/s."""
        return cls(stride / fps, 0.5 * window / stride)

    @classmethod
    def spread(cls, start: float, end: float, places: int) -> "Grid":
        """Make the grid of places spread evenly from `start` to `end`, seconds: place i is the start of its part."""
        step = max(end - start, 1e-9) / places
        return cls(step, 0.0, start / step)

    def seconds(self, place: Any) -> np.ndarray:
        """Times of places on the grid, float64, seconds from the first frame."""
        return (np.asarray(place, np.float64) + self.first + self.reach) * self.step

    def place(self, seconds: Any) -> np.ndarray:
        """Places on the grid of times in seconds from the first frame, float64; vector i of a view has place i."""
        return np.asarray(seconds, np.float64) / self.step - self.reach - self.first

    def resized(self, count: int, steps: int) -> "Grid":
        """Grid of `count` vectors after they are resized linearly to `steps`."""
        return Grid((count - 1 + 2 * self.reach) * self.step / steps, 0.5)


@dataclass(frozen=True)
class FeatureFile:
    """Vectors of a video, and what its file states.

    Attributes:
      path: path of the file; of a video in an HDF5 file or a pickle of many, "FILE#VIDEO".
      vectors: array `(N, D)`, which may still be on disk.
      stated: stride, window, fps, duration (seconds), model (a fingerprint) and model_name, as far as the file states
        them.
    """

    path: str
    vectors: np.ndarray
    stated: Mapping[str, Any]

    @property
    def duration(self) -> float | None:
        """Length of the video, seconds; None: not stated."""
        return self.stated.get("duration")

    def grid(self, settings: FeaturesConfig, annotation: Any = None) -> Grid:
        """Times of the vectors.

        Args:
          settings: settings that give, or must equal, what the file states.
          annotation: annotation of the video; a rate that segments state is taken where there is no other.

        Raises:
          DataError: if the file states other values than the settings, or neither states one.
        """
        facts = {name: self.stated.get(name) or 0.0 for name in _FACTS}
        for name in (*_FACTS, "model"):
            asked, found = getattr(settings, name), self.stated.get(name)
            if asked and found and not _equal(asked, found):
                raise DataError(
                    f"{self.path}: its {_words(name)} is {found}, but config.data.features.{name} = {asked}; compute "
                    "the features again with one model, stride and rate, or change the setting"
                )
            if asked and name in facts:
                facts[name] = asked
        if not facts["fps"] and isinstance(annotation, Segments):
            facts["fps"] = annotation.fps or 0.0
        if missing := [name for name, value in facts.items() if not value]:
            raise DataError(
                f"{self.path}: does not state its {' and '.join(map(_words, missing))}; give "
                + " and ".join(f"config.data.features.{name}" for name in missing)
            )
        return Grid.of_frames(*(float(facts[name]) for name in _FACTS))


def read_feature_file(path: str, width: int = 0) -> FeatureFile:
    """Open a file of features of one video.

    Args:
      path: path of the file, or "FILE#VIDEO" for one video of an HDF5 file or a pickle.
      width: D, numbers per vector; 0: any.

    Raises:
      VideoError: if it holds no such vectors; says so if they are transposed.
      UserError: if the extra for HDF5 is not installed.
    """
    file, _, video = path.partition("#")
    suffix = os.path.splitext(file)[1].lower()
    stated: dict[str, Any] = {}
    try:
        if suffix == ".npz":
            vectors, stated = _npz(path)
        elif suffix in _HDF5:
            vectors = _hdf5(file, video)
        elif suffix in _PICKLES:
            with open(file, "rb") as opened:
                vectors = _chosen(load(opened), video, path)
        else:
            vectors = np.load(file, mmap_mode="r", allow_pickle=False)
    except ForbiddenError as error:
        raise VideoError(path, f"is a pickle that names {error}, which only a program could use", _MEND) from None
    except (OSError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(path, f"is not a readable {suffix or 'feature'} file: {error}", _MEND) from None
    return FeatureFile(path, _checked(path, vectors, width), stated)


def settle(settings: FeaturesConfig, paths: Iterable[str], width: int) -> FeaturesConfig:
    """Copy of the settings in which those left open are as the first readable file states them.

    All files are then held to them, also in later evaluations of the run.

    Args:
      settings: settings of features.
      paths: files of features.
      width: D, numbers per vector that the network reads.

    Raises:
      DataError: if the file's vectors have another width.
    """
    for path in paths:
        try:
            file = read_feature_file(path)
        except VideoError:
            continue
        if (found := file.vectors.shape[1]) != width:
            if file.vectors.shape[0] == width:
                read_feature_file(path, width)  # which says that it is transposed
            raise DataError(
                f"{path}: has vectors of {found} numbers, but the network reads {width}; give "
                f"config.data.features.width = {found}"
            )
        stated = {name: file.stated[name] for name in (*_FACTS, "model") if file.stated.get(name)}
        return replace(settings, **{name: value for name, value in stated.items() if not getattr(settings, name)})
    return settings


def _npz(path: str) -> tuple[Any, dict[str, Any]]:
    with np.load(path, allow_pickle=False) as arrays:
        names = [name for name in KEYS if name in arrays] or (arrays.files if len(arrays.files) == 1 else [])
        if not names:
            raise VideoError(path, f"has no array {' or '.join(KEYS)}, only {', '.join(arrays.files)}", _MEND)
        stated = {n: arrays[n].item() for n in (*_FACTS, "duration", "model", "model_name") if n in arrays}
        return arrays[names[0]], stated


def _hdf5(file: str, video: str) -> np.ndarray:
    h5py = _h5py()
    with h5py.File(file, "r") as opened:
        return np.asarray(_chosen(opened, video, file))


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise UserError(f"HDF5 files need h5py: {install('hdf5')}") from None
    return h5py


def _chosen(held: Any, video: str, path: str) -> Any:
    """Array of one video among those that a file holds by name."""
    while hasattr(held, "keys"):
        names = [video] if video and video in held else [name for name in KEYS if name in held]
        names = names or (list(held.keys()) if len(held) == 1 and not video else [])
        if not names:
            shown = ", ".join(map(str, list(held.keys())[:3]))
            raise VideoError(path, f"holds {shown} …, none of which is {video or ' or '.join(KEYS)}", "check the names")
        held = held[names[0]]
    return held if hasattr(held, "attrs") else np.asarray(held)


def videos_in(file: str) -> list[str]:
    """Names of the videos in an HDF5 file.

    Raises:
      VideoError: if it cannot be read.
      UserError: if the extra for HDF5 is not installed.
    """
    try:
        with _h5py().File(file, "r") as opened:
            return list(opened.keys())
    except OSError as error:
        raise VideoError(file, f"is not a readable HDF5 file: {error}", _MEND) from None


def _checked(path: str, vectors: Any, width: int) -> np.ndarray:
    if not isinstance(vectors, np.ndarray) or vectors.dtype.kind not in "fiu":
        raise VideoError(path, "holds no array of numbers", _MEND)
    if vectors.ndim == 3 and 1 in vectors.shape:  # (1, N, D), as some authors store them
        vectors = vectors.squeeze(vectors.shape.index(1))
    if vectors.ndim == 2 and width and vectors.shape[1] != width and vectors.shape[0] == width:
        raise VideoError(
            path, f"has an array {vectors.shape}: vectors of {width} side by side, (D, N) where (N, D) is meant",
            "store it transposed",
        )  # fmt: skip
    if vectors.ndim != 2 or not len(vectors) or (width and vectors.shape[1] != width):
        raise VideoError(path, f"has an array {vectors.shape}, not (N, {width or 'D'})", _MEND)
    return vectors


def _equal(asked: Any, found: Any) -> bool:
    if isinstance(asked, str):
        return asked == found
    return abs(asked - found) <= 1e-3 * abs(found)


_WORDS: dict[str, str] = {"fps": "frame rate", "model": "fingerprint of the network"}


def _words(name: str) -> str:
    return _WORDS.get(name, name)
