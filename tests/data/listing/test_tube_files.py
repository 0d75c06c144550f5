"""Files of tubes: read, and wrong tubes named."""

import json
import pickle

import numpy as np
import pytest

from vidjax.data.listing.tube_files import read_tubes
from vidjax.data.text import DataError

TUBE = {"video": "v", "label": "run", "score": 0.5, "frames": [3, 4], "boxes": [[0, 0, 1, 1], [0, 0, 1, 2]]}


def write(tmp_path, tubes):
    (tmp_path / "t.json").write_text(json.dumps(tubes))
    return tmp_path / "t.json"


def test_tubes_are_read(tmp_path):
    truth = {name: value for name, value in TUBE.items() if name != "score"}
    first, second = read_tubes(write(tmp_path, {"tubes": [TUBE, truth]}))
    assert (first.video, first.label, first.frames.tolist(), first.score) == ("v", "run", [3, 4], 0.5)
    assert first.boxes.tolist() == TUBE["boxes"] and second.score != second.score


@pytest.mark.parametrize(
    "change",
    [
        {"frames": [4, 3]}, {"frames": [3, 3]}, {"frames": [3.5, 4]}, {"frames": [3]}, {"frames": [], "boxes": []},
        {"boxes": [[0, 0, 1, 1], [1, 0, 0, 2]]}, {"boxes": [[0, 0, 1], [0, 0, 1]]}, {"boxes": None}, {"video": 3},
        {"label": None}, {"score": "high"},
    ],
)  # fmt: skip
def test_wrong_tubes_are_named_by_their_number(tmp_path, change):
    with pytest.raises(DataError, match=r"t.json: tube 2 needs a video, a label, rising whole numbers"):
        read_tubes(write(tmp_path, {"tubes": [TUBE, TUBE | change, TUBE]}))


def test_predictions_need_scores(tmp_path):
    with pytest.raises(DataError, match="tube 1 needs a finite score"):
        read_tubes(write(tmp_path, {"tubes": [TUBE | {"score": float("nan")}]}), scored=True)
    with pytest.raises(DataError, match="no 'tubes' in it"):
        read_tubes(write(tmp_path, {"results": {}}))


ROWS = np.array([[3, 0, 0, 32, 24], [4, 0, 0, 32, 48]], np.float32)


def write_pickle(tmp_path, **changes):
    values = {
        "labels": ["run", "sit"], "train_videos": [[], []], "test_videos": [["a/v"], []], "nframes": {"a/v": 9},
        "resolution": {"a/v": (48, 64)}, "gttubes": {"a/v": {1: [ROWS, ROWS[:1]]}},
    }  # fmt: skip
    (tmp_path / "t.pkl").write_bytes(pickle.dumps(values | changes, protocol=2))
    return tmp_path / "t.pkl"


def test_pickles_of_annotations(tmp_path):
    first, second = read_tubes(write_pickle(tmp_path))
    assert (first.video, first.label, first.frames.tolist(), first.size) == ("a/v", "sit", [3, 4], (48, 64))
    assert first.boxes.tolist() == ROWS[:, 1:].tolist() and len(second.frames) == 1
    assert read_tubes(write_pickle(tmp_path), split=2) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gttubes": {}}, r"t.pkl: a/v: not a resolution, and tubes by class \(KeyError"),
        ({"labels": ["run"]}, r"t.pkl: a/v: not a resolution, and tubes by class \(IndexError"),
        ({"gttubes": {"a/v": {0: [ROWS[::-1]]}}}, r"t.pkl: a/v: a tube of 'run' has not rising frames"),
        ({"gttubes": {"a/v": {0: [ROWS[:, :4]]}}}, r"t.pkl: a/v: a tube of 'run' has not rising frames"),
        ({"test_videos": []}, r"t.pkl: has 0 splits, and no number 1"),
        ({"labels": [pytest.approx]}, r"t.pkl: is refused, as it names"),
    ],
)
def test_wrong_pickles_are_named(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        read_tubes(write_pickle(tmp_path, **changes))


def test_not_a_pickle_of_tubes(tmp_path):
    (tmp_path / "t.pkl").write_bytes(pickle.dumps({"labels": []}))
    with pytest.raises(DataError, match="not a dictionary with labels, train_videos"):
        read_tubes(tmp_path / "t.pkl")
    (tmp_path / "t.pkl").write_bytes(b"\x80\x02nonsense")
    with pytest.raises(DataError, match="not a readable pickle"):
        read_tubes(tmp_path / "t.pkl")
