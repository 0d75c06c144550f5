"""Errors of flow: those of the references' arrays, KITTI's rule, and sums that merge."""

import numpy as np
import pytest

from tests.golden import FOLDER
from vidjax.evaluation.flow import FlowScores, flow_errors, flow_outliers

with np.load(FOLDER / "flow" / "metrics_and_files.npz") as stored:
    GOLDEN = dict(stored)
PAIR = GOLDEN["pred"], GOLDEN["gt"]


def scored(*pairs):
    scores = FlowScores()
    for pair in pairs:
        scores.add(*pair)
    return scores


def test_figures_of_the_references():
    known = scored((*PAIR, GOLDEN["valid"])).summary()
    wanted = {
        "epe": 2.7976808548,
        "1px": 0.0917030568,
        "3px": 0.5866084425,
        "5px": 0.9199417758,
        "fl_all": 41.3391557496,
    }
    for name, value in wanted.items():
        assert known[name] == pytest.approx(value, rel=1e-6), name
    assert scored(PAIR).summary()["epe"] == pytest.approx(2.8153691292, rel=1e-6)


def test_outliers_are_far_and_far_for_their_length():
    true = np.array([[[10.0, 0], [100.0, 0], [100.0, 0], [0, 0]]])
    errors = np.array([[3.5, 4.0, 5.5, 3.0]])
    assert flow_outliers(errors, true).tolist() == [[True, False, True, False]]


def test_means_over_pixels_and_over_pairs():
    still = np.zeros((2, 2, 2), np.float32)
    known = np.array([[True, False], [False, False]])
    scores = scored((still + [3, 4], still, known), (still + [1, 0], still), (still, still, np.zeros((2, 2), bool)))
    summary = scores.summary()
    assert scores.pairs == 2 and scores.pixels == 5
    assert summary["epe"] == pytest.approx(9 / 5) and summary["epe_per_pair"] == pytest.approx(3)
    assert summary["1px"] == 0 and summary["3px"] == pytest.approx(0.8) and summary["fl_all"] == pytest.approx(20)


def test_sums_merge():
    halves = [scored((flow[part], true[part])) for flow, true in [PAIR] for part in (slice(0, 9), slice(9, None))]
    whole = scored(*[(PAIR[0][part], PAIR[1][part]) for part in (slice(0, 9), slice(9, None))])
    halves[0].merge(halves[1])
    assert halves[0].summary() == pytest.approx(whole.summary())


def test_nothing_to_count():
    with pytest.raises(ValueError, match="no pair"):
        FlowScores().summary()
    with pytest.raises(ValueError, match="is compared with"):
        flow_errors(np.zeros((2, 3, 2)), np.zeros((3, 2, 2)))
