"""Batch normalisation in parts: each part as if it were alone, on the device that has it; its running statistics."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vidjax import parallel
from vidjax.models.state import merge, split
from vidjax.nn.norm import BatchNorm, normalising


def layer(momentum=0.75):
    norm = BatchNorm(6, momentum=momentum, rngs=nnx.Rngs(0))
    norm.scale[...], norm.bias[...] = jnp.linspace(0.5, 2, 6), jnp.linspace(-1, 1, 6)
    norm.train()
    return norm


def clips(size=16):
    return jnp.asarray(np.random.default_rng(0).normal(2, 3, (size, 2, 3, 6)), jnp.float32)


@pytest.mark.parametrize("groups", [2, 8])
def test_each_part_is_normalised_as_if_it_were_alone(groups):
    x, norm = clips(), layer()
    with normalising(norm, groups=groups):
        y = norm(x)
    alone = [layer() for _ in range(groups)]
    parts = [one(part) for one, part in zip(alone, jnp.split(x, groups), strict=True)]
    np.testing.assert_allclose(y, jnp.concatenate(parts), rtol=1e-5, atol=1e-5)
    for name in ("mean", "var"):
        expected = np.mean([getattr(one, name)[...] for one in alone], axis=0)
        np.testing.assert_allclose(getattr(norm, name)[...], expected, rtol=1e-5, atol=1e-6)
    assert norm.groups == 1 and norm(x).shape == x.shape  # as it was


def test_in_evaluation_parts_make_no_difference():
    x, norm = clips(), layer()
    norm.eval()
    expected = norm(x)
    with normalising(norm, groups=4):
        np.testing.assert_array_equal(norm(x), expected)


def test_forgetting_leaves_the_statistics_of_the_last_batch():
    x, norm = clips(), layer()
    with normalising(norm, forget=True):
        norm(x + 1)
        norm(x)
    np.testing.assert_allclose(norm.mean[...], x.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], x.var(axis=(0, 1, 2)), rtol=1e-4)
    assert norm.momentum == 0.75


def test_parts_must_be_equal():
    norm = layer()
    with (
        normalising(norm, groups=3),
        pytest.raises(ValueError, match="a batch of 16 does not divide into 3 equal parts"),
    ):
        norm(clips())


def test_devices_exchange_nothing_to_normalise_their_own_part():
    mesh = parallel.make_mesh()
    x = jax.device_put(clips(), parallel.batch_sharding(mesh))

    def text(groups):
        norm = layer()
        with normalising(norm, groups=groups):
            graphdef, state = nnx.split(norm)
        forward = jax.jit(lambda state, x: nnx.merge(graphdef, state)(x), out_shardings=parallel.batch_sharding(mesh))
        return forward.lower(state, x).compile().as_text()

    exchanges = ("all-reduce", "all-gather", "all-to-all", "collective-permute")
    assert any(name in text(1) for name in exchanges)
    assert not any(name in text(8) for name in exchanges)


def test_statistics_are_replaced_without_asking_for_a_sharding():
    """What is traced has none, and JAX searches the whole program for words about that: slow in deep networks."""

    class Traced:
        @property
        def sharding(self):
            raise AssertionError("asked")

    model = nnx.Sequential(BatchNorm(3, rngs=nnx.Rngs(0)))
    model = merge(*split(model))  # the road that training takes
    statistic, value = model.layers[0].mean, Traced()
    statistic[...] = value
    assert statistic.get_value() is value
    statistic = model.layers[0].var
    statistic[1] = 5.0
    chex.assert_trees_all_equal(statistic[...], jnp.asarray([1.0, 5.0, 1.0]))
