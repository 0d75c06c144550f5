"""Rounding to bfloat16 that keeps small changes alive."""

import math

import jax
import jax.numpy as jnp
import numpy as np


def round_stochastically(x: jax.Array, word: jax.Array) -> jax.Array:
    """float32 → bfloat16: up or down at random, in proportion to the distance, so that the expectation is `x`.

    Rounding to the nearest would lose every update that is smaller than 1/256 of its parameter, which late in a
    training is most of them. What is not finite is rounded as usual.

    Args:
      x: float32, of any shape.
      word: uint32 (), a random number from which and from an element's place its draw follows, however the array is
        spread over devices.
    """
    # bfloat16 is the upper half of float32: what is added to the lower half carries over as often as it should.
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32) + (_hashed(x.shape, word) >> 16)
    rounded = jax.lax.bitcast_convert_type(bits & np.uint32(0xFFFF0000), jnp.float32)
    return jnp.where(jnp.isfinite(x), rounded, x).astype(jnp.bfloat16)


def _hashed(shape: tuple[int, ...], word: jax.Array) -> jax.Array:
    """uint32 noise: MurmurHash3's last step of place and word. JAX's own generator takes many times as long to compile,
    once for each parameter."""
    place = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        place += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * np.uint32(math.prod(shape[axis + 1 :]) % 2**32)
    h = place * np.uint32(0x9E3779B9) + word
    h = (h ^ (h >> 16)) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * np.uint32(0xC2B2AE35)
    return h ^ (h >> 16)
