"""Metrics against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers import needs
from vidjax.evaluation import metrics

sklearn_metrics = needs("sklearn.metrics")


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(2, 30))
def test_top_k_equals_sklearn_without_ties(seed, num_classes, num_rows):
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(num_classes, dtype=float), (num_rows, 1)), axis=1)
    labels = rng.integers(num_classes, size=num_rows)
    for k in range(1, num_classes):
        scores_ = scores if num_classes > 2 else scores[:, 1] - scores[:, 0]
        if num_classes == 2:
            expected = float(((scores_ > 0) == labels).mean())
        else:
            expected = sklearn_metrics.top_k_accuracy_score(labels, scores_, k=k, labels=np.arange(num_classes))
        assert metrics.top_k_accuracy(scores, labels, k) == pytest.approx(expected)
    assert metrics.top_k_accuracy(scores, labels, num_classes + 3) == 1.0


def test_the_best_five_of_five_classes_say_nothing():
    scores = np.eye(6)[[0, 1, 2]]
    labels = np.array([0, 1, 5])
    assert metrics.accuracies(scores, labels) == {"top1": 2 / 3, "top5": 2 / 3}
    assert metrics.accuracies(np.eye(5)[[0, 1, 2]], np.array([0, 1, 4])) == {"top1": 2 / 3}


def test_constant_scores_are_not_right():
    assert metrics.top_k_accuracy(np.ones((4, 6)), np.arange(4), 1) == 0.0
    assert np.isnan(metrics.top_k_accuracy(np.ones((0, 6)), np.arange(0), 1))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_average_precision_equals_sklearn(seed, ties):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 5, (30, 4)).astype(float) if ties else rng.random((30, 4))
    targets = (rng.random((30, 4)) < 0.3).astype(int)
    targets[0] = 1
    expected = [sklearn_metrics.average_precision_score(t, s) for s, t in zip(scores.T, targets.T, strict=True)]
    np.testing.assert_allclose(metrics.average_precision(scores, targets), expected, rtol=1e-12)


def test_average_precision_without_positives_is_undefined():
    values = metrics.average_precision(np.random.default_rng(0).random((5, 2)), np.array([[1, 0]] * 5))
    assert values[0] == 1.0 and np.isnan(values[1])


def test_confusion_equals_sklearn():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(4, size=(2, 50))
    expected = sklearn_metrics.confusion_matrix(labels, predicted, labels=range(5))
    np.testing.assert_array_equal(metrics.confusion_matrix(predicted, labels, 5), expected)


def test_probabilities_are_stable():
    logits = np.array([[1000.0, 0.0], [-1000.0, -1001.0]])
    np.testing.assert_allclose(metrics.softmax(logits).sum(-1), 1)
    np.testing.assert_allclose(metrics.sigmoid(logits), [[1, 0.5], [0, 0]], atol=1e-12)
