"""Figures of the simple methods on vectors, against scikit-learn and definitions written out."""

import json

import numpy as np
import pytest

from tests.peers import needs
from vidjax.config.choices import EMBEDDING_TASKS
from vidjax.embeddings.benchmark import TASKS, Labelled, LogisticRegression, retrieval, run_tasks, v_measure


def blobs(seed=0, spread=1.0, count=60):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return np.eye(3, 8)[labels] * 3 + spread * rng.standard_normal((count, 8)), labels


def test_the_protocol_of_neighbours_gives_the_published_figures(shared):
    expected = json.loads(
        (shared / "reference/golden-localisation/evaluators/multilabel_retrieval_expected.json").read_text()
    )["retrieval"]
    rg = np.random.default_rng(12)
    ytr, yte = rg.integers(0, 6, 60), rg.integers(0, 6, 25)
    centres = rg.standard_normal((6, 16))
    train = centres[ytr][:, None] + 6.0 * rg.standard_normal((60, 10, 16))
    test = centres[yte][:, None] + 6.0 * rg.standard_normal((25, 10, 16))
    data = Labelled(test.mean(1), yte, 6, train.mean(1), ytr)
    (found,) = run_tasks(data, ["retrieval"])[0]["scores"]["test"]
    assert {k: found[k] for k in expected["nearest_neighbour"]} == pytest.approx(
        expected["nearest_neighbour"], abs=1e-12
    )
    assert found["mAP"] == pytest.approx(expected["mean_average_precision"], abs=1e-12)
    (votes,) = run_tasks(data, ["neighbours"])[0]["scores"]["test"]
    assert votes["knn20_top1"] == pytest.approx(expected["knn20_T007_top1"], abs=1e-12)


def test_linear_classes_and_clusters_are_those_of_scikit_learn():
    sklearn = needs("sklearn.linear_model")
    from sklearn.metrics import v_measure_score

    x, y = blobs(spread=2.0)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    theirs = sklearn.LogisticRegression(C=1.0, tol=1e-10, max_iter=2000).fit(unit, y)
    ours = LogisticRegression.fit(x, y, 3)
    np.testing.assert_allclose(ours.weights.T, theirs.coef_, atol=2e-3)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(unit))
    rng = np.random.default_rng(1)
    for clusters in (rng.integers(0, 4, 60), y, np.zeros(60, int)):
        assert v_measure(y, clusters) == pytest.approx(v_measure_score(y, clusters), abs=1e-12)


def test_without_training_videos_each_asks_all_others():
    x, y = blobs(spread=0.3, count=12)
    found = retrieval(Labelled(x, y, 3))
    assert found["R@1"] == found["mAP"] == found["class_mAP"] == found["ndcg_at_10"] == pytest.approx(1)
    assert "R@20" not in found, "there are only 11 others"
    alone = retrieval(Labelled(x[:3], np.array([0, 1, 1]), 2))
    assert alone["R@1"] == pytest.approx(2 / 3) or alone["R@1"] <= 2 / 3, "nothing of the first one's class is there"


def test_tasks_are_those_of_the_command():
    assert tuple(TASKS) == EMBEDDING_TASKS


def test_all_tasks_tell_good_vectors_from_noise():
    x, y = blobs()
    rng = np.random.default_rng(5)
    good = Labelled(*blobs(1), 3, x, y)
    noise = Labelled(rng.standard_normal((60, 8)), y, 3, rng.standard_normal((60, 8)), y)
    for better, worse in zip(run_tasks(good, list(TASKS)), run_tasks(noise, list(TASKS)), strict=True):
        (a,), (b,) = better["scores"]["test"], worse["scores"]["test"]
        assert a["main_score"] > b["main_score"] + 0.2, better["task_name"]
    assert run_tasks(good, ["few_shot"])[0]["scores"] == run_tasks(good, ["few_shot"])[0]["scores"]
