"""Mean average precision of classifiers with several labels per video: per class, and per sample."""

import numpy as np

from vidjax.evaluation.matching import class_mean
from vidjax.evaluation.metrics import average_precision


def mean_ap(scores: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
    """Compute the mean average precision over classes (macro), as SlowFast and mmaction2 do.

    Args:
      scores: scores of N samples, `(N, K)`, in any increasing scale.
      truth: zeros and ones, `(N, K)`; below 0: not known, left out of that class.

    Returns:
      Mean over the classes with a positive, NaN if there is none; and the average precision by class, float64 `(K,)`,
      NaN without a positive. Equal scores are one threshold.
    """
    if (truth < 0).any():
        pairs = zip(scores.T, truth.T, strict=True)
        known = [(own[true >= 0, None], true[true >= 0, None]) for own, true in pairs]
        precisions = np.concatenate([average_precision(*each) for each in known])
    else:
        precisions = average_precision(scores, truth)
    return float(class_mean(precisions)), precisions


def sample_mean_ap(scores: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
    """Compute the mean average precision over samples, as for Multi-Moments in Time: each ranks its own classes.

    Args:
      scores: scores of N samples, `(N, K)`; a sample's own must be comparable.
      truth: zeros and ones, `(N, K)`.

    Returns:
      Mean over the samples with a label, NaN if there is none; and the average precision by sample, float64 `(N,)`,
      NaN without a label.
    """
    precisions = average_precision(np.transpose(scores), np.transpose(truth))
    return float(class_mean(precisions)), precisions
