"""Cascade of classifiers: a dearer one is asked only where the cheaper ones are not sure, or sees only the clips of a
video of which the cheap one is surest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidjax.evaluation.calibration import halves
from vidjax.evaluation.metrics import join_views


@dataclass(frozen=True)
class Curve:
    """Accuracy and cost of a cascade by its threshold, from the cheap network alone to the dear one for every video.

    Attributes:
      thresholds: confidences of the cheap network below which the dear one is asked, ascending, float64 `(P,)`.
      asked: share of the videos about which the dear one is asked, float64 `(P,)`.
      accuracy: share of right answers, float64 `(P,)`.
    """

    thresholds: np.ndarray
    asked: np.ndarray
    accuracy: np.ndarray

    def place(self, drop: float) -> int:
        """Index of the smallest threshold with at most `drop` less accuracy than the dear network has alone.

        Args:
          drop: loss of accuracy, 0…1.
        """
        return int(np.argmax(self.accuracy >= self.accuracy[-1] - drop - 1e-9))


def curve(fast: np.ndarray, slow: np.ndarray, targets: np.ndarray) -> Curve:
    """Measure a cascade at every threshold that makes a difference.

    Args:
      fast: scores of the cheap network for N videos, `(N, K)`; the highest is its confidence.
      slow: scores of the dear network for the same videos, `(N, K)`.
      targets: classes of the videos, int `(N,)`.
    """
    sure = fast.max(axis=1)
    levels = np.unique(sure)
    # Between two levels any threshold gives the same; the middle is the safest.
    thresholds = np.concatenate([[0.0], (levels[:-1] + levels[1:]) / 2, [np.inf]])
    order = np.argsort(sure, kind="stable")
    gained = np.concatenate(
        [[0], np.cumsum((slow.argmax(axis=1) == targets)[order].astype(int) - (fast.argmax(axis=1) == targets)[order])]
    )
    number = np.searchsorted(sure[order], thresholds)
    right = (fast.argmax(axis=1) == targets).sum() + gained[number]
    return Curve(thresholds, number / len(targets), right / len(targets))


def choose(stages: Sequence[np.ndarray], targets: np.ndarray, drop: float) -> np.ndarray:
    """Thresholds of a cascade of several stages for an accepted loss of accuracy, float64 `(S − 1,)`.

    From the last but one stage to the first, each gets the smallest threshold that keeps within its share of the loss,
    all stages after it having theirs.

    Args:
      stages: scores of each stage for N videos, cheap to dear, `(N, K)` each; the highest is its confidence.
      targets: classes of the videos, int `(N,)`.
      drop: accepted loss of accuracy against the last stage, 0…1.
    """
    *early, answers = stages
    whole, thresholds = float((answers.argmax(axis=1) == targets).mean()), []
    for done, own in enumerate(reversed(early), start=1):
        found = curve(own, answers, targets)
        lowest = whole - drop * done / len(early)
        thresholds.append(found.thresholds[found.place(float(found.accuracy[-1]) - lowest)])
        answers = np.where(own.max(axis=1, keepdims=True) < thresholds[-1], answers, own)
    return np.array(thresholds[::-1])


def answering(stages: Sequence[np.ndarray], thresholds: np.ndarray) -> np.ndarray:
    """Number of the stage that answers each video, the first that is sure, int `(N,)`.

    Args:
      stages: scores of each stage for the videos, `(N, K)` each.
      thresholds: confidences below which a stage leaves the answer to the next, `(S − 1,)`.
    """
    found = np.full(len(stages[-1]), len(stages) - 1)
    for number in reversed(range(len(stages) - 1)):
        found[stages[number].max(axis=1) >= thresholds[number]] = number
    return found


def measured(stages: Sequence[np.ndarray], targets: np.ndarray, thresholds: np.ndarray) -> tuple[float, np.ndarray]:
    """Accuracy of a cascade, and the share of the videos that reach each stage, float64 `(S,)`.

    Args:
      stages, targets: as for `choose`.
      thresholds: as for `answering`.
    """
    return _told(*_counted(stages, targets, thresholds), len(targets))


def held_out(stages: Sequence[np.ndarray], targets: np.ndarray, drop: float) -> tuple[float, np.ndarray]:
    """Measure a cascade, as `measured`, on halves of the videos with the other half's thresholds.

    Args:
      stages, targets, drop: as for `choose`.
    """
    right, reached = 0, np.zeros(len(stages))
    for own, other in halves(len(targets)):
        thresholds = choose([each[other] for each in stages], targets[other], drop)
        more = _counted([each[own] for each in stages], targets[own], thresholds)
        right, reached = right + more[0], reached + more[1]
    return _told(right, reached, len(targets))


def _counted(stages: Sequence[np.ndarray], targets: np.ndarray, thresholds: np.ndarray) -> tuple[int, np.ndarray]:
    answered = answering(stages, thresholds)
    answers = np.stack([each.argmax(axis=1) for each in stages])[answered, np.arange(len(targets))]
    return int((answers == targets).sum()), np.array([(answered >= number).sum() for number in range(len(stages))])


def _told(right: int, reached: np.ndarray, count: int) -> tuple[float, np.ndarray]:
    return right / count, reached / count


def surest(scores: np.ndarray, count: int) -> list[int]:
    """Numbers of the clips with the highest probability of any class, ascending; of equal ones the first.

    Args:
      scores: scores of the V clips of one video, `(V, K)`.
      count: number of clips wanted; all if there are fewer.
    """
    return sorted(np.argsort(-scores.max(axis=1), kind="stable")[:count].tolist())


def by_clips(
    fast: np.ndarray, slow: np.ndarray, targets: np.ndarray, how: str = "mean"
) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy of the dear network on 1, 2, … V clips of every video, float64 `(V,)` twice: on those of which the cheap
    network is surest, and, to compare with, on as many in equal distances.

    Args:
      fast: scores of the cheap network for the V clips of N videos, `(N, V, K)`.
      slow: scores of the dear network for the same clips.
      targets: classes of the videos, int `(N,)`.
      how: "mean" or "max" of the clips' scores, see `config.eval.ensemble`.
    """
    count = slow.shape[1]
    order = np.argsort(-fast.max(axis=2), axis=1, kind="stable")

    def accuracy(rows: np.ndarray) -> float:
        joined = join_views(np.take_along_axis(slow, rows[:, :, None], axis=1), how)
        return float((joined.argmax(axis=1) == targets).mean())

    def spread(number: int) -> np.ndarray:
        places = ((np.arange(number) + 0.5) * count / number).astype(np.int64)
        return np.broadcast_to(places, (len(slow), number))

    numbers = range(1, count + 1)
    return (
        np.array([accuracy(order[:, :number]) for number in numbers]),
        np.array([accuracy(spread(number)) for number in numbers]),
    )
