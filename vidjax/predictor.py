"""Classes and features of video files, from one object that keeps the compiled network."""

import dataclasses
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from vidjax import config as cfg
from vidjax import parallel
from vidjax.config.choices import DATASETS
from vidjax.config.validate import validate
from vidjax.data.listing.class_lists import read_class_names
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import LabelSpace, Record
from vidjax.data.views import Views
from vidjax.errors import UserError
from vidjax.evaluation.engine import Forward, compile_forward
from vidjax.inputs import VideoInput
from vidjax.models.state import merge, split
from vidjax.nn.enter import enter
from vidjax.tasks import make_task
from vidjax.training.checkpoints import CheckpointFolderError, load_model
from vidjax.video import VideoError

log = logging.getLogger("vidjax")

File = str | Path
Example = tuple[dict[str, np.ndarray], Views]


@dataclass(frozen=True)
class ClassScore:
    """Class and its probability."""

    name: str
    score: float


@dataclass(frozen=True, eq=False)
class ClipPrediction:
    """Scores of one clip, averaged over its crops."""

    start: float  # time of its first frame, seconds from the first frame of the file
    end: float  # time of its last frame, seconds
    scores: np.ndarray  # float64 (K,), probabilities
    classes: tuple[ClassScore, ...]  # the best, best first


@dataclass(frozen=True, eq=False)
class Prediction:
    """Scores of one file, averaged over its clips, or the error that prevented them."""

    path: str
    scores: np.ndarray | None = None  # float64 (K,), probabilities
    classes: tuple[ClassScore, ...] = ()  # the best, best first
    clips: tuple[ClipPrediction, ...] = ()  # in the order of time
    error: str = ""  # reason the file could not be used; empty: none

    def to_dict(self) -> dict[str, Any]:
        """Dictionary for JSON: `path` and `error`, or `path`, `top` (classes and scores) and, if there are several,
        `clips`, each with `start`, `end` and `top`."""
        if self.error:
            return {"path": self.path, "error": self.error}
        entry: dict[str, Any] = {"path": self.path, "top": _entries(self.classes)}
        if len(self.clips) > 1:
            entry["clips"] = [{"start": c.start, "end": c.end, "top": _entries(c.classes)} for c in self.clips]
        return entry


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

    Files are decoded ahead in threads, and sampled, resized and cropped as in evaluation. Views go through the network
    one at a time, so that all files share one compiled program.

    Attributes:
      spec: format of the network's input.
      class_names: K class names, in the order of the scores; empty for a network without a classifier.
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
    ):
        """Load a checkpoint, or take a model.

        Args:
          model: work directory of a run, folder written by `convert`, or a model from `create_model`,
            `load_pretrained` or `load_model`, with its current weights.
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

        Raises:
          CheckpointFolderError: if a folder holds no checkpoint.
          ConfigError: if the config's sampling rule does not support the numbers of clips or crops.
          UserError: if a model has no spec, or its spec or the number of class names does not fit it.
        """
        if top < 1:
            raise UserError(f"top = {top}: give the number of classes to list, 1 or more")
        self._top = top
        self._mesh = parallel.make_mesh(1)
        self._title = str(model) if isinstance(model, str | Path) else type(model).__name__
        if isinstance(model, str | Path):
            if spec is not None:
                raise UserError(f"{model}: a folder has its own spec; leave it out")
            model, meta, _ = load_model(model, step=step, sharding=parallel.replicated(self._mesh))
            self.spec, config, labels = meta.spec, meta.config, meta.labels
            dtype = parallel.compute_dtype(config.model.compute_dtype)
        else:
            _check_model(model, spec, step)
            self.spec, labels, dtype = spec, LabelSpace(()), None
            config = cfg.Config(model=cfg.ModelConfig(name=spec.name))
        views = cfg.EvalConfig(
            num_clips=num_clips or config.eval.num_clips, num_crops=num_crops or config.eval.num_crops
        )
        validate(dataclasses.replace(config, eval=views))
        self._views = (views.num_clips, views.num_crops)
        self._reader = ExampleReader(self.spec, config.data)
        head = getattr(model, "head", None)
        self.class_names = _class_names(class_names, labels.names, 0 if head is None else head.out_features)
        several = labels.several if several is None else several
        task = make_task(config, self.spec, LabelSpace(self.class_names, several), dtype)
        self._present = task.present
        graphdef, params, stats = split(model)
        model = merge(graphdef, params, stats)  # a copy: the caller's model may be in training mode, and stays so
        self._weights = jax.device_put((params, stats), parallel.replicated(self._mesh))

        def answer(network: nnx.Module, inputs: Mapping[str, jax.Array], number: jax.Array) -> jax.Array:
            del number
            return network(enter(inputs, self.spec.inputs, dtype)).astype(np.float32)

        def describe(network: nnx.Module, inputs: Mapping[str, jax.Array], number: jax.Array) -> jax.Array:
            del number
            return network.features(enter(inputs, self.spec.inputs, dtype)).astype(np.float32)

        self._forward = compile_forward(model, answer, self._mesh)
        self._features = compile_forward(model, describe, self._mesh)

    def __call__(self, path: File) -> Prediction:
        """Predict the classes of one file.

        Raises:
          VideoError: if the file cannot be decoded.
          UserError: if the network has no classifier.
        """
        self._need_classes()
        return self._prediction(str(path), *self._reader.evaluate(Record(str(path)), *self._views))

    def predict(self, paths: Iterable[File] | File) -> list[Prediction]:
        """Predict the classes of several files, in their order; one that cannot be decoded has an `error` instead.

        Raises:
          UserError: if the network has no classifier.
        """
        return list(self.stream(paths))

    def stream(self, paths: Iterable[File] | File) -> Iterator[Prediction]:
        """Predict like `predict`, but yield each file's result as soon as it is ready."""
        self._need_classes()
        return self._stream(paths)

    def features(self, paths: Iterable[File] | File) -> np.ndarray:
        """Compute the network's features of several files, float32 `(N, D)`, averaged over each file's views.

        The row of a file that cannot be decoded is NaN, and a warning is logged.
        """
        rows = []
        for _, example in self._read(paths):
            if isinstance(example, VideoError):
                log.warning("%s: its row of features is NaN", example)
                rows.append(None)
            else:
                rows.append(self._run(self._features, example[0]).mean(axis=0))
        width = next((len(row) for row in rows if row is not None), None)
        if width is None:
            width = self._width()
        empty = np.full(width, np.nan, np.float32)
        return np.stack([empty if row is None else row for row in rows]) if rows else np.empty((0, width), np.float32)

    def _stream(self, paths: Iterable[File] | File) -> Iterator[Prediction]:
        for path, example in self._read(paths):
            if isinstance(example, VideoError):
                yield Prediction(path, error=example.reason)
            else:
                yield self._prediction(path, *example)

    def _need_classes(self) -> None:
        if self._present is None:
            raise CheckpointFolderError(
                f"{self._title}: {self.spec.name} was pre-trained to {self.spec.task} and has no "
                "classes; fine-tune a classifier from it with --config.model.init_from"
            )
        if not self.class_names:
            raise UserError(f"{self._title} has no classifier: it gives only features(paths)")

    def _read(self, paths: Iterable[File] | File) -> Iterator[tuple[str, Example | VideoError]]:
        """Yield each file's views, or its error, decoded a few files ahead."""

        def read(path: str) -> Example | VideoError:
            try:
                return self._reader.evaluate(Record(path), *self._views)
            except VideoError as error:
                return error

        paths = [paths] if isinstance(paths, str | Path) else paths
        threads = self._reader.config.reading.num_threads
        ahead: deque[tuple[str, Future]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            for path in map(str, paths):
                ahead.append((path, pool.submit(read, path)))
                if len(ahead) > threads:
                    path, future = ahead.popleft()
                    yield path, future.result()
            while ahead:
                path, future = ahead.popleft()
                yield path, future.result()

    def _run(self, forward: Forward, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Outputs of the network for the views, `(V, …)` of each input; float32 `(V, …)`."""
        sharding, count = parallel.batch_sharding(self._mesh), len(next(iter(inputs.values())))
        views = ({name: array[view, None] for name, array in inputs.items()} for view in range(count))
        number = np.zeros(1, np.int32)
        outputs = [forward(*self._weights, *parallel.place((view, number), sharding)) for view in views]
        return np.concatenate([np.asarray(x) for x in outputs])

    def _prediction(self, path: str, inputs: Mapping[str, np.ndarray], views: Views) -> Prediction:
        scores = self._present(self._run(self._forward, inputs))
        crops = self._views[1]
        each = scores.reshape(-1, crops, scores.shape[-1]).mean(axis=1)
        times = views.times[::crops]
        found = tuple(
            ClipPrediction(float(time.min()), float(time.max()), row, self._best(row))
            for time, row in zip(times, each, strict=True)
        )
        whole = scores.mean(axis=0)
        return Prediction(path, whole, self._best(whole), found)

    def _best(self, scores: np.ndarray) -> tuple[ClassScore, ...]:
        best = np.argsort(-scores, kind="stable")[: self._top]
        return tuple(ClassScore(self.class_names[i], float(scores[i])) for i in best)

    def _width(self) -> int:
        """Number of features D, found without reading a file."""
        shapes = self._reader.layout().shapes(1, 1)["inputs"]
        inputs = {name: jax.ShapeDtypeStruct((1, *shape[2:]), dtype) for name, (shape, dtype) in shapes.items()}
        number = jax.ShapeDtypeStruct((1,), np.int32)
        return jax.eval_shape(self._features, *self._weights, inputs, number).shape[1]


def numbered_classes(count: int) -> tuple[str, ...]:
    """Placeholder names class_0, class_1, …, with leading zeros, for classes without known names."""
    width = len(str(count - 1))
    return tuple(f"class_{i:0{width}d}" for i in range(count))


def _check_model(model: nnx.Module, spec: cfg.Spec | None, step: int | None) -> None:
    if not isinstance(model, nnx.Module):
        raise UserError(f"model = {model!r}: give the folder of a run, or a model from vidjax.create_model")
    if spec is None:
        raise UserError(
            "give the model's spec too, Predictor(model, vidjax.get_spec(NAME)): it sets how frames are sampled and "
            "normalised"
        )
    if step is not None:
        raise UserError(f"step = {step}: only the folder of a run has steps; leave it out for a model")
    videos = [value for value in spec.inputs.values() if isinstance(value, VideoInput)]
    for video in videos:
        if video.channels != getattr(model, "channels", video.channels):
            raise UserError(
                f"the model takes {model.channels} channels, and the spec ({spec.name}, {video.enters}) gives "
                f"{video.channels}: give the spec it was built with, such as spec.with_video(enters='both')"
            )


def _class_names(given: Sequence[str] | str | None, own: tuple[str, ...], count: int) -> tuple[str, ...]:
    if isinstance(given, str):
        if given not in DATASETS:
            raise UserError(f"class_names = {given!r}: give K names, or one of {', '.join(DATASETS)}")
        given = read_class_names(given)
    if given is None:
        return own or (numbered_classes(count) if count else ())
    names = tuple(given)
    if len(names) != count:
        raise UserError(f"{len(names)} class names for a network of {count} classes")
    return names


def _entries(classes: tuple[ClassScore, ...]) -> list[dict[str, Any]]:
    return [{"class": c.name, "score": c.score} for c in classes]
