"""Convolutions over time and over frequency, side by side: each sees its own axis, and their sum is the answer."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests.models.abstract import drawn
from vidjax.nn.cross_conv import CrossConv


def layer(**kwargs):
    return drawn(lambda rngs: CrossConv(2, 3, (3, 1, 5), (1, 1, 1), (1, 0, 2), rngs=rngs, **kwargs))


def test_each_convolution_sees_its_own_axis():
    at = jnp.zeros((1, 7, 1, 7, 2)).at[0, 3, 0, 3].set(1.0)
    seen = np.abs(np.asarray(layer()(at)[0, :, 0])).max(axis=-1) > 0
    expected = np.zeros((7, 7), bool)
    expected[2:5, 3] = expected[3, 1:6] = True
    np.testing.assert_array_equal(seen, expected)


def test_without_norms_it_is_the_sum_of_both():
    cross, x = layer(), np.random.default_rng(0).standard_normal((2, 4, 1, 6, 2)).astype(np.float32)
    np.testing.assert_allclose(cross(x), cross.time(x) + cross.frequency(x), atol=1e-6)


def test_with_norms_each_passes_its_own_and_a_relu():
    cross, x = layer(activates=True), np.random.default_rng(0).standard_normal((2, 4, 1, 6, 2)).astype(np.float32)
    parts = [nnx.relu(norm(conv(x))) for conv, norm in (
        (cross.time, cross.time_norm), (cross.frequency, cross.frequency_norm)
    )]  # fmt: skip
    np.testing.assert_allclose(cross(x), sum(parts), atol=1e-6)
    assert float(cross(x).min()) >= 0
