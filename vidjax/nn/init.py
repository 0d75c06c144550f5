"""Initial weights."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp


@partial(jax.jit, static_argnums=(0, 2))
def _block(draw: Callable[..., jax.Array], key: jax.Array, size: int) -> jax.Array:
    return draw(key, (size,))


def _drawn(draw: Callable[..., jax.Array], key: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Float32 random numbers, drawn in blocks of two sizes and cut to shape.

    JAX compiles its generator anew for each shape, which would take longer than all else in building a network of
    dozens of shapes.
    """
    size = math.prod(shape)
    block = 2**16 if size <= 2**16 else 2**20
    blocks = [_block(draw, jax.random.fold_in(key, index), block) for index in range(-(-size // block))]
    values = blocks[0] if len(blocks) == 1 else jnp.concatenate(blocks)
    return values[:size].reshape(shape)


def normal(key: jax.Array, shape: Sequence[int], scale: float) -> jax.Array:
    """Float32 normal deviates of standard deviation `scale`."""
    return _drawn(jax.random.normal, key, shape) * scale


def scaled_normal(scale: float) -> Callable[..., jax.Array]:
    """Initialiser of normal deviates of standard deviation `scale`, for any shape."""
    return lambda key, shape, dtype=jnp.float32: normal(key, shape, scale).astype(dtype)


def uniform(key: jax.Array, shape: Sequence[int], bound: float) -> jax.Array:
    """Float32 uniform numbers between `-bound` and `bound`."""
    return (2 * _drawn(jax.random.uniform, key, shape) - 1) * bound


def uniform_fan_in(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Initial kernel (…, I, O), uniform in ±1/√(inputs of an output): PyTorch's default."""
    return uniform(key, shape, 1 / math.sqrt(math.prod(shape[:-1]))).astype(dtype)


def uniform_bias(fan_in: int) -> Callable[..., jax.Array]:
    """Initialiser of the bias (O,) of a layer with `fan_in` inputs per output, as for kernels: PyTorch's default."""
    return lambda key, shape, dtype=jnp.float32: uniform(key, shape, 1 / math.sqrt(fan_in)).astype(dtype)


def kaiming_fan_out(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Initial kernel (kt, kh, kw, I, O) that keeps the variance of the gradient through ReLUs (1502.01852, fan out)."""
    return normal(key, shape, math.sqrt(2 / (shape[-1] * math.prod(shape[:-2])))).astype(dtype)


# The two distributions below in one draw, hence other values: those that some networks have always had.
whole_normal_001 = jax.nn.initializers.normal(0.01)
whole_normal_002 = jax.nn.initializers.normal(0.02)


def normal_001(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Initial kernel of most convolutional classifiers: normal, standard deviation 0.01."""
    return normal(key, shape, 0.01).astype(dtype)


def normal_002(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Initial weights of most Transformers: normal, standard deviation 0.02.

    Their code says truncated normal, which PyTorch cuts at ±2, a hundred standard deviations: never in effect.
    """
    return normal(key, shape, 0.02).astype(dtype)
