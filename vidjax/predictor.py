"""Video files → classes and features, with one object that keeps the compiled network."""

import dataclasses
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from vidjax import config as cfg
from vidjax import parallel
from vidjax.config.validate import validate
from vidjax.data.listing.datasets import read_class_names
from vidjax.data.reading.clips import ClipReader, Clips
from vidjax.errors import UserError
from vidjax.evaluation import metrics
from vidjax.evaluation.evaluate import make_forward
from vidjax.models.inputs import input_channels
from vidjax.models.state import merge, split
from vidjax.training.checkpoints import CheckpointFolderError, load_model
from vidjax.video import VideoError

log = logging.getLogger("vidjax")

File = str | Path


@dataclass(frozen=True)
class ClassScore:
    """A class and its probability."""

    name: str
    score: float


@dataclass(frozen=True, eq=False)
class ClipPrediction:
    """The scores of one clip, the mean over its crops."""

    start: float  # of its first frame, seconds from the first frame of the file
    end: float  # of its last frame
    scores: np.ndarray  # float64 (K,), probabilities
    classes: tuple[ClassScore, ...]  # the best, best first


@dataclass(frozen=True, eq=False)
class Prediction:
    """The scores of one file, the mean over its clips, or why it has none."""

    path: str
    scores: np.ndarray | None = None  # float64 (K,), probabilities
    classes: tuple[ClassScore, ...] = ()  # the best, best first
    clips: tuple[ClipPrediction, ...] = ()  # in the order of time
    error: str = ""  # what is wrong with the file

    def to_dict(self) -> dict[str, Any]:
        """What JSON says of it: `path` and `error`, or `path`, `top` (classes and scores) and, where there are several,
        `clips` with `start`, `end` and `top` each."""
        if self.error:
            return {"path": self.path, "error": self.error}
        entry: dict[str, Any] = {"path": self.path, "top": _entries(self.classes)}
        if len(self.clips) > 1:
            entry["clips"] = [{"start": c.start, "end": c.end, "top": _entries(c.classes)} for c in self.clips]
        return entry


class Predictor:
    """A trained network that takes video files.

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

    A model from Python comes with its spec:

    >>> model = vidjax.load_pretrained("r2plus1d_18", "r2plus1d_18.pth")
    >>> predictor = vidjax.Predictor(model, vidjax.get_spec("r2plus1d_18"), class_names="kinetics400")

    Files are decoded ahead in threads, sampled, resized and cropped as evaluation does it. Views go through the network
    one at a time, so that all files share one compiled program.

    Attributes:
      spec: what the network expects of its input.
      class_names: K names, in the order of the scores; empty for a network without a classifier.
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
        multi_label: bool | None = None,
    ):
        """Load a checkpoint, or take a model.

        Args:
          model: work directory of a run, folder written by `convert`, or a model from `create_model`,
            `load_pretrained` or `load_model`, whose weights are taken as they are now.
          spec: of a model: what `get_spec` says, with the changes that it was built or trained with, such as
            `dataclasses.replace(spec, input="diff")`. A folder has its own.
          class_names: K names in the order of the outputs, or the name of a data set, such as "kinetics400"; None:
            those of the checkpoint, and class_0, class_1, … for a model.
          top: classes listed in `classes`, best first.
          num_clips: clips per video; None: as in the checkpoint's config, and 1 for a model.
          num_crops: crops per clip: 1, 3, 5 or 10; None: the same.
          step: of a folder: checkpoint of this update; None: the best.
          multi_label: whether a video has several classes, so that probabilities are independent of each other; None:
            as the checkpoint was trained, and False for a model.

        Raises:
          CheckpointFolderError: if a folder holds no checkpoint.
          ConfigError: for numbers that the config's sampling rule does not have.
          UserError: for a model without its spec, a spec that does not fit it, or as many class names as do not fit it.
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
            self.spec, config, own = meta.spec, meta.config, meta.class_names
            multi_label = meta.multi_label if multi_label is None else multi_label
            dtype = parallel.compute_dtype(config.model.compute_dtype)
        else:
            _check_model(model, spec, step)
            self.spec, own, dtype = spec, (), None
            config = cfg.Config(model=cfg.ModelConfig(name=spec.name, input=spec.input))
        views = cfg.EvalConfig(
            num_clips=num_clips or config.eval.num_clips, num_crops=num_crops or config.eval.num_crops
        )
        validate(dataclasses.replace(config, eval=views))
        self._views = (views.num_clips, views.num_crops)
        self._probabilities = metrics.sigmoid if multi_label else metrics.softmax
        self._reader = ClipReader(self.spec, config.data)
        head = getattr(model, "head", None)
        self.class_names = _class_names(class_names, own, 0 if head is None else head.out_features)
        graphdef, params, stats = split(model)
        model = merge(graphdef, params, stats)  # the caller's own may be in training mode, and stays so
        self._weights = jax.device_put((params, stats), parallel.replicated(self._mesh))
        self._forward = make_forward(model, self.spec, self._mesh, dtype)
        self._features = make_forward(model, self.spec, self._mesh, dtype, features=True)

    def __call__(self, path: File) -> Prediction:
        """The classes of one file.

        Raises:
          VideoError: if the file cannot be decoded.
          UserError: if the network has no classifier.
        """
        self._need_classes()
        return self._prediction(str(path), self._reader.eval_clips(str(path), *self._views))

    def predict(self, paths: Iterable[File] | File) -> list[Prediction]:
        """The classes of several files, in their order; one that cannot be decoded has an `error` instead.

        Raises:
          UserError: if the network has no classifier.
        """
        return list(self.stream(paths))

    def stream(self, paths: Iterable[File] | File) -> Iterator[Prediction]:
        """As `predict`, each file's as soon as it is there."""
        self._need_classes()
        return self._stream(paths)

    def features(self, paths: Iterable[File] | File) -> np.ndarray:
        """The network's features of several files, float32 `(N, D)`, the mean over a file's views.

        The row of a file that cannot be decoded is NaN, and a warning is logged.
        """
        rows = []
        for _, clips in self._read(paths):
            if isinstance(clips, VideoError):
                log.warning("%s: its row of features is NaN", clips)
                rows.append(None)
            else:
                rows.append(self._run(self._features, clips.video).mean(axis=0))
        width = next((len(row) for row in rows if row is not None), None)
        if width is None:
            width = self._width()
        empty = np.full(width, np.nan, np.float32)
        return np.stack([empty if row is None else row for row in rows]) if rows else np.empty((0, width), np.float32)

    def _stream(self, paths: Iterable[File] | File) -> Iterator[Prediction]:
        for path, clips in self._read(paths):
            if isinstance(clips, VideoError):
                yield Prediction(path, error=clips.reason)
            else:
                yield self._prediction(path, clips)

    def _need_classes(self) -> None:
        if self.spec.objective != "classify":
            raise CheckpointFolderError(
                f"{self._title}: {self.spec.name} was pre-trained to {self.spec.objective} and knows no "
                "classes; fine-tune a classifier from it with --config.model.init_from"
            )
        if not self.class_names:
            raise UserError(f"{self._title} has no classifier: it gives features(paths) alone")

    def _read(self, paths: Iterable[File] | File) -> Iterator[tuple[str, Clips | VideoError]]:
        """Each file's views, or what is wrong with it, decoded a few files ahead."""

        def read(path: str) -> Clips | VideoError:
            try:
                return self._reader.eval_clips(path, *self._views)
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

    def _run(self, forward: Callable[..., jax.Array], views: np.ndarray) -> np.ndarray:
        """What the network makes of the views (V, T, H, W, 3), float32 (V, …)."""
        sharding = parallel.batch_sharding(self._mesh)
        outputs = [forward(*self._weights, parallel.place(view[None], sharding)) for view in views]
        return np.concatenate([np.asarray(x) for x in outputs])

    def _prediction(self, path: str, clips: Clips) -> Prediction:
        scores = self._probabilities(self._run(self._forward, clips.video))
        crops = self._views[1]
        each = scores.reshape(-1, crops, scores.shape[-1]).mean(axis=1)
        times = clips.times[::crops]
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
        """D, without a file."""
        size = self.spec.size
        video = jax.ShapeDtypeStruct((1, self.spec.num_frames, size, size, 3), np.uint8)
        return jax.eval_shape(self._features, *self._weights, video).shape[1]


def numbered_classes(count: int) -> tuple[str, ...]:
    """class_0, class_1, …, with leading zeros: for networks whose classes have no known names."""
    width = len(str(count - 1))
    return tuple(f"class_{i:0{width}d}" for i in range(count))


def _check_model(model: nnx.Module, spec: cfg.Spec | None, step: int | None) -> None:
    if not isinstance(model, nnx.Module):
        raise UserError(f"model = {model!r}: give the folder of a run, or a model from vidjax.create_model")
    if spec is None:
        raise UserError(
            "give the model's spec too, Predictor(model, vidjax.get_spec(NAME)): it says how frames are sampled and "
            "normalised"
        )
    if step is not None:
        raise UserError(f"step = {step}: is for the folder of a run")
    if (expected := input_channels(spec)) != getattr(model, "channels", expected):
        raise UserError(
            f"the model takes {model.channels} channels, and the spec ({spec.name}, input={spec.input!r}) gives "
            f"{expected}: give the spec it was built with, such as dataclasses.replace(spec, input='rgb+diff')"
        )


def _class_names(given: Sequence[str] | str | None, own: tuple[str, ...], count: int) -> tuple[str, ...]:
    if isinstance(given, str):
        if given not in cfg.DATASETS:
            raise UserError(f"class_names = {given!r}: give K names, or one of {', '.join(cfg.DATASETS)}")
        given = read_class_names(given)
    if given is None:
        return own or (numbered_classes(count) if count else ())
    names = tuple(given)
    if len(names) != count:
        raise UserError(f"{len(names)} class names for a network of {count} classes")
    return names


def _entries(classes: tuple[ClassScore, ...]) -> list[dict[str, Any]]:
    return [{"class": c.name, "score": c.score} for c in classes]
