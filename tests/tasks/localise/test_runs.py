"""Segments from scores over time: smoothing, runs above thresholds, gaps, and scores against the surroundings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidjax.tasks.localise.runs import RunSettings, find_runs, smooth

PLAIN = RunSettings(smoothing="", thresholds=(0.5,), gap=0, shortest=0)


def block(count, first, last, high=0.9, low=0.1):
    scores = np.full((count, 2), low)
    scores[first:last, 1] = high
    return scores


def test_a_block_of_high_scores_is_a_segment():
    segments, scores, labels = find_runs(block(40, 10, 20), PLAIN)
    chosen = labels == 1
    # Scores cross half way between steps 9 and 10, and 19 and 20.
    np.testing.assert_allclose(segments[chosen], [[9.5, 19.5]], atol=1e-3)
    assert scores[chosen] == pytest.approx(0.8, abs=1e-6)


def test_ends_are_finer_than_steps():
    scores = np.interp(np.arange(30), [0, 10, 14, 20, 22, 29], [0, 0, 1, 1, 0, 0])[:, None]
    segments, _, _ = find_runs(scores, PLAIN)
    np.testing.assert_allclose(segments, [[12, 21]], atol=1e-3)


def test_a_segment_may_reach_both_ends_of_the_video():
    scores = np.concatenate([np.full((6, 1), 0.8), np.full((3, 1), 0.0), np.full((6, 1), 0.8)])
    segments, _, _ = find_runs(scores, PLAIN)
    np.testing.assert_allclose(segments, [[-0.5, 5.5], [8.5, 14.5]], atol=1e-3)


def test_short_gaps_are_closed_as_well_as_kept():
    scores = block(40, 10, 20)
    scores[14:16] = 0.1
    segments = {tuple(s) for s in find_runs(scores, RunSettings("", thresholds=(0.5,), gap=3))[0].round(1)}
    assert {(9.5, 13.5), (15.5, 19.5), (9.5, 19.5)} <= segments
    assert (9.5, 19.5) not in {tuple(s) for s in find_runs(scores, PLAIN)[0].round(1)}


def test_the_score_is_the_contrast_with_the_surroundings():
    scores = np.full((60, 1), 0.6)
    scores[20:29] = 0.9
    scores[29:33] = 0.0
    segments, values, _ = find_runs(scores, RunSettings("", thresholds=(0.9,), gap=0, shortest=0))
    (start, end), (value,) = segments[0], values
    x = (np.arange(-5000, 65000) + 0.5) / 1000  # step i lasts from i − 0.5 to i + 0.5
    y = scores[np.clip(np.rint(x).astype(int), 0, 59), 0]
    third = (end - start) / 3
    around = ((x > start - third) & (x < start)) | ((x > end) & (x < end + third))
    wanted = y[(x > start) & (x < end)].mean() - y[around].mean()
    assert value == pytest.approx(wanted, abs=1e-3)


def test_smoothing_by_definition():
    scores = np.random.default_rng(0).random((9, 2))
    padded = np.pad(scores, ((1, 1), (0, 0)), mode="edge")
    wanted = np.stack([np.median(padded[i : i + 3], axis=0) for i in range(9)])
    np.testing.assert_allclose(smooth(scores, "median", 3), wanted)
    np.testing.assert_allclose(smooth(np.ones((5, 1)), "gaussian", 2.0), 1)
    assert np.diff(smooth(scores, "gaussian", 2.0), axis=0).std() < np.diff(scores, axis=0).std()
    np.testing.assert_array_equal(smooth(scores, "", 5), scores)
    with pytest.raises(ValueError, match="must be median, gaussian or empty"):
        smooth(scores, "mean", 3)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(1, 4), st.integers(0, 10**6))
def test_any_scores_give_segments_within_the_video(steps, classes, seed):
    scores = np.random.default_rng(seed).random((steps, classes)) ** 2
    segments, values, labels = find_runs(scores)
    assert len(segments) == len(values) == len(labels)
    assert (segments >= -0.5).all() and (segments <= steps - 0.5).all() and (segments[:, 1] > segments[:, 0]).all()
    assert (values >= 0).all() and (values <= 1).all() and set(labels) <= set(range(classes))


def test_constant_and_low_scores_give_none():
    for scores in (np.zeros((20, 3)), np.full((20, 3), 0.01)):
        assert len(find_runs(scores)[0]) == 0


def test_an_action_throughout_the_video_is_a_segment():
    scores = np.stack([0.97 + 0.02 * np.sin(np.arange(40)), 0.01 + 0.02 * np.sin(np.arange(40)) ** 2], axis=1)
    segments, values, labels = find_runs(scores)
    best = values.argmax()
    np.testing.assert_allclose(segments[best], [-0.5, 39.5])
    assert labels[best] == 0 and values[best] == pytest.approx(0.97, abs=0.01)
