"""Classes of video files from two networks, of which the dear one sees only a part: files of which the cheap one is not
sure, or the clips of every file of which it is surest. Where the cheap one is an early exit of the dear one, that goes
on from there."""

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vidjax.data.views import Views
from vidjax.errors import UserError
from vidjax.evaluation.cascade import surest
from vidjax.models.cut import from_there, up_to
from vidjax.models.layer_vectors import mean_of_places
from vidjax.predictions import Prediction
from vidjax.predictor import File, Predictor
from vidjax.video import VideoError
from vidjax.view_batches import split_views
from vidjax.wording import things

CASCADE = "cascade.json"


@dataclass(frozen=True)
class CascadeSettings:
    """Runs and threshold of a cascade, as `vidjax cascade` writes them.

    Attributes:
      fast: folder of the cheap run; a relative path is relative to the folder of the cascade.
      slow: folder of the dear run, likewise.
      threshold: confidence of the cheap network below which the dear one is asked.
      gmacs: multiply-adds of a clip in each network, 10⁹.
      layer: path of the layer that both share: the cheap run is a probe on it, an early exit of the dear network, which
        goes on from its output; the dear run's multiply-adds are then those from there on. Empty: they share nothing.
      clips: number of clips of every file that the dear network sees, those of which the cheap one is surest; 0: it
        sees all clips of files below the threshold.
    """

    fast: str
    slow: str
    threshold: float
    gmacs: tuple[float, float]
    clips: int = 0
    layer: str = ""


def write_settings(folder: Path, settings: CascadeSettings) -> Path:
    """Write a cascade to its folder; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / CASCADE
    file.write_text(json.dumps(asdict(settings), indent=2) + "\n", encoding="utf-8")
    return file


def read_settings(folder: File) -> CascadeSettings | None:
    """Read the cascade of a folder; None: it has none.

    Raises:
      UserError: if the file is damaged.
    """
    path = Path(folder) / CASCADE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return CascadeSettings(**values | {"gmacs": tuple(values["gmacs"])})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}); run `vidjax cascade` again") from None


class Cascade:
    """Two trained networks for video files.

    Args:
      folder: folder that `vidjax cascade` wrote.
      options: arguments of both `Predictor`s: `top`, `num_clips`, `num_crops`.

    Raises:
      UserError: if the folder holds no cascade, or the networks have different classes.
    """

    def __init__(self, folder: File, **options: Any):
        found = read_settings(folder)
        if found is None:
            raise UserError(f"{folder} holds no cascade: write one with `vidjax cascade FAST SLOW --out {folder}`")
        self._threshold, self._gmacs, self._clips = found.threshold, found.gmacs, found.clips
        self._fast = Predictor(Path(folder) / found.fast, **options)
        self._slow = Predictor(Path(folder) / found.slow, **options)
        if self._fast.class_names != self._slow.class_names:
            raise UserError(f"{folder}: the runs {found.fast} and {found.slow} have different classes")
        self._exit = _Exit(self._fast, self._slow, found.layer) if found.layer else None
        self.class_names = self._fast.class_names
        self.files, self.asked, self._cost = 0, 0, 0.0

    def stream(self, paths: Iterable[File] | File) -> Iterator[Prediction]:
        """Predict several files in their order; one that cannot be decoded has an `error` instead."""
        for cheap, go_on in self._cheap(paths):
            if cheap.error:
                yield cheap
                continue
            self.files += 1
            self._cost += self._fast.views_of(cheap) * self._gmacs[0]
            prediction = cheap
            if self._clips or cheap.classes[0].score < self._threshold:
                self.asked += 1
                prediction = go_on()
                self._cost += self._slow.views_of(prediction) * self._gmacs[1]
            yield prediction

    def _cheap(self, paths: Iterable[File] | File) -> Iterator[tuple[Prediction, Callable[[], Prediction]]]:
        """The cheap network's predictions, and a function that asks the dear one about the file."""
        if self._exit is not None:
            yield from self._exit.stream(paths)
            return
        for cheap in self._fast.stream(paths):
            yield cheap, functools.partial(self._dear, cheap)

    def _dear(self, cheap: Prediction) -> Prediction:
        if not self._clips:
            (prediction,) = self._slow.stream(cheap.path)
            return prediction
        return self._slow.of_clips(cheap.path, surest(np.stack([c.scores for c in cheap.clips]), self._clips))

    def predict(self, paths: Iterable[File] | File) -> list[Prediction]:
        """Predict several files, in their order."""
        return list(self.stream(paths))

    def __call__(self, path: File) -> Prediction:
        """Predict one file; one that cannot be decoded has an `error` instead."""
        return self.predict(path)[0]

    @property
    def told(self) -> str:
        """What the files so far have cost, in words; empty before the first."""
        if not self.files:
            return ""
        if self._clips:
            seen = f"the dear network saw {things(self._clips, 'clip')} of each file"
            return f"{seen}; {self._cost / self.files:.3g} GMACs per file on average"
        return (
            f"the dear network was asked about {self.asked} of {self.files} files; "
            f"{self._cost / self.files:.3g} GMACs per file on average"
        )


class _Exit:
    """A network with an early exit: up to the exit, and from there on, view by view.

    Args:
      early: predictor of the probe on the layer.
      whole: predictor of the network.
      layer: path of the layer in the network.
    """

    def __init__(self, early: Predictor, whole: Predictor, layer: str):
        self._early, self._whole = early, whole

        def leave(network: Any, inputs: dict[str, jax.Array]) -> Any:
            inner = up_to(network.backbone, inputs, layer)
            return network.classified(mean_of_places(inner, inputs, layer)).astype(jnp.float32), inner

        def go_on(network: Any, inputs: dict[str, jax.Array], inner: list[jax.Array]) -> jax.Array:
            return from_there(network, inputs, layer, inner).astype(jnp.float32)

        self._leave, self._go_on = early.staged(leave), whole.staged(go_on)

    def stream(self, paths: Iterable[File] | File) -> Iterator[tuple[Prediction, Callable[[], Prediction]]]:
        """Predictions of the exit, and functions that go on to the end."""
        for path, example in self._early.examples(paths):
            if isinstance(example, VideoError):
                unread = self._early.prediction(path, example, np.empty(0))
                yield unread, functools.partial(lambda same: same, unread)
                continue
            inputs, views = example
            each = split_views(inputs)
            left = [self._leave(view) for view in each]
            cheap = self._early.prediction(path, views, np.concatenate([np.asarray(logits) for logits, _ in left]))

            def dear(path: str = path, views: Views = views, each: Any = each, left: Any = left) -> Prediction:
                rest = [self._go_on(view, inner) for view, (_, inner) in zip(each, left, strict=True)]
                return self._whole.prediction(path, views, np.concatenate([np.asarray(logits) for logits in rest]))

            yield cheap, dear


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
        raise UserError(f"{folder} is a cascade of two runs, which have steps of their own: leave the step out")
    return Cascade(folder, **options)
