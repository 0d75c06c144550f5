"""Timelines for people: the picture, subtitles, the drawn video, and clocks."""

import av
import cv2
import numpy as np
import pytest

from tests.videos import numbered_frames, write_video
from vidjax.apps.timeline import Timeline, clock, write_subtitles, write_timeline
from vidjax.apps.timeline import write_video as draw_video
from vidjax.config import ReadingConfig
from vidjax.tasks.localise.detections import Detections

FOUND = Detections(np.array([[0.2, 1.0], [1.0, 2.25]]), np.array([0.9, 0.6]), np.array([1, 0]))


@pytest.fixture
def line(tmp_path):
    path = write_video(tmp_path / "v.mp4", numbered_frames(24, 48, 64))
    times = np.arange(12) / 5
    return Timeline(str(path), 2.4, ("run", "jump"), FOUND, times, np.full((12, 2), 0.5))


def test_the_picture_has_a_row_per_class(line, tmp_path):
    picture = cv2.imread(str(write_timeline(tmp_path / "t.png", line)))
    assert picture.shape[1] > 1000 and line.classes == [1, 0]
    colours = {tuple(c) for c in picture.reshape(-1, 3)[::7].tolist()}
    assert len(colours) > 20
    none = Timeline(line.path, 2.4, line.names, FOUND.best_of_each_place(0.99))
    assert cv2.imread(str(write_timeline(tmp_path / "n.png", none))) is not None


def test_subtitles(line, tmp_path):
    text = write_subtitles(tmp_path / "t.srt", line).read_text(encoding="utf-8")
    assert text.split("\n\n")[0] == "1\n00:00:00,200 --> 00:00:01,000\njump (90 %)"
    assert "2\n00:00:01,000 --> 00:00:02,250\nrun (60 %)" in text


def test_the_drawn_video_has_all_frames(line, tmp_path):
    shares = []
    draw_video(tmp_path / "t.mp4", line, ReadingConfig(isolate=False), shares.append)
    assert shares[-1] == 1 and shares == sorted(shares)
    with av.open(str(tmp_path / "t.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 24 and frames[0].shape[0] >= 360
    # Something is written where an action is, and the cursor moves.
    assert np.abs(frames[5].astype(int) - frames[0]).max() > 100
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (5.25, "0:05.2"), (61, "1:01"), (59.97, "1:00"), (3725.5, "1:02:05.5")]
)
def test_clocks(seconds, text):
    assert clock(seconds) == text
