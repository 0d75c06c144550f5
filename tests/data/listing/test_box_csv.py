"""Own CSV of boxes: a row for each frame, one error for each wrong line; pickles of tubes."""

import pickle

import numpy as np
import pytest

from vidjax.data.listing.annotations import AnnotationFile, ClassIndex
from vidjax.data.listing.box_csv import BoxCsv, has_boxes
from vidjax.data.listing.sources import open_sources
from vidjax.data.listing.tubes import tube_parser
from vidjax.data.records import Boxes
from vidjax.data.text import DataError

HEAD = "path,time,x1,y1,x2,y2,label,person,split\n"
TEXT = (
    HEAD
    + """a.mp4,0.5,0.1,0.2,0.3,0.4,walk,3,train
a.mp4,0.5,0.1,0.2,0.3,0.4,talk,3,train
a.mp4,0.5,0.5,0.5,1,1,walk|sit,4,train
a.mp4,1.5,0.5,0.5,1.005,1,,,train
b.mp4,2,,,,,,,val
"""
)
BOXES = frozenset({"boxes"})


def rows(tmp_path, text, need_files=False):
    (tmp_path / "own.csv").write_text(text)
    return BoxCsv("own.csv", str(tmp_path / "own.csv"), str(tmp_path), need_files).rows()


def test_a_row_is_a_frame_and_a_line_a_label_of_a_box(tmp_path):
    first, second, third = rows(tmp_path, TEXT)
    corners = ((0.1, 0.2, 0.3, 0.4), (0.5, 0.5, 1.0, 1.0))
    assert first.annotation == Boxes(0.5, corners, (("walk", "talk"), ("walk", "sit")), (3, 4))
    assert (first.path, first.at, first.split) == (str(tmp_path / "a.mp4"), 0.5, "train")
    assert first.where.endswith("own.csv:2")
    assert second.annotation == Boxes(1.5, corners[1:], ((),))
    assert third.annotation == Boxes(2.0, (), ()) and third.split == "val"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.mp4,0.5,10,20,30,40,walk,,", "own.csv:2: the box 10, 20, 30, 40 is in pixels; divide by the width"),
        ("a.mp4,0.5,0.4,0.2,0.3,0.4,walk,,", "own.csv:2: the box must be left, top, right, bottom within 0…1"),
        ("a.mp4,x,0.1,0.2,0.3,0.4,walk,,", "own.csv:2: time is 'x', not a number"),
        ("a.mp4,-1,0.1,0.2,0.3,0.4,walk,,", "own.csv:2: the time is -1 s, before the first frame"),
        ("a.mp4,1,0.1,0.2,0.3,0.4,walk,one,", "own.csv:2: the person is 'one'; give a whole number"),
        ("a.mp4,1,0.1,0.2,0.3,0.4,walk|walk,,", "own.csv:2: the label 'walk' of this box is repeated"),
        (",1,0.1,0.2,0.3,0.4,walk,,", "own.csv:2: the path is empty"),
        ("a.mp4,1,0.1", "own.csv:2: 3 cells where the header has 9"),
    ],
)  # fmt: skip
def test_wrong_lines_are_named(tmp_path, line, message):
    with pytest.raises(DataError, match=message.replace("|", r"\|")):
        rows(tmp_path, f"{HEAD}{line}\n")


def test_files_are_told_by_their_header(tmp_path):
    (tmp_path / "labels.csv").write_text("path,label\na.mp4,x\n")
    (tmp_path / "own.csv").write_text(TEXT)
    assert has_boxes(str(tmp_path / "own.csv")) and not has_boxes(str(tmp_path / "labels.csv"))
    assert not has_boxes(str(tmp_path / "gone.csv"))
    (source,) = open_sources(str(tmp_path / "own.csv"), "", BOXES, need_files=False)
    assert isinstance(source, BoxCsv)
    with pytest.raises(DataError, match="its annotations are boxes, but labels are needed"):
        open_sources(str(tmp_path / "own.csv"), "", need_files=False)
    (other,) = open_sources(str(tmp_path / "labels.csv"), "", BOXES, need_files=False)
    with pytest.raises(DataError, match=r"no column 'time' and no column 'x1'.*must be path,time,x1,y1,x2,y2,label"):
        other.rows()
    (tmp_path / "ava.csv").write_text("abc,0902,0.1,0.2,0.3,0.4,80,1\n")
    (ava,) = open_sources(str(tmp_path / "ava.csv"), "", BOXES, need_files=False)
    with pytest.raises(DataError, match=r"looks like AVA's list: give config.data.dataset=ava"):
        ava.rows()


def test_missing_videos_are_named_unless_not_needed(tmp_path):
    with pytest.raises(DataError, match=r"own.csv:2: no such file: .*a.mp4"):
        rows(tmp_path, TEXT, need_files=True)


def tubes(**changes):
    walk = np.array([[1, 0, 0, 50, 50], [2, 10, 0, 60, 105]], np.float32)
    run = np.array([[2, 20, 20, 100, 100]], np.float32)
    given = {
        "labels": ["walk", "run"],
        "train_videos": [["walk/v_x_g01_c01"], []],
        "test_videos": [[], ["walk/v_x_g01_c01"]],
        "nframes": {"walk/v_x_g01_c01": 9},
        "resolution": {"walk/v_x_g01_c01": (100, 200)},
        "gttubes": {"walk/v_x_g01_c01": {0: [walk], 1: [run]}},
    }
    return given | changes


def parse(tmp_path, values, role="train", split=1):
    (tmp_path / "GT.pkl").write_bytes(pickle.dumps(values))
    return tube_parser(25.0)(AnnotationFile(tmp_path / "GT.pkl", role, ClassIndex(("walk", "run")), split))


def test_tubes_are_frames_with_boxes(tmp_path):
    first, second = parse(tmp_path, tubes())
    assert first.at == first.annotation.at == 0 and second.at == 1 / 25
    assert second.annotation.corners == ((0.05, 0.0, 0.3, 1.0), (0.1, 0.2, 0.5, 1.0))  # cut to the picture
    assert second.annotation.classes == (("walk",), ("run",)) and second.annotation.tracks == (0, 1)
    assert (first.path, first.group) == ("walk/v_x_g01_c01", "v_x_g01")
    assert parse(tmp_path, tubes(), "eval") == [] and len(parse(tmp_path, tubes(), "eval", 2)) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["walk", "fly"]}, "label 'fly' is not one of the 2 classes"),
        ({"resolution": {}}, "GT.pkl: walk/v_x_g01_c01: 'walk/v_x_g01_c01'"),
        ({"resolution": {"walk/v_x_g01_c01": (20, 20)}}, "walk/v_x_g01_c01: frame 1: the box"),
        ({"gttubes": None}, "GT.pkl: walk/v_x_g01_c01: "),
    ],
)
def test_wrong_pickles_are_named(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        parse(tmp_path, tubes(**changes))
    (tmp_path / "GT.pkl").write_bytes(b"no pickle")
    with pytest.raises(DataError, match=r"GT.pkl: not a readable pickle"):
        tube_parser(25.0)(AnnotationFile(tmp_path / "GT.pkl", "train", ClassIndex(("walk", "run"))))
