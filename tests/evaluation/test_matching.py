"""Matching and average precision against plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.drawn import loop_ap, loop_hits
from vidjax.errors import UserError
from vidjax.evaluation import matching

LEVELS = np.array([0.25, 0.5, 0.75])


def draw(seed, groups=3, truths=9, predictions=20):
    """Groups of truths and predictions, their overlaps in quarters, and an order of the predictions."""
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 5, (predictions, truths)) / 4
    return rng.integers(0, groups, truths), rng.integers(0, groups, predictions), table, rng.permutation(predictions)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([matching.FREE, matching.BEST]), st.booleans(), st.integers(1, 40))
def test_all_groups_at_once_are_matched_as_one_by_one(seed, rule, later_first, most):
    truth, prediction, table, order = draw(seed)
    pairs = matching.overlapping(truth, prediction, lambda p, t: table[p, t], LEVELS[0], most)
    hits = matching.match(pairs, order, len(truth), LEVELS, rule=rule, later_first=later_first)
    of = {p: [(t, table[p, t]) for t in range(len(truth)) if truth[t] == prediction[p]] for p in order.tolist()}
    for level, hit in zip(LEVELS, hits, strict=True):
        expected = loop_hits(order.tolist(), of, level, rule == matching.BEST, later_first)
        np.testing.assert_array_equal(hit, [expected[p] for p in range(len(prediction))])


def test_a_chain_of_displaced_predictions_is_settled():
    """Each prefers the truth that the one before it takes."""
    count = 50
    first = np.repeat(np.arange(count), 2)
    second = np.minimum(np.stack([np.arange(count) - 1, np.arange(count)], 1).clip(0), count - 1).ravel()
    pairs = matching.Pairs(first, second, np.tile([0.9, 0.8], count))
    hits = matching.match(pairs, np.arange(count), count, np.array([0.5]), rule=matching.FREE)
    assert hits.all()


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_average_precision_of_each_class(seed):
    rng = np.random.default_rng(seed)
    label, order, hits = rng.integers(-1, 5, 25), rng.permutation(25), rng.random((2, 25)) < 0.4
    num_truths = np.bincount(label[label >= 0], minlength=6) * np.array([1, 1, 0, 1, 2, 1])
    num_truths[5] = 3  # never predicted
    area = matching.average_precision(hits, label, order, num_truths)
    for row, hit in zip(area, hits, strict=True):
        expected = [loop_ap([bool(hit[i]) for i in order if label[i] == k], n) for k, n in enumerate(num_truths)]
        np.testing.assert_allclose(row, expected, rtol=1e-13)
    assert area[0, 5] == 0 and np.isnan(area[0, 2])


def test_area_under_straight_lines():
    """Precisions 1, 1, 1/2, 2/3 at recalls 0, 1/2, 1/2, 1."""
    hits = np.array([[True, False, True]])
    area = matching.average_precision(hits, np.zeros(3, int), np.arange(3), np.array([2]), trapezoid=True)
    assert area[0, 0] == pytest.approx(0.5 * 1 + 0.5 * (1 / 2 + 2 / 3) / 2)


def test_nothing_to_match():
    none = np.zeros(0, np.int64)
    pairs = matching.overlapping(none, none, lambda p, t: np.zeros(len(p)), 0.5)
    assert not len(pairs.truth)
    assert matching.match(pairs, none, 0, LEVELS, rule=matching.FREE).shape == (3, 0)
    assert np.isnan(matching.average_precision(np.zeros((3, 0), bool), none, none, np.array([0]))).all()
    assert np.isnan(matching.class_mean(np.full(3, np.nan)))


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
def test_rows_of_each_group_fall(seed, levels):
    """Equal scores as the published scorers have them, who sort and reverse."""
    rng = np.random.default_rng(seed)
    score, group = rng.integers(0, levels, 50) / levels, rng.integers(-1, 4, 50)
    found = matching.falling(score, group)
    expected = [rows[np.argsort(score[rows])[::-1]] for k in range(-1, 4) for rows in [np.flatnonzero(group == k)]]
    np.testing.assert_array_equal(found, np.concatenate(expected))
    assert matching.falling(score[:0], group[:0]).shape == (0,)
    np.testing.assert_array_equal(group[matching.by_number(group * 2**20)], np.sort(group))


def test_an_unknown_protocol_is_named():
    with pytest.raises(UserError, match="protocol 'coco': must be one of official, other"):
        matching.rule_of({"official": 1, "other": 2}, "coco")
