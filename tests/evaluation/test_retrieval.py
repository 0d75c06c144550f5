"""Retrieval: to 12 digits the figures of published protocols, and equal to plain loops."""

import json

import numpy as np
import pytest
from numpy.random import default_rng

from tests.evaluation.drawn import EVALUATORS
from vidjax.errors import UserError
from vidjax.evaluation import retrieval as r


@pytest.fixture(scope="module")
def expected():
    return json.loads((EVALUATORS / "multilabel_retrieval_expected.json").read_text())["retrieval"]


@pytest.fixture(scope="module")
def clips():
    """Cosines of 25 test videos with 60 training videos, and their classes."""
    rng = default_rng(12)
    items, queries, centre = rng.integers(0, 6, 60), rng.integers(0, 6, 25), None
    centre = rng.standard_normal((6, 16))
    train = centre[items][:, None] + 6.0 * rng.standard_normal((60, 10, 16))
    test = centre[queries][:, None] + 6.0 * rng.standard_normal((25, 10, 16))
    return r.cosine(test.mean(axis=1), train.mean(axis=1)), queries, items


def test_nearest_neighbours(expected, clips):
    found = r.neighbour_recall(*clips)
    assert {f"R@{k}": value for k, value in found.items()} == pytest.approx(expected["nearest_neighbour"], rel=1e-12)
    similarity, queries, items = clips
    votes = r.neighbour_votes(similarity, items, 6, k=20)
    assert (votes.argmax(axis=1) == queries).mean() == pytest.approx(expected["knn20_T007_top1"], rel=1e-12)
    row = np.zeros(6)
    for i in np.argsort(-similarity[3])[:20]:
        row[items[i]] += np.exp(similarity[3, i] / 0.07)
    np.testing.assert_allclose(votes[3], row / row.sum(), rtol=1e-12)


def test_ranked_lists(expected, clips):
    found = r.ranked_ap(*clips)
    assert found.mAP == pytest.approx(expected["mean_average_precision"], rel=1e-12)
    _, queries, _ = clips
    by_class = [found.ap[queries == k].mean() for k in np.unique(queries)]
    assert found.class_mAP == pytest.approx(np.mean(by_class), rel=1e-12)


def test_text_to_video(expected):
    similarity = default_rng(13).standard_normal((25, 25)) + 1.2 * np.eye(25)
    found, figures = r.rank_figures(r.match_ranks(similarity)), expected["text_video"]
    assert [100 * found[f"R@{k}"] for k in (1, 5, 10)] == pytest.approx([figures[f"R{k}"] for k in (1, 5, 10)])
    assert (found["median_rank"], found["mean_rank"]) == (figures["MdR"], figures["MnR"])
    backwards = r.match_ranks(similarity.T)
    assert backwards.tolist() == [1 + int((column > column[i]).sum()) for i, column in enumerate(similarity.T)]


def test_equal_similarities_count_against_a_match():
    assert r.match_ranks(np.ones((2, 3))).tolist() == [3, 3]
    relevant = np.array([[True, True, False], [False, False, True]])
    assert r.match_ranks(np.array([[0.1, 0.9, 0.5], [0.3, 0.3, 0.2]]), relevant).tolist() == [1, 3]
    with pytest.raises(UserError, match="1 queries have no relevant item"):
        r.match_ranks(np.ones((2, 3)), relevant & [[True], [False]])
    with pytest.raises(UserError, match="NaN"):
        r.match_ranks(np.full((1, 1), np.nan))


def test_blocks_of_queries_change_nothing(clips, monkeypatch):
    similarity, queries, items = clips
    whole = r.nearest(similarity, 7)
    monkeypatch.setattr(r, "_BLOCK", 130)
    np.testing.assert_array_equal(r.nearest(similarity, 7), whole)
    monkeypatch.setattr("vidjax.evaluation.metrics._BLOCK", 130)
    assert r.ranked_ap(similarity, queries, items).mAP == pytest.approx(r.ranked_ap(*clips).mAP)


def test_a_class_without_an_item_has_no_precision():
    found = r.ranked_ap(np.ones((2, 1)), np.array([0, 1]), np.array([0]))
    np.testing.assert_array_equal(found.ap, [1, np.nan])
    assert found.mAP == found.class_mAP == 1
    assert r.cosine(np.zeros((1, 3)), np.ones((1, 3)))[0, 0] == 0
