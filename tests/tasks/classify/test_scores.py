"""Accuracies of scores: views, their mean over a video, classes one by one."""

import json

import numpy as np
import pytest

from vidjax.data.records import Labels, LabelSpace, Record, VideoSet
from vidjax.tasks.classify.scores import Scores, details, figures, per_class


def scores_of(view_scores, num_views=None):
    view_scores = np.asarray(view_scores, float)
    return Scores(np.arange(len(view_scores)), view_scores, num_views)


def test_video_level_is_the_mean_over_views():
    # Two of three views are wrong, but the third is surer.
    videos = VideoSet((Record("v", Labels((0,))),), LabelSpace(("a", "b")))
    found = figures(scores_of([[[0.4, 0.6], [0.4, 0.6], [0.9, 0.1]]]), videos)
    assert found["clip"]["top1"] == pytest.approx(1 / 3) and found["video"]["top1"] == 1.0


def test_the_published_figures_of_both_ensembles(shared):
    """Views joined by their maximum, as SlowFast does for Charades, and by their mean."""
    file = shared / "reference/golden-localisation/evaluators/multilabel_retrieval_expected.json"
    expected = json.loads(file.read_text())["multi_label"]
    views = np.random.default_rng(9).random((40, 3, 12))
    truth = np.random.default_rng(10).random((40, 12)) < 0.15
    truth[:, [3, 7]] = False
    views = 0.7 * views + 0.3 * truth[:, None] * np.random.default_rng(11).random((40, 3, 12))
    labels = LabelSpace(tuple("abcdefghijkl"), several=True)
    videos = VideoSet(
        tuple(Record(f"{i}", Labels(tuple(np.flatnonzero(row).tolist()))) for i, row in enumerate(truth)), labels
    )
    for how in ("max", "mean"):
        found = figures(Scores(np.arange(40), views, ensemble=how), videos)
        assert found["video"]["mAP"] == pytest.approx(expected[f"clip_{how}_mAP"], abs=1e-12)


def test_classes_that_are_not_known_of_a_video_are_not_negatives():
    names = ("action/run", "action/jump", "scene/beach")
    records = (
        Record("v", Labels((0, 2))), Record("w", Labels((0,), categories=("action",))),
        Record("x", Labels((2,), categories=("scene",))), Record("y", Labels((1,))),
    )  # fmt: skip
    videos = VideoSet(records, LabelSpace(names, several=True))
    assert videos.targets().tolist() == [[1, 0, 1], [1, 0, -1], [-1, -1, 1], [0, 1, 0]]
    labels = videos.counted().labels
    assert labels.positives == (2, 1, 2) and labels.annotated == (3, 3, 3)
    scores = scores_of([[[0.9, 0.1, 0.6]], [[0.8, 0.2, 0.9]], [[0.99, 0.9, 0.7]], [[0.1, 0.3, 0.5]]])
    assert figures(scores, videos)["video"]["mAP"] == 1.0, "the highest scores are of what nobody has annotated"
    assert per_class(scores, videos)["scene/beach"] == {"AP": 1.0, "num_videos": 2}
    assert details(scores, videos)["per_category"] == {"action": {"mAP": 1.0}, "scene": {"mAP": 1.0}}


def test_the_maximum_ignores_the_padding_of_videos_with_fewer_views():
    scores = Scores(np.arange(2), np.array([[[-0.5], [-0.2]], [[-0.7], [0.0]]]), np.array([2, 1]), "max")
    assert scores.video_scores.tolist() == [[-0.2], [-0.7]]
    assert Scores(np.zeros(0, int), np.zeros((0, 1, 3)), np.zeros(0, int), "max").video_scores.shape == (0, 3)


def test_top_5_is_reported_where_there_are_more_classes():
    names = tuple("abcdef")
    videos = VideoSet((Record("v", Labels((0,))), Record("w", Labels((5,)))), LabelSpace(names))
    found = figures(scores_of([[np.arange(6) / 15], [np.arange(6) / 15]]), videos)
    assert found["video"] == found["clip"] == {"top1": 0.5, "top5": 0.5}


def test_several_classes_of_a_video_are_judged_by_mean_average_precision():
    records = (Record("v", Labels((0, 1))), Record("w", Labels((1,))), Record("x", Labels((0,))))
    videos = VideoSet(records, LabelSpace(("a", "b", "c"), several=True))
    scores = scores_of([[[0.9, 0.8, 0.1]], [[0.2, 0.9, 0.3]], [[0.8, 0.1, 0.2]]])
    found = figures(scores, videos)
    assert found["video"] == found["clip"] == {"mAP": 1.0}
    assert per_class(scores, videos)["c"] == {"AP": None, "num_videos": 0}


def test_padding_of_videos_with_fewer_views_does_not_count():
    records = (Record("v", Labels((0,))), Record("w", Labels((1,))))
    videos = VideoSet(records, LabelSpace(("a", "b")))
    scores = scores_of([[[0.3, 0.7], [0.9, 0.1]], [[0.2, 0.8], [0.0, 0.0]]], np.array([2, 1]))
    np.testing.assert_allclose(scores.video_scores, [[0.6, 0.4], [0.2, 0.8]])
    assert figures(scores, videos) == {"clip": {"top1": pytest.approx(2 / 3)}, "video": {"top1": 1.0}}
    assert details(scores, videos)["num_clips_scored"] == 3
    assert "num_clips_scored" not in details(scores_of(np.ones((2, 3, 2))), videos)


def test_classes_one_by_one():
    records = tuple(Record(str(i), Labels((i,))) for i in (0, 0, 1))
    videos = VideoSet(records, LabelSpace(("a", "b", "c")))
    assert per_class(scores_of([[[1, 0, 0]], [[0, 1, 0]], [[0, 1, 0]]]), videos) == {
        "a": {"top1": 0.5, "num_videos": 2}, "b": {"top1": 1.0, "num_videos": 1}, "c": {"top1": None, "num_videos": 0},
    }  # fmt: skip
