"""Batch normalisation keeps its statistics in float32 and moves them in training mode only."""

import chex
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.nn.norm import BatchNorm


def draw(shape):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape) * 3 + 2, jnp.float32)


def test_statistics_move_in_training_mode_only():
    norm, x = BatchNorm(3, rngs=nnx.Rngs(0)), draw((2, 4, 5, 5, 3))
    y = norm(x)
    chex.assert_trees_all_close(y.mean(axis=(0, 1, 2, 3)), jnp.zeros(3), atol=1e-5)
    chex.assert_trees_all_close(y.std(axis=(0, 1, 2, 3)), jnp.ones(3), atol=1e-3)
    chex.assert_trees_all_close(norm.mean[...], 0.1 * x.mean(axis=(0, 1, 2, 3)), atol=1e-5)
    chex.assert_trees_all_close(norm.var[...], 0.9 + 0.1 * x.var(axis=(0, 1, 2, 3)), atol=1e-4)
    norm.eval()
    before = norm.mean[...], norm.var[...]
    chex.assert_trees_all_close(norm(x), (x - norm.mean[...][None, None, None, None]) / jnp.sqrt(norm.var[...] + 1e-5)[
        None, None, None, None
    ], atol=1e-5)  # fmt: skip
    chex.assert_trees_all_equal((norm.mean[...], norm.var[...]), before)


def test_bfloat16_inputs_do_not_round_the_running_statistics():
    norm = BatchNorm(1, rngs=nnx.Rngs(0))
    norm.mean[...] = jnp.array([1.001])  # 1 in bfloat16
    norm.var[...] = jnp.array([1e-6])
    norm.eval()
    y = norm(jnp.ones((1, 1, 1, 1, 1), jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    chex.assert_trees_all_close(y.astype(jnp.float32).ravel(), jnp.array([-0.001 / (1.1e-5) ** 0.5]), rtol=1e-2)


def test_a_branch_can_start_as_nothing():
    norm = BatchNorm(3, zero_init=True, rngs=nnx.Rngs(0))
    assert not norm(draw((1, 2, 2, 2, 3))).any()


def test_without_scale_and_bias_parts_of_a_batch_are_standardised_apart():
    norm, x = BatchNorm(3, affine=False, rngs=nnx.Rngs(0)), draw((4, 5, 3))
    assert norm.scale is None and norm.bias is None
    parts = np.asarray(x).reshape(2, 10, 3)
    expected = (parts - parts.mean(axis=1, keepdims=True)) / parts.std(axis=1, keepdims=True)
    norm.groups = 2
    np.testing.assert_allclose(np.asarray(norm(x)).reshape(2, 10, 3), expected, atol=1e-4)
    norm.groups = 1
    whole = np.asarray(x).reshape(20, 3)
    np.testing.assert_allclose(
        np.asarray(norm(x)).reshape(20, 3), (whole - whole.mean(axis=0)) / whole.std(axis=0), atol=1e-4
    )
