"""Optical flow by OpenCV: fields as published calls give them, the rules for vectors, 8 bits."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.golden import FOLDER
from vidjax.errors import UserError
from vidjax.video import flow

METHODS = sorted(flow.METHODS)
# Mean distance of the flow of mirrored frames from the mirrored flow, pixels; about twice what real pictures show.
NOISE = {"farneback": 1e-3, "dis_ultrafast": 0.3, "dis_fast": 0.1, "dis_medium": 0.12, "tvl1": 0.04}


@pytest.fixture(scope="module")
def reference():
    """Two grey frames of arm wrestling, every second vector of each method's field, and Farnebäck's in 8 bits."""
    with np.load(FOLDER / "flow" / "opencv_arm_wrestling.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("method", METHODS)
def test_fields_are_those_of_the_published_calls(reference, method):
    field = flow.estimate(*reference["gray"], method)
    assert field.shape == (128, 160, 2) and field.dtype == np.float32
    length = np.linalg.norm(field[::2, ::2] - reference[method].astype(np.float32), axis=-1)
    assert length.mean() < 0.03 < np.linalg.norm(reference[method].astype(np.float32), axis=-1).mean()


@pytest.mark.parametrize(("rounding", "name"), [("truncated", "truncated"), ("nearest", "rounded")])
def test_eight_bits_are_those_of_the_published_tools(reference, rounding, name):
    field = flow.estimate(*reference["gray"], "farneback")[::2, ::2]
    difference = flow.quantise(field, 20.0, rounding).astype(int) - reference[name]
    assert np.abs(difference).max() <= 1 and (difference != 0).mean() < 0.005  # ties


@pytest.mark.parametrize("method", METHODS)
def test_flow_of_mirrored_frames_is_the_mirrored_flow(reference, method):
    first, second = reference["gray"]
    field = flow.estimate(first, second, method)
    for rule, axis in ((flow.mirror, 1), (flow.upend, 0)):
        other = flow.estimate(*(np.ascontiguousarray(np.flip(frame, axis)) for frame in (first, second)), method)
        assert np.linalg.norm(other - rule(field), axis=-1).mean() < NOISE[method]
        # Without turning the vectors, the distance is that of the motion itself.
        assert np.linalg.norm(other - np.flip(field, axis), axis=-1).mean() > 0.3


def shifted(dx, dy, height=64, width=80):
    """Two frames of a smooth picture, the second moved by whole pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (height + 40, width + 40)).astype(np.uint8)
    picture = cv2.GaussianBlur(noise, (0, 0), 2.5)
    picture = cv2.normalize(picture, picture.copy(), 0, 255, cv2.NORM_MINMAX)
    cut = (slice(20, 20 + height), slice(20, 20 + width))
    return picture[cut], np.roll(picture, (dy, dx), (0, 1))[cut]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("dx", "dy"), [(2, 0), (0, -2)])
def test_motion_to_the_right_and_down_is_positive(method, dx, dy):
    field = flow.estimate(*shifted(dx, dy), method)[12:-12, 12:-12]
    np.testing.assert_allclose(field.mean(axis=(0, 1)), (dx, dy), atol=0.25)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(1, 1), (9, 40), (16, 16), (200, 17)])
def test_pictures_of_any_size_have_flow(method, size):
    frame = np.random.default_rng(0).integers(0, 256, size).astype(np.uint8)
    field = flow.estimate(frame, frame, method)
    assert field.shape == (*size, 2) and np.isfinite(field).all()


def test_fields_of_several_frames():
    frames = np.stack([*shifted(3, 0), shifted(3, 0)[0]])
    fields = flow.flow(frames, "dis_medium")
    assert (
        fields.shape == (2, 64, 80, 2)
        and fields[0, 20:-20, 20:-20, 0].mean() > 2 > -2 > fields[1, 20:-20, 20:-20, 0].mean()
    )
    coloured = flow.flow(np.repeat(frames[..., None], 3, axis=-1), "dis_medium")
    assert np.abs(coloured - fields).mean() < 1e-3  # grey is not exactly the mean of equal colours
    assert flow.flow(frames[:1]).shape == (0, 64, 80, 2)
    with pytest.raises(UserError, match=r"frames float64 \(3, 64, 80\): expected uint8"):
        flow.flow(frames / 255)
    with pytest.raises(UserError, match="'raft': must be one of farneback, dis_ultrafast"):
        flow.flow(frames, "raft")


def test_without_the_contributed_modules_the_mend_is_named(monkeypatch):
    monkeypatch.delattr(cv2, "optflow")
    with pytest.raises(UserError, match=r"pip uninstall -y opencv-.*; pip install opencv-contrib-python-headless"):
        flow.check_method("tvl1")
    flow.check_method("dis_fast")


sizes = st.integers(4, 40)
vector = st.tuples(*[st.floats(-30, 30, width=32)] * 2)


@settings(max_examples=40, deadline=None)
@given(vector, sizes, sizes, sizes, sizes)
def test_a_constant_field_grows_with_its_picture(motion, height, width, tall, wide):
    field = np.tile(np.float32(motion), (height, width, 1))
    resized = flow.resize(field, tall, wide)
    expected = np.float32(motion) * np.float32([wide / width, tall / height])
    np.testing.assert_allclose(resized, np.tile(expected, (tall, wide, 1)), rtol=1e-5, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(sizes, sizes, st.integers(0, 2**32 - 1))
def test_vector_rules_are_exact(height, width, seed):
    field = np.random.default_rng(seed).normal(0, 5, (height, width, 2)).astype(np.float32)
    mirrored = flow.mirror(field)
    np.testing.assert_array_equal(mirrored[:, ::-1, 0], -field[..., 0])
    np.testing.assert_array_equal(mirrored[:, ::-1, 1], field[..., 1])
    np.testing.assert_array_equal(flow.mirror(mirrored), field)
    np.testing.assert_array_equal(flow.upend(flow.upend(field)), field)
    np.testing.assert_array_equal(flow.upend(field)[::-1, :, 1], -field[..., 1])
    for turns in range(4):  # by the definition of a rotation by quarters, anticlockwise, with y pointing down
        square = field[: min(height, width), : min(height, width)]
        dx, dy = np.moveaxis(np.rot90(square, turns), -1, 0)
        expected = np.stack([(dx, dy), (dy, -dx), (-dx, -dy), (-dy, dx)][turns], axis=-1)
        np.testing.assert_allclose(flow.turn(square, 90 * turns), expected, atol=0.05)


def test_the_mean_of_a_field_is_its_cameras():
    field = np.random.default_rng(0).normal(3, 1, (20, 30, 2)).astype(np.float32)
    np.testing.assert_allclose(flow.subtract_mean(field).mean(axis=(0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(
        flow.subtract_mean(field) - field, -field.mean(axis=(0, 1)) * np.ones((20, 30, 1)), atol=1e-5
    )


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(flow.ROUNDINGS), st.floats(1, 64), st.integers(0, 2**32 - 1))
def test_eight_bits_by_their_definition(rounding, bound, seed):
    field = np.random.default_rng(seed).uniform(-1.3 * bound, 1.3 * bound, (5, 6, 2)).astype(np.float32)
    exact = np.clip(255 * (field.astype(np.float64) + bound) / (2 * bound), 0, 255)
    values = flow.quantise(field, bound, rounding)
    expected = np.rint(exact) if rounding == "nearest" else np.floor(exact)
    sure = np.abs(exact - np.rint(exact * 2) / 2) > 1e-3  # float32 may decide ties otherwise
    np.testing.assert_array_equal(values[sure], expected[sure].astype(np.uint8))
    every = np.arange(256, dtype=np.uint8).reshape(16, 8, 2)
    np.testing.assert_array_equal(flow.quantise(flow.dequantise(every, bound, rounding), bound, rounding), every)
    inside = np.abs(field) < bound
    step = 2 * bound / 255
    assert np.abs(flow.dequantise(values, bound, rounding) - field)[inside].max(initial=0) <= 0.501 * step


def test_no_motion_in_eight_bits():
    still = np.zeros((2, 2, 2), np.float32)
    assert (flow.quantise(still, 20.0) == 128).all() and (flow.quantise(still, 20.0, "truncated") == 127).all()
    with pytest.raises(UserError, match="rounding = 'up': must be one of nearest, truncated"):
        flow.quantise(still, 20.0, "up")
