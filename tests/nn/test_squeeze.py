"""Squeeze-and-excitation."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.nn.squeeze import SqueezeExcitation


def draw(shape):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


def test_channels_are_weighed_by_what_the_clip_holds():
    squeeze = SqueezeExcitation(6, 4, rngs=nnx.Rngs(0))
    squeeze.fc1.bias[...], squeeze.fc2.bias[...] = draw(4), draw(6)
    x = np.asarray(draw((2, 3, 4, 5, 6)))
    (w1, b1), (w2, b2) = ([np.asarray(p[...]) for p in (f.kernel, f.bias)] for f in (squeeze.fc1, squeeze.fc2))
    hidden = np.maximum(x.mean(axis=(1, 2, 3)) @ w1 + b1, 0)
    weight = 1 / (1 + np.exp(-(hidden @ w2 + b2)))
    chex.assert_trees_all_close(np.asarray(squeeze(jnp.asarray(x))), x * weight[:, None, None, None], atol=1e-6)


def test_the_mean_of_many_16_bit_pixels_is_exact():
    squeeze = SqueezeExcitation(2, 2, rngs=nnx.Rngs(0))
    x = 1 + 0.1 * draw((1, 4, 64, 64, 2))
    wanted = squeeze(x)
    half = squeeze(x.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    chex.assert_trees_all_close(half.astype(jnp.float32), wanted, rtol=0.02)


def test_kernels_start_as_convolutions_do():
    squeeze = SqueezeExcitation(512, 128, rngs=nnx.Rngs(0))
    for layer, outputs in ((squeeze.fc1, 128), (squeeze.fc2, 512)):
        chex.assert_trees_all_close(layer.kernel[...].std(), jnp.sqrt(2 / outputs), rtol=0.05)
        assert not layer.bias[...].any()
    assert jax.tree.leaves(nnx.state(squeeze))[0].dtype == jnp.float32
