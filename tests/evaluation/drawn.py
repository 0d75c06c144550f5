"""Small drawn truths and predictions for scorers, and scorers as plain loops."""

from pathlib import Path

import numpy as np

from vidjax.evaluation.segments import SegmentArrays

EVALUATORS = Path(__file__).parents[1] / "data" / "golden" / "evaluators"


def draw_segments(seed, videos=3, classes=2, truths=8, predictions=30, ties=False):
    """Truths and predictions on a coarse grid of times, so that overlaps and thresholds meet; scores are distinct."""
    rng = np.random.default_rng(seed)

    def columns(count):
        start = rng.integers(0, 12, count).astype(float)
        return rng.integers(0, videos, count), start, start + rng.integers(1, 8, count), rng.integers(0, classes, count)

    scores = rng.integers(0, 4, predictions) / 4 if ties else rng.permutation(predictions) / predictions
    return SegmentArrays(*columns(truths)), SegmentArrays(*columns(predictions), scores)


def interval_iou(a, b):
    """IoU of two intervals (start, end)."""
    common = max(min(a[1], b[1]) - max(a[0], b[0]), 0)
    union = a[1] - a[0] + b[1] - b[0] - common
    return common / union if union > 0 else 0.0


def loop_hits(turns, candidates, threshold, best_only, later_first):
    """Whether each prediction is true, one by one.

    `turns` are the predictions in their order, `candidates` maps each to pairs (truth, overlap) of its group.
    """
    taken, hits = set(), {}
    for turn in turns:
        ranked = sorted(candidates[turn], key=lambda pair: (-pair[1], -pair[0] if later_first else pair[0]))
        ranked = ranked[:1] if best_only else [pair for pair in ranked if pair[0] not in taken]
        hits[turn] = bool(ranked) and ranked[0][1] >= threshold and ranked[0][0] not in taken
        if hits[turn]:
            taken.add(ranked[0][0])
    return hits


def loop_ap(hits, num_truths):
    """Interpolated average precision of one class from hits in the order of the scores."""
    if not num_truths:
        return float("nan")
    precision = [sum(hits[: i + 1]) / (i + 1) for i in range(len(hits))]
    return sum(max(precision[i:]) for i in range(len(hits)) if hits[i]) / num_truths
