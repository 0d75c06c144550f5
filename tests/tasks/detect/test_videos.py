"""Boxes of a set prepared by the settings: files of detected boxes, excluded frames, clocks, jitter."""

import pickle

import numpy as np
import pytest

from vidjax.config import Config, DetectConfig, TaskConfig
from vidjax.data.records import Boxes, LabelSpace, Record, VideoSet
from vidjax.data.text import DataError
from vidjax.evaluation.boxes import box_iou
from vidjax.tasks.detect.proposals import find_name, read_boxes, read_excluded, stem
from vidjax.tasks.detect.videos import file_start, prepare_videos

LABELS = LabelSpace(("a", "b"), several=True)
BOX = (0.1, 0.1, 0.5, 0.9)
NEAR = (0.1, 0.1, 0.5, 0.88)
FAR = (0.6, 0.1, 0.9, 0.5)
VIDEOS = VideoSet(
    tuple(
        Record(path, Boxes(at, (BOX,), ((0,),), (4,)), at=at)
        for path, at in (("d/x.mp4", 902.0), ("d/x.mp4", 903.0), ("d/y.mp4", 902.5))
    ),
    LABELS,
    quarantined={1: "bad", 2: "worse"},
)
AVA = f"""x,0902,{",".join(map(str, NEAR))},,0.95
x,0902,{",".join(map(str, FAR))},,0.97
x,0902,0.0,0.0,0.2,0.2,,0.5
x,0903,0.0,0.0,0.2,1.004,,0.99
"""


def config(**settings):
    return Config(task=TaskConfig(detect=DetectConfig(**settings)))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text(AVA)
    return str(path)


def test_forms_of_detected_boxes_are_read_alike(tmp_path, file):
    header = tmp_path / "own.csv"
    header.write_text("time,path,x1,y1,x2,y2,score\n" + "".join(
        f"{c[1]},folder/{c[0]}.mp4,{','.join(c[2:6])},{c[7]}\n" for c in (line.split(",") for line in AVA.split())
    ))  # fmt: skip
    stored = tmp_path / "boxes.pkl"
    arrays = {
        "x,0902": np.array([[*NEAR, 0.95], [*FAR, 0.97], [0, 0, 0.2, 0.2, 0.5]]),
        "x,0903": np.array([[0, 0, 0.2, 1.0, 0.99]]),
    }
    stored.write_bytes(pickle.dumps(arrays))
    expected = read_boxes(file, 0.9).of("any/x.mkv")
    assert [corners for corners, _ in expected[902000]] == [FAR, NEAR]  # the best first
    assert expected[903000][0][0] == (0.0, 0.0, 0.2, 1.0)  # cut to the picture
    assert read_boxes(str(stored), 0.9).of("x.mp4") == expected == read_boxes(str(header), 0.9).of("folder/x.mp4")
    both = read_boxes(f"{file},{stored}").of("x.mp4")[902000]
    assert both[0] == (FAR, 0.97) and len(both) == 3  # each box once


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,0902,10,20,300,400,,0.9\n", r"boxes.csv:1: the box 10, 20, 300, 400 is in pixels; divide"),
        ("x,0902,0.5,0.2,0.3,0.4,,0.9\n", r"boxes.csv:1: the box must be left, top"),
        ("x,0902,0.5\n", r"boxes.csv:1: not a CSV of video,second"),
        ("path,x1,y1,x2,y2\n", r"boxes.csv:1: no column time in the header"),
    ],
)
def test_wrong_lines_are_named(tmp_path, text, message):
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_boxes(str(tmp_path / "boxes.csv"))


def test_a_pickle_runs_nothing_and_says_what_it_should_hold(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("run",)

    path = tmp_path / "boxes.pkl"
    for content, message in ((Evil(), "is refused"), ([1], 'not {"video,0902"'), ({"x": [1]}, '"video,second"')):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(DataError, match=message):
            read_boxes(str(path))
    with pytest.raises(DataError, match="no such file of boxes"):
        read_boxes(str(tmp_path / "gone.csv"))


def test_training_takes_labels_from_the_annotated_boxes(file):
    boxes = prepare_videos(config(train_boxes=file), VIDEOS, training=True).records[0].annotation
    assert boxes.corners == (BOX, FAR, NEAR) and boxes.classes == ((0,), (), (0,)) and boxes.proposals is None
    ignoring = prepare_videos(config(train_boxes=file, unlabelled="ignore"), VIDEOS, training=True).records[0]
    assert ignoring.annotation.corners == (BOX, NEAR)
    assert prepare_videos(config(train_boxes=file), VIDEOS, training=False).records[0].annotation.asked == (BOX,)


def test_evaluation_asks_about_the_detected_boxes(file):
    found = [r.annotation for r in prepare_videos(config(boxes=file), VIDEOS, training=False).records]
    assert found[0].asked == (FAR, NEAR) and found[0].corners == (BOX,) and found[0].classes == ((0,),)
    assert found[1].asked == ((0.0, 0.0, 0.2, 1.0),) and found[2].asked == ()


def test_files_of_other_videos_are_refused(tmp_path):
    (tmp_path / "b.csv").write_text("z,0902,0,0,1,1,,0.9\n")
    with pytest.raises(DataError, match=r"has boxes for 0 of 3 key frames; not for d/x.mp4 at 902 s.*It names z"):
        prepare_videos(config(boxes=str(tmp_path / "b.csv")), VIDEOS, training=False)


def test_excluded_frames_are_left_out_and_the_rest_keeps_its_marks(tmp_path):
    (tmp_path / "ex.csv").write_text("x,0902\nother,0903\n")
    found = prepare_videos(config(exclude=str(tmp_path / "ex.csv"), file_start=900.0), VIDEOS, training=False)
    assert [(r.path, r.at, r.annotation.at) for r in found.records] == [("d/x.mp4", 3.0, 3.0), ("d/y.mp4", 2.5, 2.5)]
    assert found.quarantined == {0: "bad", 1: "worse"}
    (tmp_path / "ex.csv").write_text("x,0902\nx,0903\ny,902.5\n")
    with pytest.raises(DataError, match="leaves no key frame of 3"):
        prepare_videos(config(exclude=str(tmp_path / "ex.csv")), VIDEOS, training=False)
    with pytest.raises(DataError, match="no such file of excluded key frames"):
        read_excluded(str(tmp_path / "gone"))


def test_files_cut_by_their_names():
    cut = config()
    cut.data.dataset = "ava_kinetics"
    cut.task.detect.file_start = 900.0
    assert file_start(cut, "d/abc_000010_000020.mp4") == 10 and file_start(cut, "d/abc.mp4") == 900
    cut.data.dataset = "ava"
    assert file_start(cut, "d/abc_000010_000020.mp4") == 900


def test_names_of_videos():
    assert stem("a/b.mp4") == "a/b" and stem("v1.5") == "v1.5" and stem("abc") == "abc"
    assert find_name("/d/a/b.mp4", {"a/b": 1, "b": 2}) == "a/b" and find_name("b.mp4", {"b"}) == "b"
    assert find_name("d/abc_000010_000020.mp4", {"abc"}) == "abc" and find_name("d/c.mp4", {"b"}) is None


def test_jitter_of_evaluation_is_the_same_on_every_call():
    one, other = (prepare_videos(config(eval_jitter=0.7), VIDEOS, training=False).records for _ in range(2))
    assert one == other
    for record in one:
        overlap = box_iou(np.array(record.annotation.asked), np.array([BOX]))
        np.testing.assert_allclose(overlap, 0.7, atol=0.05)
        assert record.annotation.corners == (BOX,)
    assert prepare_videos(config(eval_jitter=0.7), VIDEOS, training=True).records[0].annotation.proposals is None
