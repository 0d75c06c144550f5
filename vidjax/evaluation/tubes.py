"""Average precision of tubes, boxes that follow a person through a video (video mAP).

The overlap of two tubes is the IoU of their times multiplied by the mean IoU of their boxes in the frames of both.
Toolboxes disagree, so the protocol has a name, which goes beside every figure:

- official: MultiSports' scorer. A tube looks only at the true tube with the highest overlap, and is false if that is
  taken. Times are differences of frame numbers, so a single frame has no length. Boxes in any unit.
- act: that of the ACT detector, with which UCF101-24 and JHMDB are reported. A tube takes the best true tube that is
  still free. Frames and pixels have a length of 1, so boxes must be in pixels. The area is under straight lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidjax.errors import UserError
from vidjax.evaluation import matching
from vidjax.evaluation.boxes import box_iou
from vidjax.evaluation.matching import ThresholdAP

OFFICIAL = "official"
_MOST_FRAMES = 2_000_000  # frames whose boxes are compared at once


@dataclass(frozen=True)
class _Rule:
    """Differences of a protocol: rule of matching, length of one frame or pixel, and the curve's area."""

    rule: str
    unit: int
    trapezoid: bool


PROTOCOLS = {OFFICIAL: _Rule(matching.BEST, 0, False), "act": _Rule(matching.FREE, 1, True)}


@dataclass(frozen=True, eq=False)
class TubeArrays:
    """Tubes as columns: N tubes, and their F boxes one tube after the other.

    Attributes:
      video: number of each tube's video, int `(N,)`.
      label: class of each tube, int `(N,)`.
      length: number of boxes of each tube, at least 1, int `(N,)`.
      frame: frame number of each box, rising in each tube, int `(F,)`.
      box: x1, y1, x2, y2, float `(F, 4)`.
      score: scores of predictions, float `(N,)`; None: truths.
    """

    video: np.ndarray
    label: np.ndarray
    length: np.ndarray
    frame: np.ndarray
    box: np.ndarray
    score: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.video)

    @property
    def begin(self) -> np.ndarray:
        """Row of each tube's first box, int `(N,)`."""
        return np.cumsum(self.length) - self.length


def video_ap(
    truth: TubeArrays,
    predictions: TubeArrays,
    thresholds: Sequence[float] | np.ndarray = (0.2, 0.5),
    protocol: str = OFFICIAL,
    num_classes: int | None = None,
) -> ThresholdAP:
    """Compute the average precision of tubes by class and overlap.

    Args:
      truth: true tubes.
      predictions: predicted tubes, with scores; those of classes without truth are ignored.
      thresholds: least overlaps in 0…1, `(T,)`.
      protocol: name in `PROTOCOLS`.
      num_classes: K; None: as many as the highest label needs.

    Raises:
      UserError: if the protocol is unknown, or scores are missing or not finite.
    """
    rule, levels = matching.rule_of(PROTOCOLS, protocol), np.asarray(thresholds, np.float64)
    if predictions.score is None or not np.isfinite(predictions.score).all():
        raise UserError("every predicted tube needs a finite score")
    count = 1 + int(max(truth.label.max(initial=-1), predictions.label.max(initial=-1)))
    groups, own = (tubes.video * count + tubes.label for tubes in (truth, predictions))
    longest = int(predictions.length.max(initial=1))
    pairs = matching.overlapping(
        groups,
        own,
        lambda p, t: tube_iou(predictions, truth, p, t, rule.unit),
        float(levels.min()),
        most=max(_MOST_FRAMES // longest, 1),
    )
    order = np.argsort(-predictions.score, kind="stable")
    hits = matching.match(pairs, order, len(truth), levels, rule=rule.rule)
    num_truths = np.bincount(truth.label, minlength=num_classes or count)
    ap = matching.average_precision(hits, predictions.label, order, num_truths, trapezoid=rule.trapezoid)
    return ThresholdAP(protocol, levels, ap, num_truths)


def tube_iou(a: TubeArrays, b: TubeArrays, rows_a: np.ndarray, rows_b: np.ndarray, unit: int = 0) -> np.ndarray:
    """Overlap of pairs of tubes: IoU of their times × mean IoU of their boxes in the frames of both.

    Args:
      a, b: tubes.
      rows_a, rows_b: tubes of each pair, int `(P,)`.
      unit: length of one frame, and of one pixel of a box.

    Returns:
      float64 `(P,)`; 0 for tubes without a common frame.
    """
    ends = [(t.frame[t.begin[r]], t.frame[t.begin[r] + t.length[r] - 1]) for t, r in ((a, rows_a), (b, rows_b))]
    (first_a, last_a), (first_b, last_b) = ends
    together = np.minimum(last_a, last_b) - np.maximum(first_a, first_b) + unit
    total = np.maximum(last_a, last_b) - np.minimum(first_a, first_b) + unit
    # The boxes of `a`, pair by pair, and those of `b` in the same frames.
    length = a.length[rows_a]
    pair = np.repeat(np.arange(len(rows_a)), length)
    mine = np.arange(len(pair)) - np.repeat(np.cumsum(length) - length - a.begin[rows_a], length)
    span = 1 + int(max(a.frame.max(initial=0), b.frame.max(initial=0)))
    keys = np.repeat(np.arange(len(b)), b.length) * span + b.frame
    wanted = rows_b[pair] * span + a.frame[mine]
    theirs = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    both = keys[theirs] == wanted if len(keys) else np.zeros(len(wanted), bool)
    pair, mine, theirs = pair[both], mine[both], theirs[both]
    wider = np.array([0, 0, unit, unit])
    overlap = np.bincount(pair, box_iou(a.box[mine] + wider, b.box[theirs] + wider), minlength=len(rows_a))
    shared = np.bincount(pair, minlength=len(rows_a))
    parts = overlap * together
    return np.divide(parts, shared * total, out=np.zeros(len(rows_a)), where=(shared * total > 0) & (together > 0))
