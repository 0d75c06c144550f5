"""Live sources: what comes is newest first for a reader that is too slow, and what is dropped is counted."""

import threading
import time

import numpy as np
import pytest

from tests.videos import numbered_frames, write_video
from vidjax.video import VideoError
from vidjax.video.live import LiveSource


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return str(write_video(tmp_path_factory.mktemp("live") / "a.mp4", numbered_frames(20), fps=40))


def numbers(frames):
    return [round(float(frame.picture.mean()) / 8) for frame in frames]


def test_a_file_that_is_not_paced_waits_for_its_reader(video):
    with LiveSource(video, paced=False) as source:
        frames = []
        for frame in source:
            time.sleep(0.002)
            frames.append(frame)
    assert numbers(frames) == list(range(20)) and source.dropped == 0
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(20) / 40, atol=1e-3)


def test_a_paced_file_comes_at_its_own_pace(video):
    begin = time.monotonic()
    with LiveSource(video, waiting=20) as source:
        frames = list(source)
    assert numbers(frames) == list(range(20)) and source.dropped == 0
    assert time.monotonic() - begin >= 19 / 40
    assert all(frame.came - frames[0].came >= frame.seconds - 0.05 for frame in frames)


def test_a_slow_reader_gets_the_newest_frames(video):
    with LiveSource(video, waiting=2) as source:
        found = []
        for frame in source:
            found.append((frame, time.monotonic() - frame.came))
            time.sleep(0.1)  # as long as four frames take
    seen = numbers(frame for frame, _ in found)
    assert seen == sorted(set(seen)) and len(seen) + source.dropped == 20 and source.dropped >= 10
    assert max(late for _, late in found) < 0.3 + 0.1, "two frames that wait are two rounds of the reader"


@pytest.mark.parametrize(("rate", "expected"), [(20.0, range(0, 20, 2)), (10.0, range(0, 20, 4)), (400.0, range(20))])
def test_frames_are_taken_at_a_rate(video, rate, expected):
    with LiveSource(video, rate=rate, paced=False) as source:
        assert numbers(source) == list(expected)


def test_it_can_be_left_early(video):
    for paced in (True, False):
        with LiveSource(video, paced=paced) as source:
            next(iter(source))
        assert not source._thread.is_alive()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nothing.mp4", "no such file"),
        ("/dev/video63", "does not open"),
        ("rtsp://127.0.0.1:9/x", "does not open"),
        ("rtmp://127.0.0.1:9/x", "rtmp"),
    ],
)
def test_a_source_that_does_not_open_is_one_clear_line(source, words):
    with pytest.raises(VideoError, match=words):
        LiveSource(source)
    assert not [thread for thread in threading.enumerate() if thread.name == "vidjax-live"]


def test_a_playlist_is_no_source(tmp_path, video):
    (tmp_path / "x.mp4").write_text(f"ffconcat version 1.0\nfile 'file:{video}'\n")
    with pytest.raises(VideoError, match="playlist"):
        LiveSource(str(tmp_path / "x.mp4"))
