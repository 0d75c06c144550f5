"""Detections: within the video, the best of each place, and the files of ActivityNet's format."""

import json

import numpy as np
import pytest

from vidjax.data.listing.activitynet import read_results
from vidjax.data.text import DataError
from vidjax.tasks.localise.detections import Detections, VideoScores, suppressed, video_id, write_results
from vidjax.tasks.localise.nms import Found, Suppression

FOUND = Detections(
    np.array([[-1.0, 4.0], [1.0, 4.5], [8.0, 12.0], [11.0, 14.0]]),
    np.array([0.9, 0.8, 0.5, 0.2]),
    np.array([0, 0, 1, 1]),
)


def test_detections_end_with_the_video():
    kept = FOUND.clipped(10.0)
    np.testing.assert_array_equal(kept.segments, [[0, 4], [1, 4.5], [8, 10]])
    np.testing.assert_array_equal(FOUND.clipped(None).segments[:, 1], FOUND.segments[:, 1])


def test_one_of_each_place_is_shown():
    shown = FOUND.best_of_each_place(0.4)
    np.testing.assert_array_equal(shown.segments, [[-1, 4], [8, 12]])
    assert len(FOUND.best_of_each_place(0.95)) == 0


def test_the_file_is_read_by_scorers(tmp_path):
    write_results(tmp_path / "s.json", {"v": FOUND.entries(("a", "b")), "w": []}, model="toy")
    results = read_results(tmp_path / "s.json")
    assert results.videos == ("v", "w") and results.labels == ("a", "b")
    np.testing.assert_allclose(results.start, FOUND.segments[:, 0])
    assert json.loads((tmp_path / "s.json").read_text())["external_data"] == {"model": "toy"}


def test_suppressed_detections_lie_within_the_video():
    found = Found(FOUND.segments, FOUND.scores, FOUND.labels)
    assert len(suppressed(found, Suppression(detections=2), 10.0)) == 2
    one, other = (suppressed(found, Suppression(sigma=sigma), 10.0) for sigma in (0.1, 10.0))
    assert (np.sort(one.scores) <= np.sort(other.scores) + 1e-9)[: len(one)].all()
    assert other.segments.min() == 0 and other.segments.max() == 10


def test_classes_of_videos_by_another_network(tmp_path):
    scores = {"class": ["run", "jump", "sit"], "results": {"x": [0.5, 0.1, 0.4]}}
    (tmp_path / "s.json").write_text(json.dumps(scores))
    classes = VideoScores.read(str(tmp_path / "s.json"))
    joined = classes.join(Detections(FOUND.segments[:2], FOUND.scores[:2], np.zeros(2, int)), "v_x")
    np.testing.assert_allclose(joined.scores, np.sqrt([0.45, 0.4, 0.36, 0.32]))
    assert [classes.names[i] for i in joined.labels] == ["run", "run", "sit", "sit"]
    with pytest.raises(DataError, match=r"s.json: has no 3 scores of y"):
        classes.join(FOUND, "y")
    (tmp_path / "w.json").write_text("{}")
    with pytest.raises(DataError, match=r'w.json: must hold "class", a list of names'):
        VideoScores.read(str(tmp_path / "w.json"))


def test_names_of_videos():
    assert video_id("a/b/v_x.mp4") == "v_x" and video_id("all.h5#v_y") == "v_y"
