"""ActivityNet's files: annotations of long videos, and predicted segments; wrong entries named."""

import json

import pytest

from vidjax.data.listing.activitynet import read_results, read_videos
from vidjax.data.text import DataError

VIDEO = {"subset": "Validation", "duration": 30.5, "fps": 25, "annotations": [{"segment": [1, 4.5], "label": "run"}]}
PART = {"label": "run", "score": 0.5, "segment": [1.0, 2]}


def write(tmp_path, value):
    file = tmp_path / "a.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value, indent=1))
    return file


def test_videos_of_a_subset(tmp_path):
    other = {"subset": "testing", "annotations": []}
    file = write(tmp_path, {"database": {"a": VIDEO, "b": other, "c": {**VIDEO, "subset": "training"}}})
    (video,) = read_videos(file, "validation")
    assert (video.name, video.where, video.duration, video.fps) == ("a", f"{file}: a", 30.5, 25.0)
    assert video.spans == ((1.0, 4.5, "run"),) and video.subset == "Validation"
    every = read_videos(file)
    assert [v.name for v in every] == ["a", "b", "c"] and every[1].duration is None and every[1].spans == ()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('{"database": \n{]}', r"a.json:2: not valid JSON"),
        ([], r"a.json:1: must hold an object"),
        ({"results": {}}, r"a.json: no 'database' in it"),
        ({"database": {"a": VIDEO, "b": {"annotations": []}}}, r"a.json:\d+: b: needs a subset and a list"),
        (
            {"database": {"b": {**VIDEO, "annotations": [{"segment": [4, 1], "label": "run"}]}}},
            r"a.json:3: b: not a la",
        ),
        (
            {"database": {"b": {**VIDEO, "annotations": [{"segment": [1], "label": "run"}]}}},
            r"a.json:3: b: not a label",
        ),
        ({"database": {"b": {**VIDEO, "annotations": [{"segment": [1, 2], "label": 3}]}}}, r"a.json:3: b: not a label"),
    ],
)
def test_wrong_annotations_are_named(tmp_path, value, message):
    with pytest.raises(DataError, match=message):
        read_videos(write(tmp_path, value))


def test_results_are_columns(tmp_path):
    parts = [PART, {**PART, "label": "sit", "segment": [-1, 3.5]}]
    found = read_results(write(tmp_path, {"results": {"a": parts, "b": [], "c": [PART]}}))
    assert (found.videos, found.labels) == (("a", "b", "c"), ("run", "sit"))
    assert (found.video.tolist(), found.label.tolist()) == ([0, 0, 2], [0, 1, 0])
    assert (found.start.tolist(), found.end.tolist(), found.score.tolist()) == ([1, -1, 1], [2, 3.5, 2], [0.5] * 3)
    assert read_results(write(tmp_path, {"results": {}})).score.shape == (0,)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"database": {}}, r"a.json: no 'results' in it.*it has a 'database', as annotations do"),
        ({"results": {"a": {}}}, r"a.json:3: a: needs a list of segments"),
        ({"results": {"a": [{**PART, "score": None}]}}, r"a.json:3: a: not a label, a score and a segment"),
        ({"results": {"a": [{**PART, "segment": [1, 2, 3]}]}}, r"a.json:3: a: not a label"),
        ({"results": {"a": [{**PART, "score": float("nan")}]}}, r"a.json:3: a: not a label"),
        ({"results": {"a": [{"score": 1.0, "segment": [0, 1]}]}}, r"a.json:3: a: not a label"),
    ],
)
def test_wrong_results_are_named(tmp_path, value, message):
    with pytest.raises(DataError, match=message):
        read_results(write(tmp_path, value))


def test_many_wrong_entries_are_counted(tmp_path):
    with pytest.raises(DataError, match="and 280 more"):
        read_results(write(tmp_path, {"results": {f"v{i}": [i] for i in range(300)}}))
