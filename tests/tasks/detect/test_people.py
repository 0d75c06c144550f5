"""Boxes of people at times of a video: the right frames, few in memory, thresholds."""

import numpy as np
import pytest

from tests.videos import numbered_frames, write_video
from vidjax.errors import UserError
from vidjax.tasks.detect.people import nearest_frames, person_boxes
from vidjax.video import VideoReader


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("people") / "a.mp4", numbered_frames(20))


def level(frames):
    """A detector: a box as high as the frame's number says, one of no area, one of low score, one beyond the frame."""
    for frame in frames:
        number = round(frame.mean() / 8)
        yield np.array([[0, 0, 1, number / 20], [0.5, 0.5, 0.5, 1], [0, 0, 1, 1], [-1, 0, 2, 1]]), [0.9, 1, 0.2, 0.95]


def test_boxes_of_the_asked_times(path):
    seen, done = [], []

    def counting(frames):
        seen.append(len(frames))
        return list(level(frames))

    times = np.array([0.1, 0.52, 1.0, 1.04, 1.9])
    with VideoReader(path) as reader:
        found = person_boxes(reader, times, counting, batch=2, advance=done.append)
        few = person_boxes(reader, times, lambda frames: list(level(frames)), most=1, batch=64)
        none = person_boxes(reader, [], counting)
    assert seen == [2, 2, 2] and sum(done) == 5
    assert found.index.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    np.testing.assert_allclose(found.time, times.repeat(2))
    np.testing.assert_allclose(
        found.box[::2], np.tile([0, 0, 1, 1], (5, 1)), err_msg="the best first, cut to the frame"
    )
    np.testing.assert_allclose(found.box[1::2, 3] * 20, [1, 5, 10, 10, 19])
    np.testing.assert_allclose(found.score, np.tile([0.95, 0.9], 5))
    np.testing.assert_array_equal(few.box, found.box[::2])
    assert none.box.shape == (0, 4) and none.index.dtype == np.int64


def test_nearest_frames(path):
    with VideoReader(path) as reader:
        times = np.array([0, 0.04, 0.06, 0.15, 1.9, 2.0])
        assert nearest_frames(reader, times).tolist() == [0, 0, 1, 1, 19, 19]
        for wrong in (-0.1, 2.2):
            with pytest.raises(UserError, match=r"time -?\d\.\d00 s lies outside of the video, which lasts 2\.000 s"):
                nearest_frames(reader, np.array([0.5, wrong]))


def test_settings_out_of_range(path):
    with VideoReader(path) as reader:
        for settings in ({"least": 2}, {"most": 0}, {"batch": 0}):
            with pytest.raises(UserError, match=f"{next(iter(settings))} = "):
                person_boxes(reader, [0.5], level, **settings)
