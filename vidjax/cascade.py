"""Classes of video files from a cascade: two networks, or one with early exits, whose dear stages see only a part:
files of which the cheaper ones are not sure, or the clips of every file of which the cheap one is surest.

Views of several files go through a stage together. Those of files that go on are regrouped with others', so that every
stage has full batches of one size; the few that are left at the end go through one by one. So each stage is compiled
for two sizes only.
"""

import functools
import json
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vidjax.config import Spec
from vidjax.data.views import Views
from vidjax.errors import UserError
from vidjax.evaluation.cascade import surest
from vidjax.models.exits import PREFIX, add_exits, stage
from vidjax.models.probe import plain_head
from vidjax.models.state import assign, merge, split
from vidjax.predictions import Prediction
from vidjax.predictor import File, Predictor
from vidjax.video import VideoError
from vidjax.view_batches import Example, Inputs, Left, Stage, split_views
from vidjax.wording import things

CASCADE = "cascade.json"
BATCH = 8  # views that go through a stage together
_WAITING = 64  # batches' worth of files that may wait for one before them


@dataclass(frozen=True)
class CascadeSettings:
    """Runs and thresholds of a cascade, as `vidjax cascade` writes them.

    Attributes:
      runs: folders of the cheap run and of the dear one, or of the one run with early exits; a relative path is
        relative to the folder of the cascade.
      thresholds: confidence of each stage but the last below which the next one is asked.
      gmacs: multiply-adds of a clip in each stage, 10⁹; where a network goes on from a layer, those from there on.
      clips: number of clips of every file that the dear network sees, those of which the cheap one is surest; 0: it
        sees all clips of files below the threshold.
      layers: paths of the layers with early exits, from which the network goes on: those of the one run, or the one
        layer of the dear run on which the cheap one is a probe. Empty: two runs share nothing.
    """

    runs: tuple[str, ...]
    thresholds: tuple[float, ...]
    gmacs: tuple[float, ...]
    clips: int = 0
    layers: tuple[str, ...] = ()


def write_settings(folder: Path, settings: CascadeSettings) -> Path:
    """Write a cascade to its folder; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / CASCADE
    file.write_text(json.dumps(asdict(settings), indent=2) + "\n", encoding="utf-8")
    return file


def read_settings(folder: File) -> CascadeSettings | None:
    """Read the cascade of a folder; None: it has none.

    Raises:
      UserError: if the file is damaged, or of an older version.
    """
    path = Path(folder) / CASCADE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        lists = {name: tuple(values[name]) for name in ("runs", "thresholds", "gmacs", "layers")}
        return CascadeSettings(**values | lists)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged or of an older version ({error}); run `vidjax cascade` again") from None


@dataclass(frozen=True)
class _Step:
    """One stage of a cascade.

    Attributes:
      predictor: predictor that reads the files, and puts the answer in words.
      run: the stage for views.
      gmacs: multiply-adds of a view, 10⁹.
      reads: whether it reads files anew, and does not go on with the views, and what was left, of the stage before.
    """

    predictor: Predictor
    run: Stage
    gmacs: float
    reads: bool


@dataclass
class _File:
    """A file on its way through the stages."""

    path: str
    views: Views | None = None
    inputs: list[dict[str, np.ndarray]] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    outputs: dict[int, np.ndarray] = field(default_factory=dict)
    answer: Prediction | None = None


class Cascade:
    """Stages of trained networks for video files.

    Args:
      folder: folder that `vidjax cascade` wrote.
      batch_size: views, of one file or several, that go through a stage together; what is left in the end goes through
        one by one.
      options: arguments of `Predictor`: `top`, `num_clips`, `num_crops`.

    Attributes:
      files: number of files so far that could be read.
      reached: number of these that reached each stage.

    Raises:
      UserError: if the folder holds no cascade, the networks have different classes, or a run's exits are others.
    """

    def __init__(self, folder: File, *, batch_size: int = BATCH, **options: Any):
        found = read_settings(folder)
        if found is None:
            raise UserError(f"{folder} holds no cascade: write one with `vidjax cascade FAST SLOW --out {folder}`")
        if batch_size < 1:
            raise UserError(f"batch_size = {batch_size}: give the number of views that are computed together")
        predictors = [Predictor(Path(folder) / run, **options) for run in found.runs]
        for each in predictors:
            each.need_classes()
        if predictors[0].class_names != predictors[-1].class_names:
            raise UserError(f"{folder}: the runs {' and '.join(found.runs)} have different classes")
        self._thresholds, self._clips, self._size = found.thresholds, found.clips, batch_size
        self._steps = _from_exits(predictors, found) if found.layers else _apart(predictors, found)
        self.class_names = predictors[0].class_names
        self.files, self.reached = 0, [0] * len(self._steps)
        self._names = (*found.layers, "the end") if len(found.runs) == 1 else ()
        self._cost, self._seconds, self._compiled = 0.0, 0.0, set[tuple[int, int]]()
        self._waiting: list[deque[tuple[_File, int]]] = []

    def stream(self, paths: Iterable[File] | File) -> Iterator[Prediction]:
        """Predict several files in their order; one that cannot be decoded has an `error` instead."""
        self._waiting = [deque() for _ in self._steps]
        order: deque[_File] = deque()
        for path, example in self._steps[0].predictor.examples(paths):
            order.append(_File(path))
            self._enter(order[-1], 0, example)
            self._compute(all_of_them=len(order) > _WAITING * self._size)
            while order and (answer := order[0].answer) is not None:
                order.popleft()
                yield answer
        self._compute(all_of_them=True)
        for file in order:
            assert file.answer is not None
            yield file.answer

    def _enter(self, file: _File, number: int, example: Example | VideoError) -> None:
        """Let a file that was read into a stage."""
        if isinstance(example, VideoError):
            file.answer = self._steps[number].predictor.prediction(file.path, example, np.empty(0))
            return
        inputs, file.views = example
        file.inputs = split_views(inputs)
        file.left = [[] for _ in file.inputs]
        self._wait(file, number)

    def _wait(self, file: _File, number: int) -> None:
        self.files += not number
        self.reached[number] += 1
        self._cost += len(file.inputs) * self._steps[number].gmacs
        file.outputs = {}
        self._waiting[number].extend((file, view) for view in range(len(file.inputs)))

    def _compute(self, *, all_of_them: bool) -> None:
        """Compute full batches, stage by stage, and then, if asked, the views that are left."""
        for number, waiting in enumerate(self._waiting):
            while len(waiting) >= (1 if all_of_them else self._size):
                size = self._size if len(waiting) >= self._size else 1
                self._run(number, [waiting.popleft() for _ in range(size)])

    def _run(self, number: int, batch: Sequence[tuple[_File, int]]) -> None:
        views, left = [file.inputs[view] for file, view in batch], [file.left[view] for file, view in batch]
        run = self._steps[number].run
        if (number, len(batch)) not in self._compiled:
            run(views, left)  # what compiles is not timed
            self._compiled.add((number, len(batch)))
        start = time.perf_counter()
        outputs, leaving = run(views, left)
        self._seconds += time.perf_counter() - start
        for place, (file, view) in enumerate(batch):
            file.outputs[view] = outputs[place]
            file.left[view] = leaving[place] if leaving else []
            if len(file.outputs) == len(file.inputs):
                self._answer(file, number)

    def _answer(self, file: _File, number: int) -> None:
        """Take the answer of a stage that a file has gone through, or let the file into the next."""
        assert file.views is not None
        outputs = np.stack([file.outputs[view] for view in range(len(file.inputs))])
        found = self._steps[number].predictor.prediction(file.path, file.views, outputs)
        if number == len(self._thresholds) or not found.classes[0].score < self._thresholds[number]:
            file.answer, file.inputs, file.left = found, [], []
        elif self._steps[number + 1].reads:
            self._enter(file, number + 1, self._read(file.path, self._steps[number + 1].predictor, found))
        else:
            self._wait(file, number + 1)

    def _read(self, path: str, predictor: Predictor, cheap: Prediction) -> Example | VideoError:
        try:
            if not self._clips:
                return predictor.read(path)
            return predictor.read_clips(path, surest(np.stack([c.scores for c in cheap.clips]), self._clips))
        except VideoError as error:
            return error

    def predict(self, paths: Iterable[File] | File) -> list[Prediction]:
        """Predict several files, in their order."""
        return list(self.stream(paths))

    def __call__(self, path: File) -> Prediction:
        """Predict one file; one that cannot be decoded has an `error` instead."""
        return self.predict(path)[0]

    @property
    def asked(self) -> int:
        """Number of files so far that reached the last stage."""
        return self.reached[-1]

    @property
    def told(self) -> str:
        """What the files so far have cost, in words; empty before the first."""
        if not self.files:
            return ""
        if self._names:
            at = [a - b for a, b in zip(self.reached, (*self.reached[1:], 0), strict=True)]
            seen = f"of {things(self.files, 'file')} " + ", ".join(
                f"{count} left at {name}" for count, name in zip(at, self._names, strict=True)
            )
        elif self._clips:
            seen = f"the dear network saw {things(self._clips, 'clip')} of each file"
        else:
            seen = f"the dear network was asked about {self.asked} of {self.files} files"
        return (
            f"{seen}; {self._cost / self.files:.3g} GMACs per file on average, and "
            f"{1000 * self._seconds / self.files:.3g} ms of computing"
        )


def _apart(predictors: Sequence[Predictor], found: CascadeSettings) -> list[_Step]:
    """Stages that are networks of their own."""

    def whole(predictor: Predictor, views: Sequence[Inputs], left: Sequence[Left]) -> tuple[np.ndarray, list[Left]]:
        del left
        return predictor.applying(len(views))(views), []

    return [
        _Step(predictor, functools.partial(whole, predictor), gmacs, reads=True)
        for predictor, gmacs in zip(predictors, found.gmacs, strict=True)
    ]


def _from_exits(predictors: Sequence[Predictor], found: CascadeSettings) -> list[_Step]:
    """Stages of one network, the last of the `predictors`, each of which goes on from the exit before it."""
    network: Any = predictors[-1].network
    if len(predictors) > 1:
        network = _with_probe(network, predictors[0].network, found.layers, predictors[-1].spec)
    if network.exits is None or network.exits.layers != found.layers:
        raise UserError(f"{found.runs[-1]} has not the exits {', '.join(found.layers)}; run `vidjax cascade` again")
    steps = []
    for number, gmacs in enumerate(found.gmacs):

        def run(network: Any, inputs: Any, left: Any, number: int = number) -> Any:
            return stage(network, inputs, number, left)

        predictor = predictors[min(number, len(predictors) - 1)]
        steps.append(_Step(predictor, predictors[-1].staged(run, network), gmacs, reads=not number))
    return steps


def _with_probe(network: Any, probe: Any, layers: Sequence[str], spec: Spec) -> Any:
    """A copy of a network with a linear probe of one of its layers as an early exit."""
    copy: Any = merge(*split(network))
    copy.eval()
    add_exits(copy, layers, probe.head.out_features, spec)
    (prefix,) = (path.removesuffix("kernel") for path in split(copy)[1] if path.startswith(PREFIX) and "kernel" in path)
    _, params, stats = split(probe)
    assign(copy, {prefix + name: array for name, array in plain_head(params | stats).items()})
    return copy


def open_predictor(folder: File, **options: Any) -> Predictor | Cascade:
    """Predictor of a folder, which holds a run, a converted or exported model, or a cascade.

    Args:
      folder: the folder.
      options: arguments of `Predictor`.

    Raises:
      UserError: as `Predictor` and `Cascade` do, and for `step` with a cascade.
    """
    if read_settings(folder) is None:
        return Predictor(folder, **options)
    if options.pop("step", None) is not None:
        raise UserError(f"{folder} is a cascade of runs with steps of their own: leave the step out")
    return Cascade(folder, **options)
