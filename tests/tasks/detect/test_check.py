"""Every known cause of an mAP of 0 is named before training."""

import numpy as np
import pytest

from tests.videos import write_video
from vidjax.__main__ import main

HEAD = "path,time,x1,y1,x2,y2,label\n"


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", np.zeros((20, 32, 32, 3), np.uint8), fps=10)
    return tmp_path


def check(folder, capsys, text, *settings, name="own.csv"):
    (folder / name).write_text(text)
    flags = ["--config.model.name=slow_detect_tiny", f"--out={folder / 'check.csv'}", "--workers=1", *settings]
    with_root = [] if any(s.startswith("--root") for s in settings) else [f"--root={folder}"]
    status = main(["check", str(folder / name), *flags, *with_root])
    out = capsys.readouterr()
    return status, " ".join((out.out + out.err).split())


def test_nothing_is_wrong(folder, capsys):
    assert check(folder, capsys, HEAD + "a.mp4,0.5,0.1,0.1,0.5,0.5,x\nb.mp4,1.9,0.1,0.1,0.5,0.5,y\n")[0] == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.mp4,0.5,10,20,30,40,x", "own.csv:2: the box 10, 20, 30, 40 is in pixels; divide by the width"),
        ("a.mp4,5.5,0.1,0.1,0.5,0.5,x", "its key frame at 5.5 s is after the end at 2.00 s; do its times count frames"),
        (
            "a.mp4,901,0.1,0.1,0.5,0.5,x",
            "if the videos are cut at 900 s, as AVA's are, give config.task.detect.f",
        ),
        ("c.mp4,0.5,0.1,0.1,0.5,0.5,x", "missing:"),
        ("a.mp4,0.5,0.1,0.1,0.5,0.5,background", "the class 'background' looks like the unused class 0"),
        ("a.mp4,0.5,0.1,0.1,0.5,0.5,0", "the class '0' looks like the unused class 0"),
    ],
)
def test_lines_that_would_leave_the_map_at_0(folder, capsys, line, message):
    status, text = check(folder, capsys, f"{HEAD}{line}\n")
    assert status == 1 and message in text


def test_a_clock_that_begins_later(folder, capsys):
    lines = f"{HEAD}a.mp4,901,0.1,0.1,0.5,0.5,x\nb.mp4,900.5,0.1,0.1,0.5,0.5,y\n"
    assert check(folder, capsys, lines, "--config.task.detect.file_start=900")[0] == 0
    status, text = check(folder, capsys, lines, "--config.task.detect.file_start=902")
    assert status == 1 and "is before the beginning of the file" in text


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ("other,0.5,0,0,1,1,,0.95\n", "config.task.detect.boxes: {file}: has boxes for 0 of 1 key frame; not for"),
        ("a,0.6,0,0,1,1,,0.95\n", "no time is that of a key frame: {folder}/a.mp4 is annotated at 0.5 s, and has boxes "
         "at 0.6 s"),
    ],
)  # fmt: skip
def test_files_of_boxes_that_name_other_videos_or_times(folder, capsys, boxes, message):
    file = folder / "boxes.csv"
    file.write_text(boxes)
    status, text = check(folder, capsys, f"{HEAD}a.mp4,0.5,0.1,0.1,0.5,0.5,x\n", f"--config.task.detect.boxes={file}")
    assert status == 1 and message.format(file=file, folder=folder) in text
    file.write_text("other,0902\n")
    status, text = check(folder, capsys, f"{HEAD}a.mp4,0.5,0.1,0.1,0.5,0.5,x\n", f"--config.task.detect.exclude={file}")
    assert status == 1 and "names none of the annotated videos" in text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,0001,0.1,0.1,0.5,0.5,81,1", "action 81 is not in 1…80"),
        ("a,0001,0.1,0.1,0.5,0.5,0,1", "action 0 is not in 1…80; 0 is the unused class"),
        ("a,0001,10,10,50,50,12,1", "is in pixels"),
    ],
)
def test_numbers_of_classes_that_the_list_does_not_have(folder, capsys, line, message):
    status, text = check(folder, capsys, f"{line}\n", "--dataset=ava", name="ava_train_v2.2.csv")
    assert status == 1 and message in text


def test_frames_at_another_rate(folder, capsys):
    """Frame numbers of UCF101-24 are at 25 frames/s; AVA's folders of 15 minutes tell their rate."""
    import pickle

    from vidjax.data.listing.class_lists import read_class_names

    tubes = {3: [np.array([[1.0, 2, 2, 20, 20], [9.0, 2, 2, 20, 20]])]}
    values = {"labels": list(read_class_names("ucf101_24")), "train_videos": [["a"]], "test_videos": [["b"]],
              "resolution": {"a": (32, 32), "b": (32, 32)}, "gttubes": {"a": tubes, "b": tubes}}  # fmt: skip
    (folder / "UCF101v2-GT.pkl").write_bytes(pickle.dumps(values))
    flags = ["--config.model.name=slow_detect_tiny", f"--out={folder / 'check.csv'}", "--workers=1"]
    assert main(["check", str(folder / "UCF101v2-GT.pkl"), "--dataset=ucf101_24", f"--root={folder}", *flags]) == 1
    assert "10 frames/s, but the annotations number frames at 25 frames/s" in " ".join(capsys.readouterr().err.split())
