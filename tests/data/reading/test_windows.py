"""Sliding windows: every frame in one, the frames of clips, and long videos in little memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.videos import numbered_frames, write_video
from vidjax.config import ClipConfig, DataConfig, Spec
from vidjax.config.spec import with_input
from vidjax.data.reading.transforms import eval_boxes
from vidjax.data.reading.windows import WindowReader, Windows, frames_at
from vidjax.errors import UserError
from vidjax.inputs import FlowFields, VideoInput
from vidjax.video import VideoReader, flow

SPEC = Spec.of_video("toy", 4, stride=2, size=16, resize=(16,))
DATA = DataConfig(clip=ClipConfig())


@settings(max_examples=20, deadline=None)
@given(frames=st.integers(1, 300), clip=st.integers(1, 9), stride=st.integers(1, 64), data=st.data())
def test_windows_cover_every_frame(frames, clip, stride, data):
    windows = Windows(stride, data.draw(st.integers(max(stride, clip), 80)), clip)
    covered = np.zeros(frames, bool)
    for number in range(windows.count(frames)):
        first = number * windows.stride
        covered[first : first + windows.window] = True
        seen = windows.frames(number, frames)
        assert len(seen) == clip and (np.diff(seen) >= 0).all()
        assert first <= frames - 1 and seen.min() >= min(first, frames - 1) and seen.max() <= frames - 1
        assert windows.offsets[0] == 0 and windows.offsets[-1] < windows.window
    assert covered.all()
    # One window fewer would leave frames out.
    assert windows.count(frames) == 1 or (windows.count(frames) - 2) * windows.stride + windows.window < frames


def test_a_networks_own_windows_are_its_clips():
    windows = Windows.of(VideoInput(8, stride=4))
    assert (windows.window, windows.stride) == (32, 16)
    np.testing.assert_array_equal(windows.offsets, np.arange(8) * 4)
    assert Windows.of(VideoInput(8, stride=4, fps=5.0)).window == 8  # the rate already has the stride
    np.testing.assert_allclose(Windows.of(VideoInput(8, stride=4), 8).times(3, 10.0), [1.6, 2.4, 3.2])


@pytest.mark.parametrize(("stride", "window", "message"), [(9, 8, "leaves frames out"), (2, 3, "4 frames or more")])
def test_windows_that_leave_out_frames_are_refused(stride, window, message):
    with pytest.raises(UserError, match=message):
        Windows(stride, window, 4)


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 200), rate=st.floats(5, 60), share=st.floats(0.1, 3))
def test_frames_at_a_rate(count, rate, share):
    times = np.arange(count) / rate
    np.testing.assert_array_equal(frames_at(times, rate, rate), np.arange(count))
    found = frames_at(times, rate, rate * share)
    assert found.min() >= 0 and found.max() <= count - 1 and (np.diff(found) >= 0).all()
    # Each is the last frame that has begun, or begins within a quarter of a frame.
    np.testing.assert_allclose(times[found], np.arange(len(found)) / (rate * share), atol=1.01 / rate)


def test_clips_are_the_frames_of_their_windows(tmp_path):
    path = str(write_video(tmp_path / "v.mp4", numbered_frames(29)))
    windows = Windows.of(SPEC.video, 3)
    with WindowReader(path, SPEC, DATA, windows) as reader:
        clips = list(reader.clips())
        assert len(clips) == len(reader) == 8 and reader.fps == 10 and reader.duration == pytest.approx(2.9)
    for number, clip in enumerate(clips):
        assert clip.shape == (4, 16, 16, 3) and clip.dtype == np.uint8
        wanted = np.minimum(3 * number + np.array([0, 2, 4, 6]), 28)
        np.testing.assert_allclose(clip.mean(axis=(1, 2, 3)), 8 * wanted, atol=2)


def test_frames_are_taken_at_a_rate(tmp_path):
    path = str(write_video(tmp_path / "v.mp4", numbered_frames(30)))
    with WindowReader(path, SPEC, DATA, Windows(2, 4, 4), 5.0) as reader:
        assert reader.fps == 5 and len(reader) == 7
        np.testing.assert_allclose([c.mean() / 8 for c in next(reader.clips())], [0, 2, 4, 6], atol=0.3)
    with WindowReader(path, SPEC, DATA, Windows(1, 1, 1)) as reader:
        np.testing.assert_allclose([f.mean() / 8 for f in reader.frames(4)], range(0, 30, 4), atol=0.3)


def test_few_frames_are_held_at_a_time(tmp_path):
    path = str(write_video(tmp_path / "v.mp4", numbered_frames(120) // 8 * 2))
    with WindowReader(path, SPEC, DATA, Windows.of(SPEC.video, 4)) as reader:
        given_out, most = reader._decoded, [0]

        def counted(numbers):
            for number, frame in given_out(numbers):
                most.append(number)
                yield number, frame

        reader._decoded = counted
        for number, _ in enumerate(reader.clips()):
            assert most[-1] <= 4 * number + 7  # no frame is decoded before its window
    assert most[1:] == sorted(set(most[1:]))  # each once, in order


@pytest.mark.parametrize("content", ["flow", "rgb+flow"])
def test_windows_of_flow(tmp_path, content):
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    noise = np.kron(noise[:15, :20], np.ones((4, 4, 1), np.uint8))
    frames = np.stack([np.roll(noise, (t, 2 * t), (0, 1))[:32, :48] for t in range(40)])
    path = str(write_video(tmp_path / "v.mp4", frames))
    spec = with_input(SPEC, content, FlowFields("farneback", 2, 8.0))
    with WindowReader(path, spec, DATA, Windows.of(spec.video, 5)) as reader:
        clips, pictures = list(reader.clips()), list(reader.frames(3))
    with VideoReader(path) as video:
        fields = flow.flow(read := video.read(range(40), resize=16), "farneback")
    ((top, left, tall, wide),) = eval_boxes(16, 24, 16, 1)
    for number, clip in enumerate(clips):
        assert clip.shape == (4, 16, 16, spec.video.channels)
        wanted = np.minimum(5 * number + np.array([0, 2, 4, 6]), 39)
        for view, first in zip(clip, wanted, strict=True):
            for k in range(2):
                part = fields[min(first + k, 38), top : top + tall, left : left + wide]
                given = view[..., view.shape[-1] - 4 + 2 * k :][..., :2]
                np.testing.assert_array_equal(given, flow.quantise(np.ascontiguousarray(part), 8.0))
            if content == "rgb+flow":
                np.testing.assert_array_equal(view[..., :3], read[first, top : top + tall, left : left + wide])
    assert len(pictures) == 14 and np.array_equal(pictures[0], clips[0][0])
