"""Scores of temporal localisation: average precision and recall of segments, and recall of proposals.

Toolboxes disagree about duplicates, so the protocol has a name, which goes beside every figure:

- official: ActivityNet's `eval_detection.py`. Every annotation counts.
- actionformer: as the ActionFormer repository, after EPIC-Kitchens'. Of annotations with one label whose ends both
  differ by at most 1 ms only the first counts; annotations shorter than 1 ms do not.
- opentad: as OpenTAD. The same, but only annotations that are not longer than 0 are dropped.

Proposals may also be scored as mmaction2 does, whose temporal IoUs are of single precision, which now and then decides
about a threshold.

In all of them predictions are taken by falling score (equal ones as `matching.falling` says); each takes the free truth
of its class and video with the highest temporal IoU of at least the threshold. The mean is over the classes with truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vidjax.config.choices import TIOUS
from vidjax.errors import UserError
from vidjax.evaluation import matching
from vidjax.evaluation.matching import ThresholdAP

OFFICIAL = "official"
SegmentAP = ThresholdAP  # what `segment_ap` gives


@dataclass(frozen=True)
class _Rule:
    """Differences of a protocol: tolerance of both ends of duplicates, seconds; least length of a truth that counts;
    whether IoUs have single precision."""

    tolerance: float | None = None
    shortest: float = -np.inf
    single: bool = False


PROTOCOLS = {
    OFFICIAL: _Rule(),
    "actionformer": _Rule(tolerance=1e-3, shortest=1e-3),
    "opentad": _Rule(tolerance=1e-3, shortest=np.nextafter(0, 1)),
}
PROPOSAL_PROTOCOLS = PROTOCOLS | {"mmaction2": _Rule(single=True)}


@dataclass(frozen=True, eq=False)
class SegmentArrays:
    """Segments as columns of N rows: truths, or predictions with scores.

    Attributes:
      video: number of each segment's video, int `(N,)`.
      start, end: seconds, float64 `(N,)`.
      label: class of each segment, int `(N,)`.
      score: scores of predictions, float64 `(N,)`; None: truths.
    """

    video: np.ndarray
    start: np.ndarray
    end: np.ndarray
    label: np.ndarray
    score: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.video)

    def rows(self, rows: np.ndarray) -> "SegmentArrays":
        """Take these rows, given by their numbers or by a mask."""
        score = None if self.score is None else self.score[rows]
        return SegmentArrays(self.video[rows], self.start[rows], self.end[rows], self.label[rows], score)


def segment_ap(
    truth: SegmentArrays,
    predictions: SegmentArrays,
    thresholds: Sequence[float] | np.ndarray = TIOUS["activitynet"],
    protocol: str = OFFICIAL,
    num_classes: int | None = None,
) -> SegmentAP:
    """Compute the average precision of segments by class and temporal IoU.

    Predictions in videos without truth are false. A class that is never predicted has 0.

    Args:
      truth: true segments of the subset to evaluate.
      predictions: predicted segments, with scores; those of classes without truth are ignored.
      thresholds: temporal IoUs in 0…1, `(T,)`.
      protocol: name in `PROTOCOLS`.
      num_classes: K; None: as many as the highest label needs.

    Raises:
      UserError: if the protocol is unknown, or scores are missing or not finite.
    """
    levels, score = np.asarray(thresholds, np.float64), _scores(predictions)
    truth = _counted(truth, matching.rule_of(PROTOCOLS, protocol))
    count = _num_classes(truth, predictions, num_classes)
    num_truths = np.bincount(truth.label, minlength=count)
    pairs = matching.overlapping(
        *_groups(truth, predictions), lambda p, t: segment_iou(predictions, truth, p, t), float(levels.min())
    )
    order = matching.falling(score, predictions.label)
    hits = matching.match(pairs, order, len(truth), levels, rule=matching.FREE, later_first=True)
    ap = matching.average_precision(hits, predictions.label, order, num_truths)
    return SegmentAP(protocol, levels, ap, num_truths)


def segment_recall(
    truth: SegmentArrays,
    predictions: SegmentArrays,
    thresholds: Sequence[float] | np.ndarray = TIOUS["activitynet"],
    multiples: Sequence[int] = (1, 5),
    protocol: str = "actionformer",
    num_classes: int | None = None,
) -> np.ndarray:
    """Compute the recall of the best predictions, as the ActionFormer repository prints it ("Recall@1x").

    Of a class in a video with n truths, the k·n predictions with the highest scores are kept; a truth is found if any
    of them overlaps it enough.

    Args:
      truth, predictions, thresholds, protocol, num_classes: see `segment_ap`.
      multiples: the k, `(M,)`.

    Returns:
      Mean recall over the classes with truth, float64 `(T, M)`.

    Raises:
      UserError: as `segment_ap` does.
    """
    levels, score = np.asarray(thresholds, np.float64), _scores(predictions)
    truth = _counted(truth, matching.rule_of(PROTOCOLS, protocol))
    count = _num_classes(truth, predictions, num_classes)
    num_truths = np.bincount(truth.label, minlength=count)
    groups, own = _groups(truth, predictions)
    pairs = matching.overlapping(groups, own, lambda p, t: segment_iou(predictions, truth, p, t), float(levels.min()))
    place = _places(own, score)[pairs.prediction]
    size = np.bincount(groups, minlength=int(max(own.max(initial=-1), groups.max(initial=-1))) + 1)
    allowed = size[groups[pairs.truth]]
    recall = np.full((len(levels), len(multiples), count), np.nan)
    for i, level in enumerate(levels):
        for j, multiple in enumerate(multiples):
            found = np.unique(pairs.truth[(pairs.overlap >= level) & (place < multiple * allowed)])
            hits = np.bincount(truth.label[found], minlength=count)
            np.divide(hits, num_truths, out=recall[i, j], where=num_truths > 0)
    return matching.class_mean(recall)


@dataclass(frozen=True, eq=False)
class ProposalRecall:
    """Recall of proposals by their average number in a video (AR@AN).

    Attributes:
      protocol: name of the protocol.
      thresholds: temporal IoUs, float64 `(T,)`.
      numbers: average numbers of proposals per video, float64 `(100,)`.
      recall: recall by threshold and number, float64 `(T, 100)`.
    """

    protocol: str
    thresholds: np.ndarray
    numbers: np.ndarray
    recall: np.ndarray

    @property
    def average(self) -> np.ndarray:
        """Average recall over the thresholds by number of proposals, float64 `(100,)`."""
        return self.recall.mean(axis=0)

    @property
    def area(self) -> float:
        """Area under the curve of `average`, as a share of the largest possible, in 0…1."""
        return float(np.trapezoid(self.average, self.numbers) / self.numbers[-1])

    def at(self, number: float) -> float:
        """Average recall with this many proposals per video: that of the nearest point of the curve."""
        return float(self.average[np.abs(self.numbers - number).argmin()])


def proposal_recall(
    truth: SegmentArrays,
    proposals: SegmentArrays,
    thresholds: Sequence[float] | np.ndarray = TIOUS["activitynet"],
    most: float = 100,
    protocol: str = OFFICIAL,
) -> ProposalRecall:
    """Compute the recall of proposals, regardless of classes, as ActivityNet's `eval_proposal.py`.

    Of all proposals as many are kept as make `most` a video on average, in each video the same share, the highest
    scores first. The curve has 100 points: 1 %, 2 % … of them.

    Args:
      truth: true segments. Videos without one are left out.
      proposals: proposed segments with scores; their labels do not matter.
      thresholds: temporal IoUs, `(T,)`.
      most: largest average number of proposals per video.
      protocol: name in `PROPOSAL_PROTOCOLS`.

    Raises:
      UserError: if the protocol is unknown, scores are missing or not finite, or there are no truths or no proposals.
    """
    levels, score = np.asarray(thresholds, np.float64), _scores(proposals)
    rule = matching.rule_of(PROPOSAL_PROTOCOLS, protocol)
    truth = _counted(truth, rule)
    if not len(truth) or not len(proposals):
        raise UserError(f"recall of proposals needs truths and proposals; there are {len(truth)} and {len(proposals)}")
    videos, of_truth = np.unique(truth.video, return_inverse=True)
    rows = np.flatnonzero(np.isin(proposals.video, videos))
    kept = proposals.rows(rows)
    of_kept = np.searchsorted(videos, kept.video)
    ratio = most * float(len(videos)) / len(proposals)
    counts = np.bincount(of_kept, minlength=len(videos))
    retrieved = np.minimum((counts * ratio).astype(int), counts)
    if not retrieved.sum():
        raise UserError(f"no proposals are left: {len(kept)} of {len(proposals)} are in videos with truth")
    place = _places(of_kept, score[rows])
    precision = np.float32 if rule.single else np.float64
    timed_truth, timed = (
        replace(s, start=s.start.astype(precision), end=s.end.astype(precision)) for s in (truth, kept)
    )
    pairs = matching.overlapping(
        of_truth, of_kept, lambda p, t: segment_iou(timed, timed_truth, p, t).astype(precision), float(levels.min())
    )
    seen = place[pairs.prediction] < retrieved[of_kept[pairs.prediction]]
    shares = np.arange(1, 101) / 100.0 * (most * float(len(videos)) / retrieved.sum())
    # A video without proposals stands for one that overlaps nothing, which changes no recall.
    width = np.where(counts > 0, retrieved, 1)
    numbers = np.minimum((width[:, None] * shares).astype(np.int64), width[:, None])[of_truth]
    recall = np.empty((len(levels), len(shares)))
    for row, level in zip(recall, levels, strict=True):
        first = np.full(len(truth), np.iinfo(np.int64).max)
        enough = seen & (pairs.overlap >= level)
        np.minimum.at(first, pairs.truth[enough], place[pairs.prediction[enough]])
        row[:] = (numbers > first[:, None]).sum(axis=0) / len(truth)
    return ProposalRecall(protocol, levels, shares * (float(retrieved.sum()) / len(videos)), recall)


def segment_iou(a: SegmentArrays, b: SegmentArrays, rows_a: np.ndarray, rows_b: np.ndarray) -> np.ndarray:
    """Temporal IoU of pairs of segments, float64 `(P,)`; 0 where neither has a length.

    Args:
      a, b: segments.
      rows_a, rows_b: rows of each pair, int `(P,)`.
    """
    (a_start, a_end), (b_start, b_end) = ((s.start[r], s.end[r]) for s, r in ((a, rows_a), (b, rows_b)))
    common = (np.minimum(a_end, b_end) - np.maximum(a_start, b_start)).clip(0)
    union = (b_end - b_start) + (a_end - a_start) - common
    return np.divide(common, union, out=np.zeros(len(common)), where=union > 0, dtype=np.float64)


def _scores(predictions: SegmentArrays) -> np.ndarray:
    if predictions.score is None or not np.isfinite(predictions.score).all():
        raise UserError("every predicted segment needs a finite score")
    return predictions.score


def _num_classes(truth: SegmentArrays, predictions: SegmentArrays, given: int | None) -> int:
    return 1 + int(max(truth.label.max(initial=-1), predictions.label.max(initial=-1))) if given is None else given


def _groups(truth: SegmentArrays, predictions: SegmentArrays) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of each truth's and each prediction's class in its video."""
    width = _num_classes(truth, predictions, None)
    return truth.video * width + truth.label, predictions.video * width + predictions.label


def _places(group: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Place of each row in its group by falling score, from 0."""
    order = matching.falling(score, group)
    sorted_groups = group[order]
    places = np.empty(len(group), np.int64)
    places[order] = np.arange(len(group)) - np.searchsorted(sorted_groups, sorted_groups)
    return places


def _counted(truth: SegmentArrays, rule: _Rule) -> SegmentArrays:
    """The truths that a protocol counts."""
    truth = truth.rows(truth.end - truth.start >= rule.shortest)
    if rule.tolerance is None:
        return truth
    pairs = matching.overlapping(*_groups(truth, truth), lambda p, t: t < p, True)
    near = np.ones(len(pairs.truth), bool)
    for ends in (truth.start, truth.end):
        near &= np.abs(ends[pairs.prediction] - ends[pairs.truth]) <= rule.tolerance
    kept = np.ones(len(truth), bool)
    # In the file's order: a truth goes if an earlier one that stays is near.
    for row, earlier in sorted(zip(pairs.prediction[near].tolist(), pairs.truth[near].tolist(), strict=True)):
        if kept[earlier]:
            kept[row] = False
    return truth.rows(kept)
