"""Mean average precision over classes and over samples, to 12 digits that of published code."""

import json

import numpy as np
import pytest

from tests.evaluation.drawn import EVALUATORS
from tests.peers import needs
from vidjax.evaluation.several import mean_ap, sample_mean_ap


def test_means_are_those_of_the_published_code():
    expected = json.loads((EVALUATORS / "multilabel_retrieval_expected.json").read_text())["multi_label"]
    scores, truth = np.random.default_rng(9).random((40, 3, 12)), np.random.default_rng(10).random((40, 12)) < 0.15
    truth[:, [3, 7]] = False
    scores = 0.7 * scores + 0.3 * truth[:, None] * np.random.default_rng(11).random((40, 3, 12))
    mean, each = mean_ap(scores.mean(axis=1), truth)
    assert mean == pytest.approx(expected["clip_mean_mAP"], rel=1e-12) and each.shape == (12,)
    assert mean_ap(scores.max(axis=1), truth)[0] == pytest.approx(expected["clip_max_mAP"], rel=1e-12)
    mean, each = sample_mean_ap(scores.mean(axis=1), truth)
    assert mean == pytest.approx(expected["mmit_mAP_of_mean"], rel=1e-12)
    assert np.isnan(each).sum() == expected["rows_without_positive"]


def test_each_sample_ranks_its_own_classes():
    sklearn_metrics = needs("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores, truth = rng.integers(0, 4, (12, 9)).astype(float), rng.random((12, 9)) < 0.4
    truth[:, 0] = True
    _, each = sample_mean_ap(scores, truth)
    expected = [sklearn_metrics.average_precision_score(t, s) for t, s in zip(truth, scores, strict=True)]
    np.testing.assert_allclose(each, expected, rtol=1e-12)


def test_nothing_is_positive():
    assert np.isnan(mean_ap(np.ones((3, 2)), np.zeros((3, 2)))[0])
    assert np.isnan(mean_ap(np.ones((0, 2)), np.zeros((0, 2)))[0])
    assert np.isnan(sample_mean_ap(np.ones((0, 2)), np.zeros((0, 2)))[0])
