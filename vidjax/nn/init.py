"""Initial weights."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp


@partial(jax.jit, static_argnums=1)
def _block(key: jax.Array, size: int) -> jax.Array:
    return jax.random.normal(key, (size,))


def normal(key: jax.Array, shape: Sequence[int], scale: float) -> jax.Array:
    """Float32 normal deviates of standard deviation `scale`.

    They are drawn in blocks of two sizes and cut to shape: JAX compiles its generator anew for each shape, which takes
    longer than everything else about building a network of dozens of shapes.
    """
    size = math.prod(shape)
    block = 2**16 if size <= 2**16 else 2**20
    blocks = [_block(jax.random.fold_in(key, index), block) for index in range(-(-size // block))]
    values = blocks[0] if len(blocks) == 1 else jnp.concatenate(blocks)
    return values[:size].reshape(shape) * scale


def kaiming_fan_out(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Initial kernel (kt, kh, kw, I, O) that keeps the variance of the gradient through ReLUs (1502.01852, fan out)."""
    return normal(key, shape, math.sqrt(2 / (shape[-1] * math.prod(shape[:-2])))).astype(dtype)
