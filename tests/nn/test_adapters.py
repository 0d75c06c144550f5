"""Adapters: tokens that are not patches, the start, and the two ways of seeing a clip's tokens."""

import chex
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests.models.abstract import drawn
from tests.models.small import draw
from vidjax.nn.adapters import Bottleneck, SpaceTimeAdapter, over_space, over_time


def test_tokens_before_the_patches_stay_as_they_are():
    adapter, x = drawn(lambda rngs: SpaceTimeAdapter(4, 3, rngs=rngs)), draw((6, 1 + 4, 4))
    y = adapter(x, (3, 2, 2))
    chex.assert_trees_all_equal(y[:, 0], x[:, 0])
    assert (np.abs(y[:, 1:] - x[:, 1:]) > 0).all()
    # The first frame sees the second, not the third, and other clips not at all.
    for frame, sees in ((1, True), (2, False), (3, False)):
        changed = adapter(x.at[frame].add(1.0), (3, 2, 2))
        assert np.array_equal(changed[0], y[0]) is not sees


def test_the_start_is_no_change():
    rngs, x = nnx.Rngs(0), draw((6, 5, 4))
    adapter = SpaceTimeAdapter(4, 3, rngs=rngs)
    adapter.fc2.bias.set_value(0 * adapter.fc2.bias[...])
    chex.assert_trees_all_close(adapter(x, (3, 2, 2)), x)
    chex.assert_trees_all_equal(Bottleneck(4, 3, rngs=rngs)(x), jnp.zeros_like(x))


def test_over_time_and_over_space_are_inverse():
    x = draw((2 * 3, 5, 4))
    times = over_time(x, 3)
    chex.assert_shape(times, (2 * 5, 3, 4))
    chex.assert_trees_all_equal(times[5 + 2], x[3:, 2])
    chex.assert_trees_all_equal(over_space(times, 5), x)
