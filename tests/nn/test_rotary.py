"""Rotary positions: relative, of the reference's frequencies, the same at any grid."""

import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.nn.rotary import rotary_angles, rotate


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
