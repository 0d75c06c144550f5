"""Scores as files: a table, arrays, a confusion matrix, and their names."""

import csv
import json

import numpy as np
import pytest

from vidjax.data.records import Labels, LabelSpace, Record, VideoSet
from vidjax.evaluation.several import read_thresholds
from vidjax.tasks.classify.report import write_scores
from vidjax.tasks.classify.scores import Scores

VIDEOS = VideoSet(tuple(Record(f"{i}.mp4", Labels((i % 3,))) for i in range(5)), LabelSpace(("a", "b", "c")))
# Of 3.mp4, which could not be read, there is no row.
SCORES = Scores(
    np.array([0, 1, 2, 4]),
    np.array([[[0.5, 0.3, 0.2]], [[0.1, 0.7, 0.2]], [[0.6, 0.3, 0.1]], [[0.2, 0.6, 0.2]]]),
)


def test_files_and_their_names(tmp_path):
    names = write_scores(tmp_path, SCORES, VIDEOS, "a title")
    assert names == ["video_scores.csv", "scores.npz", "confusion.png"]
    assert sorted(names) == sorted(p.name for p in tmp_path.iterdir())
    with open(tmp_path / "video_scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "prediction", "score", "correct"]
    assert [list(row.values()) for row in rows] == [
        ["0.mp4", "a", "a", "0.500000", "1"], ["1.mp4", "b", "b", "0.700000", "1"],
        ["2.mp4", "c", "a", "0.600000", "0"], ["4.mp4", "b", "b", "0.600000", "1"],
    ]  # fmt: skip
    stored = np.load(tmp_path / "scores.npz")
    np.testing.assert_allclose(stored["scores"], SCORES.view_scores[:, 0], rtol=1e-6)
    assert stored["paths"].tolist() == ["0.mp4", "1.mp4", "2.mp4", "4.mp4"] and stored["num_views"].tolist() == [1] * 4
    assert stored["class_names"].tolist() == ["a", "b", "c"] and stored["targets"].tolist() == [0, 1, 2, 1]
    assert (tmp_path / "confusion.png").read_bytes()[:4] == b"\x89PNG"


def test_several_classes_have_no_confusion_matrix(tmp_path):
    labels = LabelSpace(VIDEOS.labels.names, several=True)
    records = tuple(
        Record(f"{i}.mp4", Labels(classes)) for i, classes in enumerate(((0, 2), (), (1,), (0,), (0, 1, 2)))
    )
    names = write_scores(tmp_path, SCORES, VideoSet(records, labels))
    assert names == ["video_scores.csv", "scores.npz", "thresholds.json", "ap.png"]
    assert (tmp_path / "ap.png").read_bytes()[:4] == b"\x89PNG"
    found = json.loads((tmp_path / "thresholds.json").read_text())
    thresholds = read_thresholds(tmp_path, labels.names)
    assert [found["classes"][name]["threshold"] for name in labels.names] == thresholds.tolist()
    decided = SCORES.video_scores >= thresholds
    truth = VideoSet(records, labels).targets()[SCORES.index]
    f1 = [2 * (d & (t > 0)).sum() / (d.sum() + t.sum()) for d, t in zip(decided.T, truth.T, strict=True)]
    assert [found["classes"][name]["f1"] for name in labels.names] == pytest.approx(f1)
    assert found["macro_f1"] == pytest.approx(np.mean(f1)) and found["num_videos"] == 4
    lines = (tmp_path / "video_scores.csv").read_text().splitlines()
    assert lines[1] == "0.mp4,a|c,a,0.500000,1" and lines[2] == "1.mp4,,b,0.700000,0"
    assert np.load(tmp_path / "scores.npz")["targets"].tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]]


@pytest.mark.parametrize("several", [False, True])
def test_no_video_that_could_be_read_leaves_files_too(tmp_path, several):
    nothing = Scores(np.zeros(0, np.int64), np.zeros((0, 1, 3)), np.zeros(0, np.int64))
    names = write_scores(tmp_path, nothing, VideoSet(VIDEOS.records, LabelSpace(VIDEOS.labels.names, several)))
    assert all((tmp_path / name).stat().st_size for name in names)
    assert len((tmp_path / "video_scores.csv").read_text().splitlines()) == 1
