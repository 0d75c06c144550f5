"""Addresses, and frames stored as images."""

import cv2
import numpy as np
import pytest

from vidjax.data.reading.open_video import FrameReader, address, is_address, open_video, parse_address
from vidjax.video import VideoError


@pytest.fixture
def images():
    """Ten PNGs of 24×36 whose red tells their number."""
    frames = np.zeros((10, 24, 36, 3), np.uint8)
    frames[..., 2] = 20 * np.arange(10)[:, None, None]  # OpenCV's order is blue, green, red
    return [cv2.imencode(".png", frame)[1].tobytes() for frame in frames]


def test_only_the_frames_asked_for_are_decoded(images, monkeypatch):
    decoded, decode = [], cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *args: decoded.append(args) or decode(*args))
    with FrameReader("x", images, 5.0) as reader:
        frames = reader.read([7, 2, 7, 9])
    assert len(decoded) == 3
    assert frames.shape == (4, 24, 36, 3) and not frames[..., 1:].any()
    for frame, red in zip(frames, (140, 40, 140, 180), strict=True):
        assert (frame[..., 0] == red).all()


@pytest.mark.parametrize("parts", [("data/1.0.0", "train", 7, "a/b::c.mp4"), ("/x y", "val", None, "")])
def test_addresses_say_what_they_are_made_of(parts):
    assert parse_address(address(*parts)) == parts


def test_size_and_time(images):
    reader = FrameReader("x", images, 5.0)
    assert (len(reader), reader.height, reader.width, reader.duration) == (10, 24, 36, 2.0)
    np.testing.assert_allclose(reader.timestamps, np.arange(10) / 5)
    assert reader.read([0], resize=12).shape == (1, 12, 18, 3)
    assert reader.read([0, 1], resize=(8, 8)).shape == (2, 8, 8, 3)
    assert reader.read([], resize=12).shape == (0, 12, 18, 3)
    assert reader.read([], crop=(2, 3, 10, 9), resize=5).shape == (0, 6, 5, 3)
    with pytest.raises(ValueError, match="inside frames of 24×36"):
        reader.read([0], crop=(20, 0, 5, 5))
    with pytest.raises(IndexError, match="there is no frame 10"):
        reader.read([3, 10])


def test_crop():
    frame = np.random.default_rng(0).integers(0, 255, (24, 36, 3), np.uint8)
    reader = FrameReader("x", [cv2.imencode(".png", frame[..., ::-1])[1].tobytes()], 5.0)
    part = frame[2:12, 3:20]
    np.testing.assert_array_equal(reader.read([0], crop=(2, 3, 10, 17))[0], part)
    small = cv2.resize(np.ascontiguousarray(part), (8, 8), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(reader.read([0, 0], crop=(2, 3, 10, 17), resize=(8, 8)), [small, small])


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_colours_are_red_green_blue(images, suffix):
    pictures = [cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR) for image in images]
    stored = [cv2.imencode(suffix, picture)[1].tobytes() for picture in pictures]
    as_stored = np.stack([cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR) for one in stored])[..., ::-1]
    reader = FrameReader("x", stored, 5.0)
    np.testing.assert_array_equal(reader.read(range(len(stored))), as_stored)
    half = [cv2.resize(np.ascontiguousarray(one), (12, 10), interpolation=cv2.INTER_LINEAR) for one in as_stored]
    np.testing.assert_array_equal(reader.read(range(len(stored)), resize=(10, 12)), half)


def test_damaged_frame_and_empty_video(images):
    with pytest.raises(VideoError, match="frame 1 of 10 does not decode"):
        FrameReader("x", [images[0], b"no image", *images[2:]], 5.0).read([0, 1])
    with pytest.raises(VideoError, match="has no frames"):
        FrameReader("x", [], 5.0)


@pytest.mark.parametrize("source", ["a/b.mp4", "with:colons::inside.mp4", "line\nbreak.mp4"])
def test_addresses(source, tmp_path):
    assert is_address(address(tmp_path, "train", 3, source))
    assert is_address(address(tmp_path, "validation", None, source))
    assert not is_address(source)


def test_no_such_stored_video(tmp_path):
    with pytest.raises(VideoError, match="cannot be read from the prepared data set"):
        open_video(address(tmp_path, "train", 0, "a.mp4"))
    with pytest.raises(VideoError, match=r"bad_records\.jsonl"):
        open_video(address(tmp_path, "train", None, "a.mp4"))
