"""Matching of predictions with truths, and average precision, for segments, boxes and tubes alike.

The parts that every scorer of localisation needs, vectorised over videos, classes and thresholds: pairs of predictions
and truths of one group (a class in a video or frame), greedy matching in the order of the scores, and the area under
the curve of precision and recall of each class.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from vidjax.errors import UserError

_MOST_PAIRS = 2_000_000  # pairs whose overlap is computed at once

Rule = TypeVar("Rule")

FREE, BEST = "free", "best"  # rules of `match`


@dataclass(frozen=True, eq=False)
class Pairs:
    """Predictions and truths of the same group that overlap.

    Attributes:
      prediction: rows of the predictions, int64 `(P,)`.
      truth: rows of the truths, int64 `(P,)`.
      overlap: overlap of each pair, in 0…1, float `(P,)`.
    """

    prediction: np.ndarray
    truth: np.ndarray
    overlap: np.ndarray


@dataclass(frozen=True, eq=False)
class ThresholdAP:
    """Average precision by least overlap and class.

    Attributes:
      protocol: name of the protocol.
      thresholds: least overlaps, float64 `(T,)`.
      ap: average precision by threshold and class, float64 `(T, K)`; NaN for a class without truth.
      num_truths: truths that count, by class, int64 `(K,)`.
    """

    protocol: str
    thresholds: np.ndarray
    ap: np.ndarray
    num_truths: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean over the classes with truth, float64 `(T,)`."""
        return class_mean(self.ap)

    @property
    def mAP(self) -> float:
        """Mean over classes and thresholds."""
        return float(self.mean.mean())


def overlapping(
    truth: np.ndarray,
    prediction: np.ndarray,
    overlap: Callable[[np.ndarray, np.ndarray], np.ndarray],
    least: float,
    most: int = _MOST_PAIRS,
) -> Pairs:
    """Find the pairs of a truth and a prediction of one group whose overlap is at least `least`.

    Args:
      truth: group of each truth, int `(M,)`.
      prediction: group of each prediction, int `(N,)`.
      overlap: function of the rows of predictions and truths, both `(P,)`, that gives their overlaps `(P,)`.
      least: least overlap to keep.
      most: pairs compared at once, which bounds the memory; more only if a single prediction has more.
    """
    order = np.argsort(truth, kind="stable")
    groups = truth[order]
    first = np.searchsorted(groups, prediction, "left")
    counts = np.searchsorted(groups, prediction, "right") - first
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.unique([0, *np.searchsorted(ends, np.arange(most, total, most)), len(prediction)])
    found = []
    for low, high in itertools.pairwise(cuts):
        count = counts[low:high]
        mine = np.repeat(np.arange(low, high), count)
        within = np.arange(len(mine)) - np.repeat(np.cumsum(count) - count, count)
        theirs = order[np.repeat(first[low:high], count) + within]
        values = overlap(mine, theirs)
        kept = values >= least
        found.append((mine[kept], theirs[kept], values[kept]))
    if not found:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return Pairs(*map(np.concatenate, zip(*found, strict=True)))


def falling(score: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Rows group by group, in each by falling score, int64 `(N,)`.

    Equal scores come as a reversed rising sort leaves them, which is what the published scorers do. That sort is not
    stable, so their order depends on NumPy and the processor, and figures can only be compared to the last digit if
    no two scores of a group are equal.

    Args:
      score: scores, `(N,)`.
      group: group of each row, int `(N,)`, such as its class.
    """
    order = np.argsort(score, kind="stable")[::-1]
    order = order[by_number(group[order])]
    groups, scores = group[order], score[order]
    tied = np.unique(groups[1:][(groups[1:] == groups[:-1]) & (scores[1:] == scores[:-1])])
    ends = np.stack([np.searchsorted(groups, tied, side) for side in ("left", "right")], axis=1)
    for first, last in ends.tolist():
        rows = np.sort(order[first:last])
        order[first:last] = rows[np.argsort(score[rows])[::-1]]
    return order


def by_number(group: np.ndarray) -> np.ndarray:
    """Rows in the order of their groups, those of one group in the order given, int64 `(N,)`."""
    small = len(group) > 0 and group.min() >= -(2**15) and group.max() < 2**15
    # Sixteen bits are sorted digit by digit, which is much faster.
    return np.argsort(group.astype(np.int16) if small else group, kind="stable")


def match(
    pairs: Pairs, order: np.ndarray, num_truths: int, thresholds: np.ndarray, *, rule: str, later_first: bool = False
) -> np.ndarray:
    """Decide which predictions are true: by falling score, each may take one truth that it overlaps enough.

    With the rule FREE a prediction takes, among the truths that are not taken yet, the one with the highest overlap.
    With BEST it looks only at the truth with its highest overlap, and is false if that is taken.

    Taking turns by score is the stable matching in which all truths prefer the higher score. So all groups are matched
    at once: every prediction asks for its best truth, each truth keeps the highest score, and those sent away ask for
    their next, until nobody is sent away.

    Args:
      pairs: pairs that overlap by at least the least threshold.
      order: rows of the N predictions, those of one group by falling score, int `(N,)`.
      num_truths: M, number of truths.
      thresholds: least overlaps, `(T,)`.
      rule: FREE or BEST.
      later_first: among truths with equal overlap, prefer the later row instead of the earlier one.

    Returns:
      Whether each prediction is true, bool `(T, N)`.
    """
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    turn = rank[pairs.prediction]
    by_turn = np.argsort(turn, kind="stable")
    # Most predictions have one pair: the others alone are sorted by preference.
    several = by_turn[_repeated(turn[by_turn])]
    truths = -pairs.truth if later_first else pairs.truth
    preferred = np.lexsort((truths[several], -pairs.overlap[several], turn[several]))
    by_turn[_repeated(turn[by_turn])] = several[preferred]
    turn, truth, overlap = turn[by_turn], pairs.truth[by_turn], pairs.overlap[by_turn]
    if rule == BEST:
        best = _firsts(turn)
        turn, truth, overlap = turn[best], truth[best], overlap[best]
    hits = np.zeros((len(thresholds), len(order)), bool)
    for hit, threshold in zip(hits, thresholds, strict=True):
        enough = overlap >= threshold
        hit[order[_taken(turn[enough], truth[enough], num_truths)]] = True
    return hits


def _firsts(values: np.ndarray) -> np.ndarray:
    """Rows where a run of equal values begins, int64."""
    return np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])) if len(values) else np.zeros(0, np.int64)


def _repeated(values: np.ndarray) -> np.ndarray:
    """Rows of sorted values that occur more than once, bool."""
    same = values[1:] == values[:-1]
    return np.concatenate([same, [False]]) | np.concatenate([[False], same]) if len(values) else np.zeros(0, bool)


def _taken(turn: np.ndarray, truth: np.ndarray, num_truths: int) -> np.ndarray:
    """Turns that take a truth; the pairs are sorted by turn and falling preference."""
    while True:
        asking = _firsts(turn)[::-1]
        keeper = np.full(num_truths, np.iinfo(np.int64).max)
        keeper[truth[asking]] = turn[asking]  # the last one written, which has the highest score, stays
        kept = turn <= keeper[truth]
        if kept.all():
            return turn[asking]
        turn, truth = turn[kept], truth[kept]


def average_precision(
    hits: np.ndarray, label: np.ndarray, order: np.ndarray, num_truths: np.ndarray, *, trapezoid: bool = False
) -> np.ndarray:
    """Area under each class's curve of precision and recall.

    The precision at a recall is the highest at this or any higher recall, as since PASCAL VOC 2010.

    Args:
      hits: whether each prediction is true, bool `(T, N)`.
      label: class of each prediction, int `(N,)`; others than 0…K-1 are left out.
      order: rows of the predictions, those of one class by falling score, int `(N,)`.
      num_truths: number of truths of each class, int `(K,)`.
      trapezoid: take the area under straight lines between the points, from precision 1 at recall 0, instead.

    Returns:
      float64 `(T, K)`; NaN for a class without truths, 0 for one without predictions.
    """
    area = np.where(num_truths > 0, np.zeros((len(hits), 1)), np.nan)
    by_class = order[by_number(label[order])]
    bounds = np.searchsorted(label[by_class], np.arange(len(num_truths) + 1))
    for row, hit in zip(area, hits[:, by_class], strict=True):
        # The curve has its steps, and its highest precisions, at the true predictions.
        places = np.flatnonzero(hit)
        inside = np.searchsorted(places, bounds)
        for number in np.flatnonzero(np.diff(inside) * num_truths):
            place = places[inside[number] : inside[number + 1]] - bounds[number]
            found = np.arange(1, len(place) + 1)
            precision = found / (place + 1)
            if trapezoid:
                before = np.divide(found - 1, place, out=np.ones(len(place)), where=place > 0)
                precision = (precision + before) / 2
            else:
                precision = np.maximum.accumulate(precision[::-1])[::-1]
            row[number] = precision.sum() / num_truths[number]
    return area


def class_mean(ap: np.ndarray) -> np.ndarray:
    """Mean over the classes `(…, K)` whose figure is not NaN, float64 `(…)`; NaN if there is none."""
    known = ~np.isnan(ap)
    count = known.sum(axis=-1)
    total = np.where(known, ap, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def rule_of(rules: Mapping[str, Rule], protocol: str) -> Rule:
    """Look up a protocol by name.

    Args:
      rules: rules by protocol.
      protocol: name.

    Raises:
      UserError: if there is none of this name.
    """
    if protocol not in rules:
        raise UserError(f"protocol {protocol!r}: must be one of {', '.join(rules)}")
    return rules[protocol]
