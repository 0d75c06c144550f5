"""Calibration of classifiers: probabilities that say how often the classes are right.

A classifier that gives 0.8 to its answers should be right in 8 of 10. Temperature scaling divides the logits by one
number, which changes no ranking of a view's classes. Paper: Guo et al., On Calibration of Modern Neural Networks
(1706.04599).
"""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar

from vidjax.errors import UserError
from vidjax.evaluation import identity
from vidjax.evaluation.fusion import VideoScores, read_scores
from vidjax.evaluation.metrics import join_views, sigmoid, softmax

log = logging.getLogger("vidjax")

CALIBRATION = "calibration.json"  # in the folder of a run
BINS = 15
# Temperatures tried: from sharper by a factor of 20 to flatter by as much.
_LARGEST = 20.0
_TINY = 1e-300  # in place of a probability of 0, which has no logarithm


@dataclass(frozen=True)
class Calibration:
    """Temperature of a run's checkpoint, as stored with the run.

    Attributes:
      temperature: T, divisor of the logits.
      step: update after which the checkpoint was written.
      num_videos: number of videos on which T was chosen.
    """

    temperature: float
    step: int
    num_videos: int


@dataclass(frozen=True)
class Reliability:
    """Confidence and accuracy of answers, in bins of equal width over confidences of 0…1.

    Attributes:
      count: answers in each bin, int `(bins,)`.
      confidence: mean confidence of each bin, float64 `(bins,)`; NaN: empty.
      accuracy: share of right answers of each bin, float64 `(bins,)`; NaN: empty.
    """

    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error (ECE): mean distance of confidence and accuracy, weighted by the bins' counts."""
        full = self.count > 0
        distance = np.abs(self.confidence[full] - self.accuracy[full])
        return float((distance * self.count[full]).sum() / self.count.sum()) if full.any() else float("nan")


def tempered(probabilities: np.ndarray, temperature: float, several: bool = False) -> np.ndarray:
    """Probabilities of the same logits divided by a temperature, float64 of the same shape.

    Args:
      probabilities: softmax of logits over the last axis, or sigmoid of each.
      temperature: divisor of the logits, above 0; more than 1 makes the classifier less sure.
      several: whether they are sigmoids.
    """
    sure = np.log(np.maximum(probabilities, _TINY, dtype=np.float64)) / temperature
    if several:
        unsure = np.log(np.maximum(1.0 - probabilities, _TINY, dtype=np.float64)) / temperature
        return sigmoid(sure - unsure)
    return softmax(sure)


def reliability(probabilities: np.ndarray, targets: np.ndarray, bins: int = BINS) -> Reliability:
    """Compare how sure a classifier is with how often it is right.

    With one class per video an answer is the best class, and its confidence the probability. With several, every class
    of every video is an answer, and its confidence the probability that the class is there.

    Args:
      probabilities: scores of N videos, `(N, K)`, in 0…1.
      targets: classes, int `(N,)`, or zeros and ones `(N, K)`; below 0: not known, left out.
      bins: number of bins.
    """
    if targets.ndim == 2:
        known = targets >= 0
        confidence, right = probabilities[known], targets[known] > 0
    else:
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)

    def mean(values: np.ndarray) -> np.ndarray:
        total = np.bincount(place, values.astype(np.float64), minlength=bins)
        return np.divide(total, count, out=np.full(bins, np.nan), where=count > 0)

    return Reliability(count, mean(confidence), mean(right))


def log_loss(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean of −ln of the probabilities given to what is true; NaN without videos.

    Args:
      probabilities: scores of N videos, `(N, K)`, in 0…1.
      targets: classes, int `(N,)`, or zeros and ones `(N, K)`; below 0: not known, left out.
    """
    if targets.ndim == 2:
        known = targets >= 0
        true = np.where(targets > 0, probabilities, 1.0 - probabilities)[known]
    else:
        true = probabilities[np.arange(len(targets)), targets]
    return float(-np.log(np.maximum(true, _TINY)).mean()) if true.size else float("nan")


def fit_temperature(joined: Callable[[float], np.ndarray], targets: np.ndarray) -> float:
    """Choose the temperature of the lowest log loss.

    Args:
      joined: function of a temperature that gives the scores of N videos, `(N, K)`.
      targets: classes, int `(N,)`, or zeros and ones `(N, K)`; below 0: not known.

    Returns:
      The temperature, between 0.05 and 20.
    """

    def loss(logarithm: float) -> float:
        return log_loss(joined(float(np.exp(logarithm))), targets)

    most = float(np.log(_LARGEST))
    return float(np.exp(minimize_scalar(loss, bounds=(-most, most), method="bounded", options={"xatol": 1e-4}).x))


class ViewScores:
    """Scores of every view of an evaluation's N videos, at any temperature.

    Args:
      folder: folder of the evaluation, with `scores.npz` and `eval.json`.

    Attributes:
      scores: scores of the videos, as evaluated.
      step: update of the evaluated checkpoint; None: the evaluation does not name it.
      ensemble: rule that joins the scores of views, "mean" or "max".
      num_crops: number of crops of every clip.
      exits: paths of the layers of the network's early exits.

    Raises:
      UserError: if there are no scores of views.
    """

    def __init__(self, folder: Path):
        self.scores = read_scores(folder)
        with np.load(folder / "scores.npz") as arrays:
            if "view_scores" not in arrays:
                raise UserError(f"{folder / 'scores.npz'} holds no scores of clips; evaluate the run again")
            self._views, count = arrays["view_scores"].astype(np.float64), arrays["num_views"]
            self.exits: tuple[str, ...] = tuple(map(str, arrays["exits"])) if "exits" in arrays else ()
            self._exit_views = arrays["exit_view_scores"].astype(np.float64) if self.exits else self._views[None]
        self._is_view = np.arange(self._views.shape[1]) < count[:, None]
        told = identity.read(folder) or {}
        self.step: int | None = told.get("step")
        self.ensemble: str = told.get("views", {}).get("ensemble", "mean")
        self.num_crops: int = told.get("views", {}).get("num_crops", 1)

    @property
    def mean_views(self) -> float:
        """Mean number of views per video."""
        return float(self._is_view.sum(axis=1).mean())

    def at(self, temperature: float, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Scores of videos at a temperature, float64 `(N, K)`.

        Args:
          temperature: divisor of the logits.
          rows: numbers of the videos; all by default.
        """
        views = tempered(self._views[rows], temperature, self.scores.targets.ndim == 2)
        return join_views(views, self.ensemble, self._is_view[rows])

    def at_exits(self, temperature: float) -> list[VideoScores]:
        """Scores of videos at each of the network's early exits, at a temperature.

        Args:
          temperature: divisor of the logits.
        """
        each = [tempered(views, temperature) for views in (self._exit_views if self.exits else ())]
        return [replace(self.scores, scores=join_views(views, self.ensemble, self._is_view)) for views in each]

    def of_clips(self, temperature: float) -> np.ndarray:
        """Scores of the clips of every video, each joined from those of its crops, float64 `(N, clips, K)`.

        Args:
          temperature: divisor of the logits.

        Raises:
          UserError: if videos have different numbers of clips.
        """
        if not self._is_view.all():
            raise UserError("the videos of the evaluation have different numbers of clips, which cannot be compared")
        views = tempered(self._views, temperature, self.scores.targets.ndim == 2)
        return join_views(views.reshape(len(views), -1, self.num_crops, views.shape[-1]), self.ensemble)

    def temperature(self, folder: Path) -> float:
        """Temperature stored with the run in `folder` for the evaluated checkpoint; 1: there is none."""
        return 1.0 if self.step is None else stored_temperature(folder, self.step)

    def calibrated(self, temperature: float) -> VideoScores:
        """Scores at a temperature, as predictions have them."""
        return replace(self.scores, scores=self.at(temperature))


def halves(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each half of `count` videos with the other, drawn at random but always alike: int arrays of their numbers.

    What is chosen on one and measured on the other is not optimistic.
    """
    order = np.random.default_rng(0).permutation(count)
    return [(order[::2], order[1::2]), (order[1::2], order[::2])]


def write_calibration(folder: Path, found: Calibration) -> Path:
    """Write a calibration to the folder of a run; returns the file."""
    file = folder / CALIBRATION
    whole = file.with_suffix(".tmp")
    whole.write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")
    return whole.replace(file)


def read_calibration(folder: Path) -> Calibration | None:
    """Read the calibration of a run; None: it has none.

    Raises:
      UserError: if the file is damaged.
    """
    path = folder / CALIBRATION
    try:
        found = Calibration(**json.loads(path.read_text(encoding="utf-8")))
        if not 0 < found.temperature < float("inf"):
            raise ValueError(f"temperature = {found.temperature}")
        return found
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); calibrate again, or remove it") from None


def stored_temperature(folder: Path, step: int) -> float:
    """Temperature of a run for the checkpoint of an update; 1: none is stored, or that of another update (a warning).

    Raises:
      UserError: if the file is damaged.
    """
    found = read_calibration(folder)
    if found is None or found.step == step:
        return 1.0 if found is None else found.temperature
    told = "%s is of update %d and not used for update %d: evaluate, and calibrate again"
    log.warning(told, folder / CALIBRATION, found.step, step)
    return 1.0
