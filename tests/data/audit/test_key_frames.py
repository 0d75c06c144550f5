"""Key frames that do not fit their videos: outside of them, or at another rate."""

from types import SimpleNamespace

import pytest

from vidjax.data.audit.key_frames import ANYWHERE, WRONG, KeyFrames
from vidjax.data.listing.rows import Row


def video(path="a.mp4", fps=30.0, duration=900.0):
    return SimpleNamespace(path=str(path), fps=fps, duration=duration)


def row(at):
    return Row("a.mp4", "own.csv:2", at=at)


def test_what_fits():
    for at in (None, 0.0, 450.0, 900.0):
        assert ANYWHERE.judge(video(), row(at)) is None
    assert KeyFrames(start=lambda path: 900.0).judge(video(), row(902.0)) is None
    assert KeyFrames(fps=25.0).judge(video(fps=25.1), row(3.0)) is None


@pytest.mark.parametrize(
    ("expected", "at", "status", "reason"),
    [
        (
            ANYWHERE,
            1000.0,
            WRONG,
            "after the end at 900.00 s; if the videos are cut at 900 s, as AVA's are",
        ),
        (ANYWHERE, 5000.0, WRONG, "after the end at 900.00 s; do its times count frames at another rate"),
        (
            KeyFrames(start=lambda path: 900.0),
            10.0,
            WRONG,
            "before the beginning of the file, 890 s later",
        ),
        (KeyFrames(fps=25.0), 10.0, "wrong fps", "30 frames/s, but the annotations number frames at 25 frames/s"),
    ],
)
def test_what_does_not(expected, at, status, reason):
    found = expected.judge(video(), row(at))
    assert found[0] == status and reason in found[1]


def test_rates_of_folders_of_frames(tmp_path):
    """A quarter of an hour at 30 frames/s lasts 1080 s if it is taken for 25 frames/s."""
    ava = KeyFrames(start=lambda path: 900.0, duration=900.0)
    status, reason = ava.judge(video(tmp_path, fps=25.0, duration=1080.0), row(902.0))
    assert status == "wrong fps" and reason == (
        "1080 s at 25 frames/s instead of 900 s: give config.data.folder_fps=30"
    )
    assert ava.judge(video(fps=25.0, duration=1080.0), row(902.0)) is None  # a file tells its rate
    _, reason = ANYWHERE.judge(video(tmp_path, fps=25.0, duration=20.0), row(22.0))
    assert "is config.data.folder_fps, now 25, the rate of the frames?" in reason
