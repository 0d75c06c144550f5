"""Files of predictions and truths that do not fit together: an error where every figure would be 0, or a note."""

import json
import pickle
import re

import numpy as np
import pytest

from vidjax.data.text import DataError
from vidjax.evaluation.boxes import frame_ap
from vidjax.evaluation.paired_boxes import read_boxes
from vidjax.evaluation.paired_files import read_segments, read_tube_pair


def segments(label="run", start=0.0, end=1.0, **more):
    return {"label": label, "segment": [start, end], **more}


TRUTH = {
    "a": {"subset": "validation", "annotations": [segments(), segments("sit", 3, 5)]},
    "b": {"subset": "validation", "annotations": []},
    "c": {"subset": "training", "annotations": [segments("jump")]},
}


@pytest.fixture
def read(tmp_path):
    """Read predicted segments with TRUTH or another truth."""

    def both(results, database=TRUTH, **options):
        for name, value in (("p.json", {"results": results}), ("t.json", {"database": database})):
            (tmp_path / name).write_text(json.dumps(value))
        return read_segments(tmp_path / "p.json", tmp_path / "t.json", **options)

    return both


def test_segments_are_columns_of_one_subset(read):
    found = [segments(score=0.5), segments("sit", score=0.6), segments("jump", 5, 4, score=0.1)]
    pair = read({"a": found, "c": [segments("sit", score=0.7)]})
    assert (pair.labels, pair.subset, pair.num_videos) == (("run", "sit"), "validation", 2)
    assert (pair.truth.video.tolist(), pair.truth.label.tolist()) == ([0, 0], [0, 1])
    assert pair.truth.start.tolist() == [0, 3] and pair.truth.start.dtype == float
    assert pair.predictions.label.tolist() == [0, 1, 1] and pair.predictions.score.tolist() == [0.5, 0.6, 0.7]
    assert pair.predictions.video.tolist()[:2] == [0, 0] and pair.predictions.video[2] >= 2
    notes = "\n".join(pair.notes)
    assert "1 predicted segment is in videos that the subset 'validation'" in notes and "lacks: c" in notes
    assert "1 video has no prediction: b" in notes and "1 predicted segment ends before the start" in notes
    assert "1 predicted segment has labels without truth and do not count: jump" in notes


@pytest.mark.parametrize(
    ("results", "options", "message"),
    [
        ({"a": []}, {}, "p.json: no predicted segments"),
        ({"v_a": [segments(score=1)]}, {}, "none of its videos is in the subset 'validation' .*without the prefix v_"),
        ({"x/a.mp4": [segments(score=1)]}, {}, "'x/a.mp4' here, 'a' there; write them without folder and suffix"),
        ({"a": [segments("runs", score=1)]}, {}, "never names: 'runs' (1×, did you mean 'run'?)"),
        ({"a": [segments("zzz", score=1), segments(score=1)]}, {}, "never names: 'zzz' (1×); --protocol opentad ig"),
        ({"a": [segments(score=1)]}, {"subset": "test"}, "in the subset 'test'; choose with --subset one of tra"),
    ],
)  # fmt: skip
def test_segments_that_do_not_fit(read, results, options, message):
    pattern = ".*".join(map(re.escape, message.split(".*")))
    with pytest.raises(DataError, match=pattern):
        read(results, **options)


def test_other_protocols_ignore_unknown_labels(read):
    pair = read({"a": [segments("zzz", score=1), segments(score=1)]}, protocol="opentad")
    assert len(pair.predictions) == 1 and "labels without truth" in pair.notes[-1]
    proposals = read({"a": [segments("zzz", score=1)]}, labelled=False)
    assert proposals.predictions.label.tolist() == [0] and set(proposals.truth.label.tolist()) == {0}


def test_the_only_subset_is_the_default(read):
    test = {name: {**entry, "subset": "test"} for name, entry in TRUTH.items()}
    assert read({"a": [segments(score=1)]}, test).subset == "test"
    mixed = {**test, "d": {"subset": "training", "annotations": [segments()]}}
    with pytest.raises(DataError, match="subset 'validation'; choose with --subset one of test, training"):
        read({"a": [segments(score=1)]}, mixed)
    with pytest.raises(DataError, match="no labelled segments"):
        read({"a": [segments(score=1)]}, {"a": {"subset": "test", "annotations": []}})


def test_the_truth_may_be_a_csv_of_paths(tmp_path):
    truth = "path,start,end,label\nvideos/a.mp4,0,1,run\nvideos/b.mp4,2,3.5,sit\nvideos/b.mp4,5,6,run\n"
    (tmp_path / "t.csv").write_text(truth)
    (tmp_path / "p.json").write_text(json.dumps({"results": {"b": [segments("sit", 2, 3, score=1)]}}))
    pair = read_segments(tmp_path / "p.json", tmp_path / "t.csv")
    assert (pair.subset, pair.num_videos, pair.labels) == ("", 2, ("run", "sit"))
    assert pair.truth.video.tolist() == [0, 1, 1] and pair.predictions.video.tolist() == [1]
    with pytest.raises(DataError, match="subset 'test'; it names no subsets"):
        read_segments(tmp_path / "p.json", tmp_path / "t.csv", "test")
    (tmp_path / "t.csv").write_text(truth.replace("2,3.5", "4,3.5"))
    with pytest.raises(DataError, match=r"t.csv:3: the segment ends at 3.5 s, which is not after its start"):
        read_segments(tmp_path / "p.json", tmp_path / "t.csv")


GT = "vid,0902,0.1,0.1,0.5,0.5,12,0\nvid,0903\n"


@pytest.fixture
def read_lines(tmp_path):
    """Read detected boxes with GT or another truth."""

    def both(lines, truth=GT, **options):
        (tmp_path / "p.csv").write_text(lines)
        (tmp_path / "t.csv").write_text(truth)
        (tmp_path / "x.csv").write_text("vid,0903\nother,1\n")
        exclude = tmp_path / "x.csv" if options.pop("exclude", False) else None
        return read_boxes(tmp_path / "p.csv", tmp_path / "t.csv", None, exclude, **options)

    return both


def test_boxes_are_columns(read_lines):
    pair = read_lines(
        "vid,902,0.1,0.1,0.5,0.5,12,0.5\nvid,903,0.1,0.1,0.5,0.5,2,0.4\nz,1,0,0,1,1,12,0.9\n", exclude=True
    )
    assert len(pair.labels) == 60 and pair.predictions.label[1] == -1  # action 2 is not among the 60
    assert pair.truth.frame.tolist() == [0] and pair.named.tolist() == [0, 1]
    assert pair.excluded.tolist()[0] == 1
    (note,) = pair.notes
    assert note.startswith("1 predicted box is in videos that") and note.endswith("t.csv lacks: z")
    found = frame_ap(pair.truth, pair.predictions, num_classes=60, named=pair.named, excluded=pair.excluded)
    assert found.mAP == 1 and found.left_out == {"of other classes": 1, "in frames without truth": 1}


@pytest.mark.parametrize(
    ("lines", "truth", "message"),
    [
        ("vid,0902,0,0,10,20,12,0.5\n", GT, r"p.csv: boxes in pixels, up to 20, beside shares of the picture"),
        ("vid,2,0,0,1,1,12,0.5\n", GT, r"p.csv: no predicted box is at a time of the truth: 2 s of 'vid'.*902 to"),
        ("vid,902,0,0,1,1,0,0.5\n", GT, r"p.csv: no action of it is in AVA's list.*numbers 0; lists begin at 1"),
        ("vid,902,0,0,1,1,12\n", GT, r"p.csv:1: needs a score as its eighth cell, not ''"),
        ("vid,902,0,0,1,1,,0.5\n", GT, r"p.csv:1: not of the form video,second,x1,y1,x2,y2,action,score"),
        ("vid.mkv,902,0,0,1,1,12,0.5\n", GT, r"none of its videos.*'vid.mkv' here, 'vid' there; write them without"),
        ("", GT, r"p.csv: no boxes"),
        ("vid,902,0,0,1,1,12,0.5\n", "vid,902\n", r"t.csv: no boxes"),
        ("vid,902,0,0,1,1,12,0.5\n", GT + "vid,904,0.5,0,0.1,1,12,0\n", r"t.csv:3: an inverted box: 0.5, 0.0, 0.1"),
    ],
)  # fmt: skip
def test_boxes_that_do_not_fit(read_lines, lines, truth, message):
    with pytest.raises(DataError, match=message):
        read_lines(lines, truth)


def test_fractions_of_a_second_are_frames_of_their_own_by_the_official_rules(read_lines):
    lines = "vid,902,0.1,0.1,0.5,0.5,12,0.5\nvid,902.4,0.1,0.1,0.5,0.5,12,0.4\n"
    frames = {name: len(set(read_lines(lines, protocol=name).predictions.frame)) for name in ("official", "mmaction2")}
    assert frames == {"official": 2, "mmaction2": 1}


def tube(video="v", label="run", **more):
    return {"video": video, "label": label, "frames": [1, 2], "boxes": [[0, 0, 1, 1]] * 2, **more}


def test_tubes(tmp_path):
    def read(truth, found):
        for name, tubes in (("t.json", truth), ("p.json", found)):
            (tmp_path / name).write_text(json.dumps({"tubes": tubes}))
        return read_tube_pair(tmp_path / "p.json", tmp_path / "t.json")

    pair = read([tube(), tube("w")], [tube(score=0.5), tube(label="sit", score=0.1), tube("x", score=0.2)])
    assert pair.labels == ("run",) and pair.truth.video.tolist() == [0, 1] and pair.predictions.video.tolist() == [0, 2]
    assert pair.truth.length.tolist() == [2, 2] and pair.predictions.box.shape == (4, 4)
    notes = "\n".join(pair.notes)
    assert "lacks: x" in notes and "no prediction: w" in notes and "without truth and do not count: sit" in notes
    with pytest.raises(DataError, match=r"p\.json: no tubes"):
        read([tube()], [])
    with pytest.raises(DataError, match="never names: 'sit'"):
        read([tube()], [tube(label="sit", score=0.1)])
    with pytest.raises(DataError, match=r"'v\.mp4' here, 'v' there"):
        read([tube()], [tube("v.mp4", score=0.1)])


def test_tubes_in_shares_and_in_pixels(tmp_path):
    array = np.array([[1, 0, 0, 32, 24], [2, 0, 0, 32, 24]], np.float32)
    values = {"labels": ["run", "rare"], "train_videos": [[]], "test_videos": [["v"]], "resolution": {"v": (48, 64)},
              "gttubes": {"v": {0: [array], 1: [array]}}}  # fmt: skip
    (tmp_path / "t.pkl").write_bytes(pickle.dumps(values))

    def write(name, *tubes):
        (tmp_path / name).write_text(json.dumps({"tubes": tubes}))
        return tmp_path / name

    shares = write("shares.json", tube(boxes=[[0, 0, 0.5, 0.5]] * 2, score=0.5))
    pair = read_tube_pair(shares, tmp_path / "t.pkl", "act", without=["rare"])
    assert pair.labels == ("run",) and pair.predictions.box.tolist() == [[0, 0, 32, 24]] * 2
    pixels = write("pixels.json", tube(boxes=[[0, 0, 32, 24]] * 2, score=0.5))
    assert read_tube_pair(pixels, tmp_path / "t.pkl").predictions.box.tolist() == [[0, 0, 32, 24]] * 2
    with pytest.raises(DataError, match=r"pixels.json: boxes in pixels, beside shares of the picture in .*shares.json"):
        read_tube_pair(pixels, shares)
    with pytest.raises(DataError, match=r"shares.json: boxes in shares of the picture; the protocol act needs pixels"):
        read_tube_pair(shares, shares, "act")
    with pytest.raises(DataError, match=r"t.pkl: has no class 'rae' to leave out"):
        read_tube_pair(shares, tmp_path / "t.pkl", without=["rae"])
