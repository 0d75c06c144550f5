"""Segments from scores over time, without another network: smoothing, many thresholds, and runs above them.

A run above a threshold begins and ends where the line between neighbouring scores crosses it, so that segments are
finer than the steps. A segment's score is its mean, less that of its surroundings: a third of its length on either
side. Low thresholds give long segments and high ones short segments; the score tells which of them stands out.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RunSettings:
    """How scores become segments.

    Attributes:
      smoothing: "median" or "gaussian", over neighbouring steps; empty: none.
      width: steps of the median (odd), or standard deviation of the Gaussian in steps.
      thresholds: thresholds, as shares of the way from a class's lowest score in the video to its highest. At 0 lies
        the whole video, the segment of an action that lasts throughout.
      gap: longest gap, in steps, over which two runs are joined; both the joined and the single runs are candidates.
      shortest: shortest segment, steps.
      least: classes that never reach this score are left out.
    """

    smoothing: str = "median"
    width: float = 3
    thresholds: tuple[float, ...] = tuple(float(x) for x in (0, *np.linspace(0.1, 0.9, 17).round(2)))
    gap: float = 2.0
    shortest: float = 0.5
    least: float = 0.05


def smooth(scores: np.ndarray, kind: str, width: float) -> np.ndarray:
    """Smooth scores over time.

    Args:
      scores: float `(T, K)`.
      kind: "median", "gaussian" or empty.
      width: steps of the median, or standard deviation of the Gaussian in steps. At the ends, the first and last score
        are repeated.

    Raises:
      ValueError: for another kind.
    """
    if kind not in ("", "median", "gaussian"):
        raise ValueError(f"smoothing = {kind!r}: must be median, gaussian or empty")
    if not kind or width <= 0 or (kind == "median" and width <= 1):
        return scores
    half = int(width) // 2 if kind == "median" else max(1, round(3 * width))
    padded = np.pad(scores, ((half, half), (0, 0)), mode="edge")
    if kind == "median":
        return np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=0), axis=-1)
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / width) ** 2)
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=0) @ (kernel / kernel.sum())


def find_runs(scores: np.ndarray, settings: RunSettings = RunSettings()) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find segments in the scores of a video's steps, before suppression.

    Args:
      scores: scores in 0…1 of each step and class, float `(T, K)`.
      settings: smoothing, thresholds and gaps.

    Returns:
      Segments `(N, 2)` in steps (step i lasts from i − 0.5 to i + 0.5), scores `(N,)` and class numbers `(N,)`.
    """
    smoothed = smooth(np.asarray(scores, np.float64), settings.smoothing, settings.width)
    found = [
        (one, np.full(len(one), label))
        for label in np.flatnonzero(smoothed.max(axis=0, initial=0) >= settings.least)
        for one in [_of_class(smoothed[:, label], settings)]
    ]
    if not found:
        return np.zeros((0, 2)), np.zeros(0), np.zeros(0, np.int64)
    segments, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return segments, _contrast(smoothed, segments, labels), labels


def _of_class(scores: np.ndarray, settings: RunSettings) -> np.ndarray:
    """Distinct segments of one class `(N, 2)`."""
    low, high = scores.min(), scores.max()
    runs = []
    for share in settings.thresholds:
        own = _above(scores, low + share * (high - low))
        runs.append(own)
        if settings.gap > 0:
            runs.append(_joined(own, settings.gap))
    segments = np.unique(np.concatenate(runs or [np.zeros((0, 2))]).round(4), axis=0)
    return segments[segments[:, 1] - segments[:, 0] >= settings.shortest]


def _above(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Runs of steps at or above a threshold, `(N, 2)`, up to where the scores cross it."""
    over = scores >= threshold
    change = np.diff(np.concatenate([[False], over, [False]]).astype(np.int8))
    first, after = np.flatnonzero(change == 1), np.flatnonzero(change == -1)

    def crossing(outside: np.ndarray, within: np.ndarray) -> np.ndarray:
        """Places between steps below and above the threshold; half a step beyond the ends of the video."""
        there = (outside >= 0) & (outside < len(scores))
        low, high = scores[np.clip(outside, 0, len(scores) - 1)], scores[within]
        share = np.where(there, (high - threshold) / np.maximum(high - low, 1e-12), 0.5)
        return within + share * (outside - within)

    return np.stack([crossing(first - 1, first), crossing(after, after - 1)], axis=1)


def _joined(runs: np.ndarray, gap: float) -> np.ndarray:
    """Runs `(N, 2)` in order, those with at most `gap` steps between them joined."""
    if not len(runs):
        return runs
    new = np.concatenate([[True], runs[1:, 0] - runs[:-1, 1] > gap])
    last = np.concatenate([new[1:], [True]])
    return np.stack([runs[new, 0], runs[last, 1]], axis=1)


def _contrast(scores: np.ndarray, segments: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean of each segment's class inside it, less that of its surroundings; 0 or more."""
    count = len(scores)
    total = np.concatenate([np.zeros((1, scores.shape[1])), np.cumsum(scores, axis=0)])  # up to place i − 0.5
    labels = labels.astype(np.int64)

    def integral(place: np.ndarray) -> np.ndarray:
        at = np.clip(place + 0.5, 0, count)
        whole = np.minimum(at.astype(np.int64), count - 1)
        return total[whole, labels] + (at - whole) * scores[whole, labels]

    def clipped(place: np.ndarray) -> np.ndarray:
        return np.clip(place, -0.5, count - 0.5)

    start, end = clipped(segments[:, 0]), clipped(segments[:, 1])
    length = np.maximum(end - start, 1e-9)
    before, behind = clipped(start - length / 3), clipped(end + length / 3)
    inner = integral(end) - integral(start)
    around = integral(behind) - integral(before) - inner
    room = (behind - before) - length
    return np.clip(inner / length - np.where(room > 1e-9, around / np.maximum(room, 1e-9), 0), 0, 1)
