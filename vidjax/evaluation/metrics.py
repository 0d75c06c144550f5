"""Accuracy, confusion and average precision from scores, in NumPy."""

import numpy as np

_BLOCK = 4_000_000  # scores sorted at once


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of rows whose label is among the k highest scores; ties count against the label.

    Args:
      scores: scores of N rows, `(N, K)`.
      labels: class indices, int `(N,)`.
      k: number of highest scores, at most K.

    Returns:
      0…1, or NaN for no rows.
    """
    if not len(labels):
        return float("nan")
    own = np.take_along_axis(scores, labels[:, None].astype(int), axis=1)
    # A network that gives every class the same score must not count as correct.
    at_least = (scores >= own).sum(axis=1)
    return float((at_least <= min(k, scores.shape[1])).mean()) if k < scores.shape[1] else 1.0


def accuracies(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Top-k accuracies `{"top1", "top5"}`, or `{"top1"}` if there are too few classes for top-5; see `ranks`."""
    return {f"top{k}": top_k_accuracy(scores, labels, k) for k in ranks(scores.shape[1])}


def ranks(num_classes: int) -> tuple[int, ...]:
    """The k of meaningful top-k accuracies: 1, and 5 if there are more than 5 classes."""
    return (1, 5) if num_classes > 5 else (1,)


def confusion_matrix(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Confusion matrix, int64 `(K, K)`: counts by true class (row) and predicted class (column)."""
    matrix = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


def average_precision(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Area under each class's precision-recall steps, as scikit-learn's `average_precision_score` defines it.

    Args:
      scores: scores of N rows, `(N, K)`.
      targets: zeros and ones, `(N, K)`.

    Returns:
      `(K,)`; NaN for classes without a positive.
    """
    scores, targets = np.asarray(scores), np.asarray(targets)
    if not len(scores):
        return np.full(scores.shape[1], np.nan)
    step = max(_BLOCK // len(scores), 1)
    blocks = (slice(first, first + step) for first in range(0, scores.shape[1], step))
    found = [_average_precision(scores[:, block], targets[:, block]) for block in blocks]
    return np.concatenate(found) if found else np.zeros(0)


def _average_precision(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    order = np.argsort(-scores, axis=0, kind="stable")
    scores, targets = (np.take_along_axis(x, order, axis=0) for x in (scores, targets))
    place = np.arange(1, len(scores) + 1)[:, None]
    # Equal scores share one threshold: each row counts at the last of its run.
    last = np.append(scores[1:] != scores[:-1], np.ones((1, scores.shape[1]), bool), axis=0)
    end = np.minimum.accumulate(np.where(last, place, len(scores))[::-1], axis=0)[::-1]
    true_positives = np.cumsum(targets, axis=0, dtype=np.float64)
    precision = np.take_along_axis(true_positives, end - 1, axis=0) / end
    positives = np.sum(targets, axis=0, dtype=np.float64)
    total = (precision * targets).sum(axis=0)
    return np.divide(total, positives, out=np.full(len(total), np.nan), where=positives > 0)


def join_views(scores: np.ndarray, how: str, is_view: np.ndarray | None = None) -> np.ndarray:
    """Scores of videos from those of their views, `(…, K)`: their mean, or the maximum of each class.

    Args:
      scores: scores of V views, `(…, V, K)`.
      how: "mean" or "max", see `config.eval.ensemble`.
      is_view: mask of the views that count, bool `(…, V)`; None: all. Without any, scores are 0.
    """
    there = np.ones(scores.shape[:-1], bool) if is_view is None else is_view
    if how == "max":
        highest = np.where(there[..., None], scores, -np.inf).max(axis=-2, initial=-np.inf)
        return np.where(there.any(axis=-1, keepdims=True), highest, 0.0)
    count = np.maximum(there.sum(axis=-1, keepdims=True), 1)
    return np.where(there[..., None], scores, 0.0).sum(axis=-2) / count


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, in float64."""
    logits = logits.astype(np.float64)
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Sigmoid of each value, in float64."""
    return 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))
