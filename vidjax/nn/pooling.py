"""Pooling over space-time windows, and from one vector per frame to one per clip."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.conv import Padding, pads_of, triple


def max_pool3d(
    x: jax.Array, window: int | Sequence[int], strides: int | Sequence[int] | None = None, padding: Padding = 0
) -> jax.Array:
    """Maximum over windows; the padding never wins, as in PyTorch.

    Args:
      x: (B, T, H, W, C).
      window: (kt, kh, kw), or one int for all.
      strides: of T, H, W; None: the window, so that windows do not overlap.
      padding: as for `vidjax.nn.conv.conv3d`.

    Returns:
      (B, T', H', W', C).
    """
    window, strides, pads = _window(x, window, strides, padding)
    return nnx.max_pool(x, window, strides, pads)


def avg_pool3d(
    x: jax.Array,
    window: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = 0,
    *,
    count_padding: bool = True,
) -> jax.Array:
    """Mean over windows.

    Args:
      x: (B, T, H, W, C).
      window: (kt, kh, kw), or one int for all.
      strides: of T, H, W; None: the window.
      padding: as for `vidjax.nn.conv.conv3d`.
      count_padding: whether the zeros of the padding count in the mean (PyTorch's default) or are left out of it.

    Returns:
      (B, T', H', W', C).
    """
    window, strides, pads = _window(x, window, strides, padding)
    return nnx.avg_pool(x, window, strides, pads, count_include_pad=count_padding)


def temporal_mean(x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Mean over time.

    Args:
      x: (B, T, D), one vector per frame.
      mask: (B, T), true where a frame counts; None: all do. A clip without any frame gives 0.

    Returns:
      (B, D).
    """
    if mask is None:
        return x.mean(axis=1)
    weight = mask.astype(x.dtype)[..., None]
    return (x * weight).sum(axis=1) / jnp.maximum(weight.sum(axis=1), 1)


def temporal_max(x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Maximum over time, per channel.

    Args:
      x: (B, T, D), one vector per frame.
      mask: (B, T), true where a frame counts; None: all do. A clip without any frame gives 0.

    Returns:
      (B, D).
    """
    if mask is None:
        return x.max(axis=1)
    mask = mask.astype(bool)[..., None]
    best = jnp.where(mask, x, -jnp.inf).max(axis=1)
    return jnp.where(mask.any(axis=1), best, 0)


TEMPORAL_POOLING = {"mean": temporal_mean, "max": temporal_max}


def _window(x: jax.Array, window: int | Sequence[int], strides: int | Sequence[int] | None, padding: Padding):
    window = triple(window, "window")
    strides = window if strides is None else triple(strides, "strides")
    return window, strides, pads_of(padding, x.shape[1:4], window, strides)
