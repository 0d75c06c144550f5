"""Matching of predictions with truths, and average precision, for segments, boxes and tubes alike.

The parts that every scorer of localisation needs, vectorised over videos, classes and thresholds: pairs of predictions
and truths of one group (a class in a video or frame), greedy matching in the order of the scores, and the area under
the curve of precision and recall of each class.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vidjax.errors import UserError

_MOST_PAIRS = 2_000_000  # pairs whose overlap is computed at once

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


def overlapping(
    truth: np.ndarray, prediction: np.ndarray, overlap: Callable[[np.ndarray, np.ndarray], np.ndarray], least: float
) -> Pairs:
    """Find the pairs of a truth and a prediction of one group whose overlap is at least `least`.

    Memory stays bounded: at most about two million pairs are compared at once.

    Args:
      truth: group of each truth, int `(M,)`.
      prediction: group of each prediction, int `(N,)`.
      overlap: function of the rows of predictions and truths, both `(P,)`, that gives their overlaps `(P,)`.
      least: least overlap to keep.
    """
    order = np.argsort(truth, kind="stable")
    groups = truth[order]
    first = np.searchsorted(groups, prediction, "left")
    counts = np.searchsorted(groups, prediction, "right") - first
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.unique([0, *np.searchsorted(ends, np.arange(_MOST_PAIRS, total, _MOST_PAIRS)), len(prediction)])
    found = []
    for low, high in zip(cuts[:-1], cuts[1:], strict=True):
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


def falling(score: np.ndarray, *, later_first: bool) -> np.ndarray:
    """Rows in the order of falling scores, int64 `(N,)`.

    Args:
      score: scores, `(N,)`.
      later_first: order of rows with equal scores: the later one first, as a reversed rising sort has them, or the
        earlier one.
    """
    return np.argsort(score, kind="stable")[::-1] if later_first else np.argsort(-score, kind="stable")


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
      order: rows of the N predictions by falling score, int `(N,)`.
      num_truths: M, number of truths.
      thresholds: least overlaps, `(T,)`.
      rule: FREE or BEST.
      later_first: among truths with equal overlap, prefer the later row instead of the earlier one.

    Returns:
      Whether each prediction is true, bool `(T, N)`.
    """
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    truths = -pairs.truth if later_first else pairs.truth
    by_turn = np.lexsort((truths, -pairs.overlap, rank[pairs.prediction]))
    turn, truth, overlap = rank[pairs.prediction][by_turn], pairs.truth[by_turn], pairs.overlap[by_turn]
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
    return np.flatnonzero(np.diff(values, prepend=-1))


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
      order: rows of the predictions by falling score, int `(N,)`.
      num_truths: number of truths of each class, int `(K,)`.
      trapezoid: take the area under straight lines between the points, from precision 1 at recall 0, instead.

    Returns:
      float64 `(T, K)`; NaN for a class without truths, 0 for one without predictions.
    """
    area = np.full((len(hits), len(num_truths)), np.nan)
    by_class = order[np.argsort(label[order], kind="stable")]
    bounds = np.searchsorted(label[by_class], np.arange(len(num_truths) + 1))
    for number in np.flatnonzero(num_truths):
        hit = hits[:, by_class[bounds[number] : bounds[number + 1]]]
        precision = np.cumsum(hit, axis=1) / np.arange(1, hit.shape[1] + 1)
        if trapezoid:
            precision = (precision + np.concatenate([np.ones((len(hits), 1)), precision[:, :-1]], axis=1)) / 2
        else:
            precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        area[:, number] = (precision * hit).sum(axis=1) / num_truths[number]
    return area


def class_mean(ap: np.ndarray) -> np.ndarray:
    """Mean over the classes `(…, K)` whose figure is not NaN, float64 `(…)`; NaN if there is none."""
    known = ~np.isnan(ap)
    count = known.sum(axis=-1)
    total = np.where(known, ap, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def rule_of(rules: dict, protocol: str):
    """Look up a protocol by name.

    Raises:
      UserError: if there is none of this name.
    """
    if protocol not in rules:
        raise UserError(f"protocol {protocol!r}: must be one of {', '.join(rules)}")
    return rules[protocol]
