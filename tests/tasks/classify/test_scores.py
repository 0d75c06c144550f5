"""Accuracies of scores: views, their mean over a video, classes one by one."""

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
