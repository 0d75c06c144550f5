"""Attention to near places by blocks, against its definition, and that what is masked changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.abstract import drawn
from vidjax.nn.attention import attention
from vidjax.nn.local_attention import ConvAttention, ConvAttentionBlock, local_attention


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("length", "window"), [(7, 3), (70, 19), (90, 41)])
def test_it_is_attention_whose_mask_is_a_band(length, window):
    q, k, v = draw(3, 2, length, 2, 4)
    mask = np.random.default_rng(1).random((2, length)) < 0.8
    near = np.abs(np.arange(length)[:, None] - np.arange(length)) <= window // 2
    whole = jax.jit(attention)(q, k, v, mask=jnp.asarray(near[None, None] & mask[:, None, None]))
    found = jax.jit(local_attention, static_argnums=4)(q, k, v, jnp.asarray(mask), window)
    assert np.isfinite(found).all()
    # What a place gets that sees nothing has no meaning.
    used = (near[None] & mask[:, None]).any(axis=-1)
    np.testing.assert_allclose(np.asarray(found)[used], np.asarray(whole)[used], atol=2e-6)


@pytest.mark.parametrize("window", [3, 0])
def test_what_is_masked_changes_nothing(window):
    layer = drawn(lambda rngs: ConvAttentionBlock(4, 2, window, 2, rngs=rngs))
    mask = jnp.arange(12)[None] < jnp.array([[8], [5]])
    x = np.where(np.asarray(mask)[..., None], draw(2, 12, 4), 0)
    run = jax.jit(layer)
    y, half = run(x, mask)
    np.testing.assert_array_equal(half, mask[:, ::2])
    assert not np.asarray(y)[~np.asarray(half)].any()
    longer, more = run(np.pad(x, ((0, 0), (0, 8), (0, 0))), jnp.pad(mask, ((0, 0), (0, 8))))
    np.testing.assert_allclose(longer[:, :6], y, atol=1e-6)
    np.testing.assert_array_equal(more[:, :6], half)


@pytest.mark.parametrize(("arguments", "words"), [((4, 3), "heads = 3"), ((4, 2, 4), "window = 4: must be odd")])
def test_sizes_that_do_not_fit_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        drawn(lambda rngs: ConvAttention(*arguments, rngs=rngs))
