"""Classifying every position of a map."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vidjax.nn.dense_classifier import dense_logits, window_means


def test_one_position_gives_plain_logits():
    head = nnx.Linear(5, 3, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 1, 1, 1, 5)), jnp.float32)
    np.testing.assert_allclose(dense_logits(head, x), head(x[:, 0, 0, 0]), rtol=1e-6)


def test_several_positions_average_probabilities():
    head = nnx.Linear(5, 3, rngs=nnx.Rngs(0))
    x = 4 * jnp.asarray(np.random.default_rng(0).standard_normal((2, 2, 3, 2, 5)), jnp.float32)
    logits = dense_logits(head, x)
    chex.assert_shape(logits, (2, 3))
    wanted = jax.nn.softmax(head(x)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(jax.nn.softmax(logits), wanted, rtol=1e-5)
    assert float(jnp.abs(jax.nn.softmax(head(x).mean(axis=(1, 2, 3))) - wanted).max()) > 0.01


def test_the_answer_is_float32():
    head = nnx.Linear(5, 3, rngs=nnx.Rngs(0))
    assert dense_logits(head, jnp.ones((2, 1, 2, 2, 5), jnp.bfloat16)).dtype == jnp.float32


@pytest.mark.parametrize(("window", "positions"), [(3, (2, 3)), (0, (1, 1)), (5, (1, 1)), (4, (1, 2)), (9, (1, 1))])
def test_window_means(window, positions):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 2)).astype(np.float32)
    means = window_means(jnp.asarray(x), window)
    assert means.shape == (2, 1, *positions, 2)
    height, width = (min(window or n, n) for n in (4, 5))
    for i, j in np.ndindex(*positions):
        wanted = x[:, :, i : i + height, j : j + width].mean(axis=(1, 2, 3))
        np.testing.assert_allclose(means[:, 0, i, j], wanted, rtol=1e-4, atol=1e-6)
    assert window_means(jnp.asarray(x, jnp.bfloat16), window).dtype == jnp.float32
