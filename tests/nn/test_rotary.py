"""Rotary positions: relative, of the reference's frequencies, the same at any grid."""

import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.nn.rotary import frame_angles, rotary_angles, rotate, rotate_halves


@pytest.mark.parametrize(("dim", "turned"), [(64, 60), (80, 78), (6, 6)])
def test_thirds_of_a_head_and_frequencies_that_repeat(dim, turned):
    angles = rotary_angles((2, 3, 4), dim)
    assert angles.shape == (24, turned)
    third, half = turned // 3, turned // 6
    frequencies = 10000.0 ** (-np.arange(half) / half)
    token = angles[(1 * 3 + 2) * 4 + 3]  # frame 1, row 2, column 3
    for place, part in zip((1, 2, 3), np.split(token, 3), strict=True):
        np.testing.assert_allclose(part, place * np.concatenate([frequencies, frequencies]), rtol=1e-6)
        assert len(part) == third


def test_places_keep_their_angles_in_a_longer_and_larger_clip():
    small = rotary_angles((2, 3, 4), 16).reshape(2, 3, 4, -1)
    large = rotary_angles((5, 6, 7), 16).reshape(5, 6, 7, -1)
    np.testing.assert_array_equal(large[:2, :3, :4], small)


def test_rotation_of_one_pair_by_hand():
    x = jnp.asarray([[[[1.0, 2.0, 5.0]]]])  # the third feature is not turned
    y = rotate(x, np.asarray([[0.3, 0.7]], np.float32))
    expected = [np.cos(0.3) - 2 * np.sin(0.3), 2 * np.cos(0.7) + np.sin(0.7), 5]
    np.testing.assert_allclose(y[0, 0, 0], expected, rtol=1e-6)
    assert rotate(x.astype(jnp.bfloat16), np.zeros((1, 2), np.float32)).dtype == jnp.bfloat16


def test_frames_are_counted_from_their_centre_whatever_their_size():
    small, large = frame_angles(1, 2, 8), frame_angles(2, 4, 8)
    # Centres of two columns lie at ±1/2, of four at ±3/4 and ±1/4; frequencies are 2π and 2π/10.
    np.testing.assert_allclose(small[:, 2:] / (2 * np.pi), [[-0.5, -0.05], [0.5, 0.05]], rtol=1e-6)
    np.testing.assert_allclose(large[:4, 2] / (2 * np.pi), [-0.75, -0.25, 0.25, 0.75], rtol=1e-6)
    np.testing.assert_allclose(large[::4, 0] / (2 * np.pi), [-0.5, 0.5], rtol=1e-6)
    with pytest.raises(ValueError, match="a multiple of 4 features, not 6"):
        frame_angles(1, 2, 6)


def test_features_half_a_head_apart_turn_together_and_first_tokens_stay():
    x = jnp.arange(8.0).reshape(1, 2, 1, 4)
    y = rotate_halves(x, np.asarray([[0.3, 0.7]], np.float32))
    np.testing.assert_array_equal(y[:, 0], x[:, 0])
    a, b = x[0, 1, 0, :2], x[0, 1, 0, 2:]
    cos, sin = np.cos([0.3, 0.7]), np.sin([0.3, 0.7])
    np.testing.assert_allclose(y[0, 1, 0], np.concatenate([a * cos - b * sin, b * cos + a * sin]), rtol=1e-6)
