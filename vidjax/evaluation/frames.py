"""Per-frame average precision and its calibrated variant, for actions recognised while a video is running.

Per-frame AP is reported for THUMOS14 (Gao et al., RED, 1707.04818); calibrated AP for TVSeries (De Geest et al., Online
Action Detection, 1604.06506), where background frames are so many that precision says little by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidjax.evaluation.matching import class_mean
from vidjax.evaluation.metrics import average_precision

_TINY = np.finfo(np.float64).eps


@dataclass(frozen=True, eq=False)
class PerFrameAP:
    """Average precision of frames.

    Attributes:
      ap: average precision by class, float64 `(K,)`; NaN for classes without a frame or left out.
      calibrated: calibrated average precision by class, in the same form.
      num_frames: number of frames that count.
    """

    ap: np.ndarray
    calibrated: np.ndarray
    num_frames: int

    @property
    def mAP(self) -> float:
        """Mean of `ap` over the classes that have one."""
        return float(class_mean(self.ap))

    @property
    def mcAP(self) -> float:
        """Mean of `calibrated` over the classes that have one."""
        return float(class_mean(self.calibrated))


def per_frame_ap(
    scores: np.ndarray, truth: np.ndarray, *, without: np.ndarray | None = None, left_out: Sequence[int] = ()
) -> PerFrameAP:
    """Compute the average precision over all frames of all videos.

    Args:
      scores: scores of N frames, `(N, K)`.
      truth: zeros and ones, `(N, K)`.
      without: frames to remove, such as those labelled Ambiguous in THUMOS14, bool `(N,)`.
      left_out: classes that have no figure, such as the background.
    """
    if without is not None:
        scores, truth = scores[~without], truth[~without]
    ap, calibrated = average_precision(scores, truth), calibrated_average_precision(scores, truth)
    for values in (ap, calibrated):
        values[list(left_out)] = np.nan
    return PerFrameAP(ap, calibrated, len(scores))


def calibrated_average_precision(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Average of the precision TP / (TP + FP / w) at each true frame, where w is negatives per positive.

    Equal scores are taken in the order of the rows.

    Args:
      scores: scores of N frames, `(N, K)`.
      truth: zeros and ones, `(N, K)`.

    Returns:
      float64 `(K,)`; NaN for a class without a positive.
    """
    order = np.argsort(-np.asarray(scores), axis=0, kind="stable")
    positive = np.take_along_axis(np.asarray(truth), order, axis=0) > 0
    true = np.cumsum(positive, axis=0, dtype=np.float64)
    false = np.cumsum(~positive, axis=0, dtype=np.float64)
    count = positive.sum(axis=0)
    weight = np.divide(len(positive) - count, count, out=np.ones(len(count)), where=count > 0)
    precision = true / (true + false / (weight + _TINY) + _TINY)
    total = (precision * positive).sum(axis=0)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
