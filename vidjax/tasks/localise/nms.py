"""Suppression of detections that overlap better ones, for segments in time: NumPy, in the type of the scores.

Soft suppression lowers the scores of overlapping segments (arXiv 1704.04503), by a Gaussian or by BMN's rule of widths;
hard suppression drops them; voting moves each kept segment to the mean of its neighbours. Sources: `libs/utils` of
happyharrycn/actionformer_release and dingfengshi/TriDet, whose compiled code this equals to rounding; for BMN
mmaction2, `models/localizers/utils`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vidjax.config.choices import SUPPRESSIONS

_LENGTH = np.float32(1e-6)  # added to lengths in the overlap, so that segments without length divide by something


class Found(NamedTuple):
    """Detections, best first.

    Attributes:
      segments: starts and ends, float `(N, 2)`.
      scores: scores, float `(N,)`.
      labels: class numbers, int `(N,)`.
    """

    segments: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def take(self, index: np.ndarray | slice) -> "Found":
        """Detections by number, in that order."""
        return Found(self.segments[index], self.scores[index], self.labels[index])


@dataclass(frozen=True)
class Suppression:
    """Rule of suppression.

    Attributes:
      kind: "gaussian" or "width", soft suppression, see `soft_nms` and `soft_nms_by_width`; or "hard".
      sigma: width of the Gaussian of soft suppression: scores are multiplied by exp(-IoU²/σ).
      iou: IoU from which hard suppression drops a segment.
      min_score: score below which a segment is dropped, except by "width".
      per_class: whether segments only suppress others of their class.
      detections: most segments of a class, and in all.
      voting: least IoU of the segments whose mean replaces a kept one, without `per_class`; 0: no voting.
      by_score: whether votes count by score alone, as in TriDet's code; otherwise by score times IoU.
    """

    kind: str = "gaussian"
    sigma: float = 0.5
    iou: float = 0.0
    min_score: float = 0.001
    per_class: bool = True
    detections: int = 200
    voting: float = 0.0
    by_score: bool = False

    def __post_init__(self) -> None:
        if self.kind not in SUPPRESSIONS:
            raise ValueError(f"kind = {self.kind!r}: must be one of {', '.join(SUPPRESSIONS)}")


def overlaps(one: np.ndarray, others: np.ndarray, extra: float | np.floating = 0.0) -> np.ndarray:
    """IoU of one segment `(2,)`, or several `(M, 1, 2)`, with others `(N, 2)`; `extra` is added to all lengths."""
    shared = np.minimum(one[..., 1], others[..., 1]) - np.maximum(one[..., 0], others[..., 0])
    shared = np.maximum(shared, 0)
    lengths = (one[..., 1] - one[..., 0] + extra) + (others[..., 1] - others[..., 0] + extra)
    with np.errstate(invalid="ignore"):  # two segments without length have none
        return np.nan_to_num(shared / (lengths - shared))


def soft_nms(
    segments: np.ndarray, scores: np.ndarray, sigma: float = 0.5, min_score: float = 0.001, most: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Suppress softly: again and again the best of the rest is kept, and what overlaps it loses score.

    Args:
      segments: starts and ends, float `(N, 2)`.
      scores: scores, float `(N,)`.
      sigma: width of the Gaussian.
      min_score: score below which a segment of the rest is dropped.
      most: most segments to keep; 0: all.

    Returns:
      Numbers of the kept segments, best first, and their scores.
    """
    rest, sigma = np.arange(len(scores)), scores.dtype.type(sigma)
    segments, scores = segments.copy(), scores.copy()
    kept: list[int] = []
    values: list[np.generic] = []
    while len(rest) and (not most or len(kept) < most):
        best = int(scores.argmax())
        one = segments[best]
        kept.append(int(rest[best]))
        values.append(scores[best])
        shared = overlaps(one, segments, _LENGTH)
        lowered = scores * np.exp(-(shared * shared) / sigma)
        stays = lowered >= min_score
        stays[best] = False
        rest, segments, scores = rest[stays], segments[stays], lowered[stays]
    return np.array(kept, np.int64), np.array(values, scores.dtype)


def hard_nms(segments: np.ndarray, scores: np.ndarray, iou: float, min_score: float = 0.0, most: int = 0) -> np.ndarray:
    """Keep segments that overlap no better one by `iou` or more.

    Args:
      segments: starts and ends, float `(N, 2)`.
      scores: scores, float `(N,)`.
      iou: IoU from which a segment is dropped.
      min_score: score that a segment must exceed; 0: any.
      most: most segments to keep; 0: all.

    Returns:
      Numbers of the kept segments, best first.
    """
    order = np.argsort(-scores, kind="stable")
    if min_score > 0:
        order = order[scores[order] > min_score]
    kept: list[int] = []
    while len(order) and (not most or len(kept) < most):
        kept.append(int(order[0]))
        order = order[1:][overlaps(segments[order[0]], segments[order[1:]], _LENGTH) < iou]
    return np.array(kept, np.int64)


def vote(kept: np.ndarray, segments: np.ndarray, scores: np.ndarray, iou: float, by_score: bool = False) -> np.ndarray:
    """Replace each kept segment by the mean of all segments that overlap it by `iou` or more.

    Args:
      kept: kept segments, `(M, 2)`.
      segments: all segments before suppression, `(N, 2)`.
      scores: their scores, `(N,)`.
      iou: least IoU of a vote.
      by_score: whether votes count by score alone; otherwise by score times IoU.
    """
    if not len(kept):
        return kept
    shared = overlaps(kept[:, None], segments)
    votes = np.where(shared >= iou, scores[None], 0)
    votes = votes if by_score else votes * shared
    total = votes.sum(axis=1, keepdims=True)
    return np.where(total > 0, votes @ segments / np.where(total > 0, total, 1), kept).astype(kept.dtype)


def suppress(found: Found, rule: Suppression, length: float = 1.0) -> Found:
    """Suppress the detections of one video, per class or over all.

    Args:
      found: detections in any order.
      rule: rule of suppression.
      length: length of the video, in the unit of the segments; used by the kind "width".

    Returns:
      At most `rule.detections` detections, best first, with their new scores and, if there is voting, segments.
    """
    if not len(found.scores):
        return found
    groups = np.unique(found.labels) if rule.per_class else [None]
    parts = [
        _suppressed(found if label is None else found.take(np.flatnonzero(found.labels == label)), rule, length)
        for label in groups
    ]
    kept = Found(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    return kept.take(np.argsort(-kept.scores, kind="stable")[: rule.detections])


def _suppressed(found: Found, rule: Suppression, length: float) -> Found:
    if rule.kind == "hard":
        kept = found.take(hard_nms(found.segments, found.scores, rule.iou, rule.min_score, rule.detections))
    else:
        if rule.kind == "width":
            numbers, scores = soft_nms_by_width(found.segments / length, found.scores, rule.sigma, most=rule.detections)
        else:
            numbers, scores = soft_nms(found.segments, found.scores, rule.sigma, rule.min_score, rule.detections)
        kept = found.take(numbers)._replace(scores=scores)
    if rule.voting and not rule.per_class:
        moved = vote(kept.segments, found.segments, found.scores, rule.voting, rule.by_score)
        kept = kept._replace(segments=moved)
    return kept


def soft_nms_by_width(
    segments: np.ndarray,
    scores: np.ndarray,
    alpha: float = 0.4,
    low: float = 0.5,
    high: float = 0.9,
    most: int = 100,
) -> tuple[np.ndarray, np.ndarray]:
    """Suppress proposals as BMN does: short segments are lowered by less overlap than long ones.

    Scores are multiplied by exp(-IoU²/α), but only of segments whose IoU with the best of the rest exceeds
    `low + (high - low) · width` of that.

    Args:
      segments: starts and ends as shares of the video, float `(N, 2)`.
      scores: scores, float `(N,)`.
      alpha: width of the Gaussian.
      low: IoU from which a segment without length suppresses.
      high: IoU from which a segment as long as the video suppresses.
      most: number of segments to keep, and one more, as in the source.

    Returns:
      Numbers of the kept segments, best first, and their scores.
    """
    rest = np.argsort(-scores, kind="stable")
    segments, scores = segments[rest], scores[rest].copy()
    kept: list[int] = []
    values: list[np.generic] = []
    while len(rest) and len(kept) <= most:
        best = int(scores.argmax())
        one = segments[best]
        kept.append(int(rest[best]))
        values.append(scores[best])
        shared = overlaps(one, segments)
        lowered = np.where(
            shared > low + (high - low) * (one[1] - one[0]), scores * np.exp(-(shared**2) / alpha), scores
        )
        stays = np.arange(len(rest)) != best
        rest, segments, scores = rest[stays], segments[stays], lowered[stays]
    return np.array(kept, np.int64), np.array(values)
