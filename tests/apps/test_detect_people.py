"""The command for boxes in a video: files, key frames, more boxes than the network takes at once, clear errors."""

import csv
import json
from types import SimpleNamespace

import av
import numpy as np
import pytest

from tests.videos import write_video
from vidjax.apps import detect_people as app
from vidjax.config import Config, ModelConfig
from vidjax.data.records import LabelSpace
from vidjax.errors import UserError
from vidjax.evaluation.linking import Tube
from vidjax.models import create_model, get_spec
from vidjax.video import VideoError

NAMES = ("walk", "sit", "wave")


@pytest.fixture(scope="module")
def trained():
    spec = get_spec("slow_detect_tiny").with_video(num_frames=4, stride=1, size=32, resize=(32,))
    config = Config(model=ModelConfig(name="slow_detect_tiny"))
    meta = SimpleNamespace(spec=spec, config=config, labels=LabelSpace(NAMES, several=True))
    return create_model("slow_detect_tiny", num_classes=3), meta


@pytest.fixture
def video(tmp_path, trained, monkeypatch):
    monkeypatch.setattr(app, "load_model", lambda *args, **kwargs: (*trained, 0))
    rng = np.random.default_rng(0)
    return str(write_video(tmp_path / "clip.mp4", rng.integers(0, 256, (20, 48, 64, 3), np.uint8)))


def boxes_of(path, lines):
    path.write_text("path,time,x1,y1,x2,y2,score\n" + "".join(f"{line}\n" for line in lines))
    return str(path)


@pytest.mark.slow
def test_everything_is_written_and_the_last_line_says_where(video, tmp_path, capsys):
    many = [f"clip.mp4,0.5,{i / 20},0.1,{i / 20 + 0.3},0.9,0.9" for i in range(11)]  # the network takes 8
    file = boxes_of(tmp_path / "b.csv", [*many, "clip.mp4,1.5,0.1,0.1,0.4,0.9,0.95", "clip.mp4,1.5,0,0,1,1,0.1"])
    assert app.detect_people("run", video, out=tmp_path / "out", boxes=file, min_score=0.0) == 0
    rows = list(csv.reader((tmp_path / "out" / "detections.csv").read_text().splitlines()))
    assert len(rows) == 12 * 3 and rows[0][:2] == ["clip", "0.5"] and {row[6] for row in rows} == {"1", "2", "3"}
    assert len({tuple(row[2:6]) for row in rows if row[1] == "0.5"}) == 11
    tubes = json.loads((tmp_path / "out" / "tubes.json").read_text())["tubes"]
    assert {tube["label"] for tube in tubes} == set(NAMES) and any(len(tube["times"]) == 2 for tube in tubes)
    with av.open(str(tmp_path / "out" / "clip.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 20
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("12 boxes in 2 key frames, ") and last.endswith(f"in {tmp_path / 'out'}")


def test_a_detector_looks_at_key_frames(video, tmp_path, monkeypatch):
    seen = []

    def detector(frames):
        seen.append(len(frames))
        return [(np.array([[0.1, 0.1, 0.6, 0.9], [0, 0, 1, 1]]), np.array([0.9, 0.2]))] * len(frames)

    monkeypatch.setattr(app, "make_detector", lambda text: detector)
    app.detect_people("run", video, out=tmp_path, detector="any", every=0.5, draw=False)
    rows = list(csv.reader((tmp_path / "detections.csv").read_text().splitlines()))
    assert sorted({row[1] for row in rows}) == ["0.25", "0.75", "1.25", "1.75"] and sum(seen) == 4
    assert not list(tmp_path.glob("clip.mp4.*")) and {row[2] for row in rows} == {"0.100000"}


def test_nobody_in_it(video, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        app, "make_detector", lambda text: lambda frames: [(np.zeros((0, 4)), np.zeros(0))] * len(frames)
    )
    assert app.detect_people("run", video, out=tmp_path / "o", detector="any") == 0
    assert (
        tmp_path / "o" / "detections.csv"
    ).read_text() == "" and "0 boxes in 2 key frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give the boxes to classify: --boxes FILE"),
        ({"boxes": "b.csv", "detector": "x=y"}, "not both"),
        ({"boxes": "{other}"}, "has no boxes of .*clip' with a score of 0.8 or more; it names other"),
        ({"boxes": "{late}"}, "the time 7 s is outside of .*clip.mp4, which lasts 2.00 s"),
        ({"boxes": "{late}", "least": 2.0}, "--least 2: must be a score"),
        ({"detector": "nonsense"}, "detector 'nonsense': give NAME=CHECKPOINT"),
    ],
)
def test_what_cannot_be_used_is_named(video, tmp_path, given, message):
    files = {
        "other": boxes_of(tmp_path / "other.csv", ["other.mp4,0.5,0,0,1,1,0.9"]),
        "late": boxes_of(tmp_path / "late.csv", ["clip.mp4,7,0,0,1,1,0.9"]),
    }
    given = {name: value.format(**files) if isinstance(value, str) else value for name, value in given.items()}
    with pytest.raises(UserError, match=message):
        app.detect_people("run", video, out=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_other_networks_and_videos_are_refused(video, tmp_path, trained, monkeypatch):
    file = boxes_of(tmp_path / "b.csv", ["clip.mp4,0.5,0,0,1,1,0.9"])
    with pytest.raises(VideoError, match="no such file"):
        app.detect_people("run", str(tmp_path / "gone.mp4"), out=tmp_path / "o", boxes=file)
    meta = SimpleNamespace(spec=get_spec("conv3d_tiny"), config=Config(), labels=LabelSpace(NAMES))
    monkeypatch.setattr(app, "load_model", lambda *args, **kwargs: (None, meta, 0))
    with pytest.raises(UserError, match="conv3d_tiny takes no boxes"):
        app.detect_people("run", video, out=tmp_path / "o", boxes=file)


def test_a_box_is_drawn_between_its_key_frames():
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.8, 0.1]])
    box = np.array([[0.1, 0.1, 0.4, 0.4], [0.15, 0.15, 0.45, 0.45]])
    found = app.Found(np.array([1.0, 2.0]), np.array([0, 1]), box, scores)
    painter = app._Painter(found, NAMES, 0.3, 2)
    (tube,) = painter._tracks
    assert isinstance(tube, Tube) and painter._labels[tube.number] == ["walk 90 %\nwave 50 %", "sit 80 %"]
    for time, drawn in ((0.4, False), (0.6, True), (1.5, True), (2.6, False)):
        frame = np.zeros((90, 120, 3), np.uint8)
        painter(frame, time)
        assert frame.any() == drawn
