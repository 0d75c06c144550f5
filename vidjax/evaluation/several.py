"""Scores of classifiers with several labels per video: average precision by class and by sample, and thresholds."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vidjax.errors import UserError
from vidjax.evaluation.matching import class_mean
from vidjax.evaluation.metrics import average_precision

THRESHOLDS = "thresholds.json"  # thresholds of classes, beside an evaluation


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
      truth: zeros and ones, `(N, K)`; below 0: not known, left out of that sample.

    Returns:
      Mean over the samples with a label, NaN if there is none; and the average precision by sample, float64 `(N,)`,
      NaN without a label.
    """
    return mean_ap(np.transpose(scores), np.transpose(truth))


def best_thresholds(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose for each class the threshold with the highest F1: samples with at least that score are positive.

    F1 on the same samples is optimistic; choose on others than those that are judged.

    Args:
      scores: scores of N samples, `(N, K)`, in 0…1.
      truth: zeros and ones, `(N, K)`; below 0: not known, left out of that class.

    Returns:
      Thresholds, float64 `(K,)`, halfway to the next lower score; and F1 by class, float64 `(K,)`. Both are NaN for a
      class without a positive.
    """
    found = [_best_threshold(own[true >= 0], true[true >= 0]) for own, true in zip(scores.T, truth.T, strict=True)]
    thresholds, f1 = np.array(found, np.float64).reshape(-1, 2).T
    return thresholds, f1


def _best_threshold(scores: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    if not (truth > 0).any():
        return float("nan"), float("nan")
    order = np.argsort(-scores, kind="stable")
    scores, truth = scores[order], truth[order] > 0
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # equal scores are on one side
    f1 = 2 * np.cumsum(truth)[last] / (last + 1 + truth.sum())
    best = int(f1.argmax())
    below = scores[last[best] + 1] if last[best] + 1 < len(scores) else 0.0
    return float((scores[last[best]] + below) / 2), float(f1[best])


def read_thresholds(folder: Path, class_names: Sequence[str]) -> np.ndarray | None:
    """Read the thresholds that an evaluation has chosen, float64 `(K,)`; 0.5 for classes without one.

    Returns:
      The thresholds; None if the folder has none.

    Raises:
      UserError: if the file is damaged or is that of other classes.
    """
    path = folder / THRESHOLDS
    try:
        classes = json.loads(path.read_text(encoding="utf-8"))["classes"]
        found = [classes[name]["threshold"] for name in class_names]
        return np.array([0.5 if each is None else each for each in found], np.float64)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged or of other classes ({error}); evaluate again, or remove it") from None
