"""Classes and features of video files, from one object that keeps the compiled network."""

import dataclasses
import functools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax import config as cfg
from vidjax import parallel
from vidjax.config import ReadingConfig, SamplingConfig
from vidjax.config.validate import validate
from vidjax.data.listing.class_lists import class_names_of
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import LabelSpace, Record
from vidjax.data.views import Views
from vidjax.errors import UserError
from vidjax.evaluation.calibration import tempered
from vidjax.evaluation.engine import Forward, compile_forward
from vidjax.evaluation.metrics import join_views
from vidjax.models.fingerprint import weights_fingerprint
from vidjax.models.layer_vectors import layer_vectors
from vidjax.models.state import merge, split
from vidjax.nn.enter import enter
from vidjax.opened_network import File, open_network
from vidjax.predictions import ClassScore, ClipPrediction, ClipVectors, Prediction
from vidjax.tasks import make_task
from vidjax.training.checkpoints import CheckpointFolderError
from vidjax.video import VideoError
from vidjax.view_batches import Apply, Example, Stage, apply, in_batches, staged
from vidjax.wording import things

log = logging.getLogger("vidjax")


class Predictor:
    """Trained network for video files.

    >>> predictor = vidjax.Predictor("runs/motion")
    >>> prediction = predictor("a.mp4")
    >>> prediction.classes[0]
    ClassScore(name='left', score=0.97)
    >>> [(clip.start, clip.end, clip.classes[0].name) for clip in prediction.clips]
    [(0.0, 1.4, 'left')]
    >>> [p.error or p.classes[0].name for p in predictor.predict(["a.mp4", "broken.mp4"])]
    ['left', 'no video stream']
    >>> predictor.features(["a.mp4", "b.mp4"]).shape
    (2, 64)

    A model built in Python is passed with its spec:

    >>> model = vidjax.load_pretrained("r2plus1d_18", "r2plus1d_18.pth")
    >>> predictor = vidjax.Predictor(model, vidjax.get_spec("r2plus1d_18"), class_names="kinetics400")

    A folder of `vidjax export` or `vidjax quantize` is used like the run that it comes from; it gives only classes.

    Files are decoded ahead in threads, and sampled, resized and cropped as in evaluation. Views go through the network
    one at a time, so that all files share one compiled program.

    Attributes:
      spec: format of the network's input.
      title: folder of the checkpoint, or class of the model.
      sampling: views of a file: `num_clips`, `num_crops`, and the `rule` and `hop` of its frames.
      class_names: K class names, in the order of the scores; empty for a network without a classifier.
      data: settings of reading.
      exported: whether the network is a program of `vidjax export`, which gives classes alone.
    """

    def __init__(
        self,
        model: File | nnx.Module,
        spec: cfg.Spec | None = None,
        *,
        class_names: Sequence[str] | str | None = None,
        top: int = 5,
        num_clips: int | None = None,
        num_crops: int | None = None,
        step: int | None = None,
        several: bool | None = None,
        sampling: SamplingConfig | None = None,
        reading: ReadingConfig | None = None,
    ):
        """Load a checkpoint, or take a model.

        Args:
          model: work directory of a run, folder written by `convert`, `export` or `quantize`, or a model from
            `create_model`, `load_pretrained` or `load_model`, with its current weights.
          spec: spec of a model: that of `get_spec`, with any changes made to build or train it, such as
            `spec.with_video(enters="differences")`. None for a folder, which has its own.
          class_names: K names in the order of the outputs, or the name of a data set, such as "kinetics400"; None:
            those of the checkpoint, or class_0, class_1, … for a model.
          top: number of classes listed in `classes`, best first.
          num_clips: clips per video; None: as in the checkpoint's config, or 1 for a model.
          num_crops: crops per clip, 1, 3, 5 or 10; None: as in the checkpoint's config, or 1 for a model.
          step: update number of the checkpoint to load, for a folder; None: the best.
          several: whether a video may have several classes, so that probabilities are independent of each other; None:
            as the checkpoint was trained, or False for a model.
          sampling: rule for the frames of clips, of which `eval` and what belongs to it are used; None: as in the
            checkpoint's config.
          reading: threads and limits of decoding; None: as in the checkpoint's config.

        Raises:
          CheckpointFolderError: if a folder holds no checkpoint.
          ConfigError: if the config's sampling rule does not support the numbers of clips or crops.
          UserError: if a model has no spec, or its spec or the number of class names does not fit it.
        """
        if top < 1:
            raise UserError(f"top = {top}: give the number of classes to list, 1 or more")
        self._top = top
        self._mesh = parallel.make_mesh(1)
        opened = open_network(model, spec, step, sampling, reading, parallel.replicated(self._mesh))
        config, labels, dtype = opened.config, opened.labels, opened.dtype
        self.title, self.spec = opened.title, opened.spec
        views = cfg.EvalConfig(
            num_clips=num_clips or config.eval.num_clips, num_crops=num_crops or config.eval.num_crops
        )
        validate(dataclasses.replace(config, eval=views))
        self._views = (views.num_clips, views.num_crops)
        rule = config.data.sampling
        self.sampling: dict[str, Any] = {"num_clips": views.num_clips, "num_crops": views.num_crops}
        self.sampling |= {"rule": rule.eval, "hop": rule.hop}
        self._reader, self.data = ExampleReader(self.spec, config.data), config.data
        self.exported = opened.exported is not None
        self.class_names = class_names_of(class_names, labels.names, opened.outputs)
        self.several = labels.several if several is None else several
        task = make_task(config, self.spec, LabelSpace(self.class_names, self.several), dtype)
        self._present, self._ensemble = task.present, config.eval.ensemble
        self._thresholds = opened.thresholds(self.class_names) if self.several else None
        self._temperature = opened.temperature
        self._model: nnx.Module | None = None
        self._weights: Any = ({}, {})
        self._forward: Forward
        self._describing: Callable[[str], Forward]
        if opened.exported is not None:
            self._forward, self._describing = opened.exported.logits, self._refuse
            return
        graphdef, params, stats = split(opened.own_model)
        # A copy: the caller's model may be in training mode, and stays so.
        self._model = merge(graphdef, params, stats)
        self._weights = jax.device_put((params, stats), parallel.replicated(self._mesh))
        self._dtype = dtype
        self._forward = self.compiled(lambda network, inputs: network(inputs).astype(np.float32))
        self._describing = functools.cache(
            lambda layer: self.compiled(lambda network, inputs: layer_vectors(network, inputs, layer))
        )

    def compiled(self, outputs: Callable[[Any, dict[str, jax.Array]], jax.Array]) -> Forward:
        """Compile a function of the network and its inputs as they enter it, `(B, …)` each, to `(B, …)`."""

        def forward(network: nnx.Module, inputs: Mapping[str, jax.Array], number: jax.Array) -> jax.Array:
            del number  # nothing is drawn
            return outputs(network, enter(inputs, self.spec.inputs, self._dtype, network=network))

        return compile_forward(self.network, forward, self._mesh)

    def staged(self, stage: Callable[..., Any], network: nnx.Module | None = None) -> Stage:
        """Compile a part of the network for batches of views, see `vidjax.view_batches.staged`.

        Args:
          stage: function of the network, the inputs of B views as they enter it, and arrays that the stage before has
            left, to outputs `(B, …)` and arrays for the next.
          network: network that is used in place of the predictor's own; None: its own.
        """
        network = self.network if network is None else network

        def entering(network: Any, inputs: Any, left: Any) -> Any:
            return stage(network, enter(inputs, self.spec.inputs, self._dtype, network=network), left)

        return staged(network, entering)

    def __call__(self, path: File) -> Prediction:
        """Predict the classes of one file.

        Raises:
          VideoError: if the file cannot be decoded.
          UserError: if the network has no classifier.
        """
        return self.with_views(path)[0]

    def predict(self, paths: Iterable[File] | File) -> list[Prediction]:
        """Predict the classes of several files, in their order; one that cannot be decoded has an `error` instead.

        Raises:
          UserError: if the network has no classifier.
        """
        return list(self.stream(paths))

    def stream(self, videos: Iterable[File | Record] | File | Record, *, batch_size: int = 1) -> Iterator[Prediction]:
        """Predict like `predict`, but yield each file's result as soon as it is ready.

        Args:
          videos: files, or records of parts of them.
          batch_size: number of views that go through the network at a time, of one file or several.
        """
        self.need_classes()
        found = in_batches(self.examples(videos), self.applying(batch_size), batch_size)
        return (self.prediction(*each) for each in found)

    def features(self, paths: Iterable[File] | File) -> np.ndarray:
        """Compute the network's features of several files, float32 `(N, D)`, averaged over each file's views.

        The row of a file that cannot be decoded is NaN, and a warning is logged.
        """
        rows = []
        for found in self.embed(paths):
            if found.vectors is None:
                log.warning("%s: %s: its row of features is NaN", found.path, found.error)
            rows.append(None if found.vectors is None else found.vectors.mean(axis=0))
        width = next((len(row) for row in rows if row is not None), None)
        if width is None:
            width = self.width()
        empty = np.full(width, np.nan, np.float32)
        return np.stack([empty if row is None else row for row in rows]) if rows else np.empty((0, width), np.float32)

    def embed(
        self, videos: Iterable[File | Record] | File | Record, *, layer: str = "", batch_size: int = 1
    ) -> Iterator[ClipVectors]:
        """Compute one feature vector per clip of each file, in their order, as soon as it is ready.

        Args:
          videos: files, or records of parts of them.
          layer: path of the module of which the output is taken, such as "blocks.3", averaged over all its places; see
            `VideoNetwork.intermediates`. Empty: the classifier's input.
          batch_size: number of views that go through the network at a time, of one file or several.

        Raises:
          UserError: if the network has no such layer, or it names several.
        """
        apply = self.applying(batch_size, self._describing(layer))
        for path, views, rows in in_batches(self.examples(videos), apply, batch_size):
            yield self.vectors(path, views, rows)

    def read(self, video: File | Record) -> Example:
        """Read the views of one file: inputs by name, `(V, …)` each, and the views.

        Raises:
          VideoError: if the file cannot be decoded.
        """
        record = video if isinstance(video, Record) else Record(str(video))
        return self._reader.evaluate(record, *self._views)

    def applying(self, batch_size: int, forward: Forward | None = None) -> Apply:
        """Function from up to `batch_size` views, each with its arrays by the name of the input, to their outputs.

        Args:
          batch_size: size of the batches that it is compiled for, on its first use.
          forward: function that `compiled` returned; None: the network's own outputs.
        """
        return lambda views: apply(forward or self._forward, self._weights, self._mesh, views, batch_size)

    @property
    def network(self) -> nnx.Module:
        """The network, in evaluation mode.

        Raises:
          UserError: if there are only programs exported from it.
        """
        return self._refuse() if self._model is None else self._model

    def _refuse(self, layer: str = "") -> Any:
        del layer
        raise UserError(
            f"{self.title} holds exported programs, which give classes alone: give the run for anything else"
        )

    def with_views(self, path: File) -> tuple[Prediction, dict[str, np.ndarray], Views]:
        """Predict the classes of one file, and return what was read for it: inputs by name, `(V, …)` each, and views.

        Raises:
          VideoError: if the file cannot be decoded.
          UserError: if the network has no classifier.
        """
        self.need_classes()
        inputs, views = self.read(path)
        ((_, _, outputs),) = in_batches([(str(path), (inputs, views))], self.applying(1), 1)
        return self.prediction(str(path), views, outputs), inputs, views

    def read_clips(self, path: File, clips: Sequence[int]) -> Example:
        """Read the views of some clips of one file, as `read` does those of all.

        Args:
          path: the file.
          clips: numbers of the clips in the order of time, from 0.

        Raises:
          VideoError: if the file cannot be decoded.
          UserError: if the file has no such clip.
        """
        inputs, views = self.read(path)
        crops = self._views[1]
        if not clips or min(clips) < 0 or max(clips) >= len(views) // crops:
            raise UserError(f"{path} has {things(len(views) // crops, 'clip')}, so that there is no {list(clips)}")
        rows = (np.asarray(sorted(clips))[:, None] * crops + np.arange(crops)).ravel()
        return {name: array[rows] for name, array in inputs.items()}, views.only(rows)

    def entered(self, inputs: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Inputs as they enter the network, from arrays as read, `(V, …)` each."""
        arrays = {name: jnp.asarray(array) for name, array in inputs.items()}
        return enter(arrays, self.spec.inputs, network=self.network)

    def views_of(self, prediction: Prediction) -> int:
        """Number of views, crops of clips, that a prediction comes from."""
        return len(prediction.clips) * self._views[1]

    @property
    def fingerprint(self) -> str:
        """Hash of the weights, 16 hexadecimal digits; see `vidjax.models.fingerprint`."""
        return weights_fingerprint(self.network)

    def vectors(self, path: str, views: Views | VideoError, outputs: np.ndarray) -> ClipVectors:
        """Vectors of a file's clips from those of its views, `(V, D)`; or the error that prevented them."""
        if isinstance(views, VideoError):
            return ClipVectors(path, error=views.reason)
        crops = self._views[1]
        times = views.times[::crops]
        vectors = outputs.reshape(-1, crops, outputs.shape[-1]).mean(axis=1)
        return ClipVectors(path, vectors, times.min(axis=1), times.max(axis=1))

    @property
    def has_classes(self) -> bool:
        """Whether the network has a classifier, and its task an answer to show."""
        return self._present is not None and bool(self.class_names)

    def need_classes(self) -> None:
        """Check that the network has a classifier.

        Raises:
          UserError: if it has none.
        """
        if self._present is None:
            raise CheckpointFolderError(
                f"{self.title}: {self.spec.name} is trained to {self.spec.task} and has no "
                "classes; fine-tune a classifier from it with --config.model.init_from, or see `vidjax --help` for the "
                "command of its task"
            )
        if not self.class_names:
            raise UserError(f"{self.title} has no classifier: it gives only features(paths)")

    def examples(self, videos: Iterable[File | Record] | File | Record) -> Iterator[tuple[str, Example | VideoError]]:
        """Yield each file's views, or its error, decoded a few files ahead."""

        def read(record: Record) -> Example | VideoError:
            try:
                return self.read(record)
            except VideoError as error:
                return error

        videos = [videos] if isinstance(videos, str | Path | Record) else videos
        threads = self._reader.config.reading.num_threads
        ahead: deque[tuple[str, Future]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            for video in videos:
                record = video if isinstance(video, Record) else Record(str(video))
                ahead.append((record.path, pool.submit(read, record)))
                if len(ahead) > threads:
                    path, future = ahead.popleft()
                    yield path, future.result()
            while ahead:
                path, future = ahead.popleft()
                yield path, future.result()

    def prediction(self, path: str, views: Views | VideoError, outputs: np.ndarray) -> Prediction:
        """Classes of a file from the network's outputs for its views, `(V, K)`; or the error that prevented them."""
        if isinstance(views, VideoError):
            return Prediction(path, error=views.reason)
        assert self._present is not None  # it has classes
        # Thresholds are for the scores of evaluations, which have no temperature.
        shown = self._shown(join_views(self._present(outputs), self._ensemble))
        scores = self.scores(outputs)
        whole = join_views(scores, self._ensemble)
        crops = self._views[1]
        each = join_views(scores.reshape(-1, crops, scores.shape[-1]), self._ensemble)
        times = views.times[::crops]
        found = tuple(
            ClipPrediction(float(time.min()), float(time.max()), row, self._best(row))
            for time, row in zip(times, each, strict=True)
        )
        return Prediction(path, whole, self._best(whole), shown, found)

    def scores(self, outputs: np.ndarray) -> np.ndarray:
        """Probabilities of classes, with the run's temperature, from the network's outputs for views, `(V, K)` both."""
        assert self._present is not None  # it has classes
        scores = self._present(outputs)
        return scores if self._temperature == 1 else tempered(scores, self._temperature, self.several)

    def _shown(self, scores: np.ndarray) -> tuple[ClassScore, ...] | None:
        if self._thresholds is None:
            return None
        order = [i for i in np.argsort(-scores, kind="stable") if scores[i] >= self._thresholds[i]]
        return tuple(ClassScore(self.class_names[i], float(scores[i])) for i in order)

    def _best(self, scores: np.ndarray) -> tuple[ClassScore, ...]:
        best = np.argsort(-scores, kind="stable")[: self._top]
        return tuple(ClassScore(self.class_names[i], float(scores[i])) for i in best)

    def width(self, layer: str = "") -> int:
        """Number of features D of the vectors of `embed`, found without reading a file.

        Raises:
          UserError: if the network has no such layer, or it names several.
        """
        inputs = {name: array[None] for name, array in self.blank().items()}
        return jax.eval_shape(self._describing(layer), *self._weights, inputs, np.zeros(1, np.int32)).shape[1]

    def blank(self) -> dict[str, np.ndarray]:
        """Inputs of a view of nothing, zeros by name, in the shapes and types of those that are read."""
        shapes = self._reader.layout().shapes(1, 1)["inputs"]
        return {name: np.zeros(shape[2:], dtype) for name, (shape, dtype) in shapes.items()}
