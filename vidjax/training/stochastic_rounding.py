"""Stochastic rounding to bfloat16, which preserves small changes on average."""

import math

import jax
import jax.numpy as jnp
import numpy as np


def round_stochastically(x: jax.Array, word: jax.Array) -> jax.Array:
    """Round float32 to bfloat16, up or down at random in proportion to the distance, so that the expectation is `x`.

    Rounding to nearest would lose every update smaller than 1/256 of its parameter, which is most of them late in
    training. Values that are not finite are rounded as usual.

    Args:
      x: array of any shape, float32.
      word: random number, uint32 `()`; each element's draw depends only on it and the element's position, however the
        array is spread over devices.
    """
    # bfloat16 is the upper half of float32: noise added to the lower half carries over with the right probability.
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32) + (_hashed(x.shape, word) >> 16)
    rounded = jax.lax.bitcast_convert_type(bits & np.uint32(0xFFFF0000), jnp.float32)
    return jnp.where(jnp.isfinite(x), rounded, x).astype(jnp.bfloat16)


def _hashed(shape: tuple[int, ...], word: jax.Array) -> jax.Array:
    """uint32 noise: the last step of MurmurHash3 on position and word. JAX's own generator takes many times as long to
    compile, for every parameter."""
    place = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        place += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * np.uint32(math.prod(shape[axis + 1 :]) % 2**32)
    h = place * np.uint32(0x9E3779B9) + word
    h = (h ^ (h >> 16)) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * np.uint32(0xC2B2AE35)
    return h ^ (h >> 16)
