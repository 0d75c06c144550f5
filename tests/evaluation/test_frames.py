"""Per-frame average precision against scikit-learn, and the calibrated one against its definition."""

import numpy as np
import pytest

from tests.peers import needs
from vidjax.evaluation.frames import calibrated_average_precision, per_frame_ap


def draw():
    rng = np.random.default_rng(3)
    truth = np.eye(5)[rng.choice(5, 200, p=[0.6, 0.2, 0.1, 0.1, 0.0])]
    return rng.random((200, 5)) + 0.3 * truth, truth


def test_per_frame_ap_without_background_and_ambiguous_frames():
    sklearn_metrics = needs("sklearn.metrics")
    scores, truth = draw()
    ambiguous = truth[:, 3] > 0
    found = per_frame_ap(scores, truth, without=ambiguous, left_out=(0, 3))
    assert found.num_frames == 200 - ambiguous.sum()
    kept, right = scores[~ambiguous], truth[~ambiguous]
    expected = [sklearn_metrics.average_precision_score(right[:, k], kept[:, k]) for k in (1, 2)]
    np.testing.assert_allclose(found.ap[1:3], expected, rtol=1e-12)
    assert np.isnan(found.ap[[0, 3, 4]]).all() and np.isnan(found.calibrated[[0, 3, 4]]).all()
    assert found.mAP == pytest.approx(np.mean(expected)) and found.mcAP == pytest.approx(found.calibrated[1:3].mean())


def test_calibrated_precision_weighs_negatives_as_if_there_were_as_many_as_positives():
    scores, truth = draw()
    for k in range(4):
        order = np.argsort(-scores[:, k])
        positive, total = truth[order, k] > 0, 0.0
        ratio = (~positive).sum() / positive.sum()
        for place in np.flatnonzero(positive):
            true, false = positive[: place + 1].sum(), (~positive[: place + 1]).sum()
            total += true / (true + false / ratio)
        assert calibrated_average_precision(scores, truth)[k] == pytest.approx(total / positive.sum(), rel=1e-12)


def test_twice_as_many_background_frames_change_only_the_plain_precision():
    scores, truth = draw()
    negatives = truth[:, 1] == 0
    more = np.concatenate([scores, scores[negatives] - 1e-9]), np.concatenate([truth, truth[negatives]])
    one, two = per_frame_ap(scores, truth), per_frame_ap(*more)
    assert two.calibrated[1] == pytest.approx(one.calibrated[1], rel=0.02) and two.ap[1] < 0.9 * one.ap[1]


def test_all_frames_of_one_class():
    assert calibrated_average_precision(np.ones((3, 1)), np.ones((3, 1)))[0] == pytest.approx(1.0)
