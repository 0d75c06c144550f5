"""Feature maps as vectors: one per position, per window, or for the whole."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.grids import Triple, triple_of
from vidjax.nn.pooling import avg_pool3d


def flat_map(x: jax.Array) -> jax.Array:
    """Flatten a feature map `(B, T, H, W, C)` to tokens `(B, T·H·W, C)`, in t, h, w order."""
    return x.reshape(x.shape[0], -1, x.shape[-1])


def window_means(x: jax.Array, window: int) -> jax.Array:
    """Means over all frames and each square window, at stride 1: the vectors that a `Dense` head classifies.

    Args:
      x: last feature map, `(B, T, H, W, D)`.
      window: height and width of the windows; 0, or more than the map's: the whole map.

    Returns:
      `(B, 1, H', W', D)` float32, with H' = H - window + 1.

    Source: `ResNetBasicHead` in facebookresearch/SlowFast, `models/head_helper.py`; the window is 7×7, the last map
    of networks trained on 224².
    """
    frames = x.astype(jnp.float32).mean(axis=1, keepdims=True)
    height, width = (min(window or size, size) for size in x.shape[2:4])
    if (height, width) == x.shape[2:4]:
        return frames.mean(axis=(2, 3), keepdims=True)
    return nnx.avg_pool(frames, (1, height, width), (1, 1, 1))


def cuboid_means(x: jax.Array, window: Triple | None) -> jax.Array:
    """Means over each window of frames, rows and columns, at stride 1.

    Args:
      x: input, `(B, T, H, W, D)`.
      window: size (t, h, w), cut to that of the map; None: the whole map.

    Returns:
      `(B, T', H', W', D)` float32, with T' = T - t + 1 and so on.
    """
    sizes = triple_of(x.shape[1:4])
    window = sizes if window is None else triple_of(min(pair) for pair in zip(window, sizes, strict=True))
    return avg_pool3d(x.astype(jnp.float32), window, 1)


def adaptive_mean(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Means of `size` bins that cover a map, `(B, H, W, C)` → `(B, *size, C)`.

    Bin i of n covers the places ⌊i·H/n⌋ to ⌈(i + 1)·H/n⌉ - 1, so neighbours may share one.

    Source: `AdaptiveAvgPool2d` of PyTorch.
    """
    return _binned(x, {1: size[0], 2: size[1]})


def shrunk(x: jax.Array, size: Triple) -> jax.Array:
    """Means of `size` bins along T, H and W, as of `adaptive_mean`: `(B, T, H, W, C)` → `(B, *size, C)`."""
    return _binned(x, {axis: bins for axis, bins in enumerate(size, start=1) if bins != x.shape[axis]})


def _binned(x: jax.Array, bins_of: Mapping[int, int]) -> jax.Array:
    for axis, bins in bins_of.items():
        places = x.shape[axis]
        start = jnp.arange(bins) * places // bins
        end = -(-(jnp.arange(bins) + 1) * places // bins)
        place = jnp.arange(places)[None]
        inside = ((place >= start[:, None]) & (place < end[:, None])).astype(x.dtype)
        weights = inside / inside.sum(axis=1, keepdims=True)
        x = jnp.moveaxis(jnp.tensordot(weights, x, axes=(1, axis)), 0, axis)
    return x


def peaks(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Maxima of an array `(…, C)` along neighbouring axes; the gradient goes to the first place of each maximum.

    The gradient of `x.max(axes)` goes to the places that equal the maximum, divided by their number. Where a compiler
    computes the array once more and rounds otherwise, none does, and the gradient is not a number.

    Args:
      x: array of two axes or more.
      axes: axes next to each other, in order, without the last.
    """
    first, last = axes[0], axes[-1] + 1
    x = x.reshape(*x.shape[:first], -1, *x.shape[last:])
    return _first_peak(jnp.moveaxis(x, first, -2))


@jax.custom_vjp
def _first_peak(x: jax.Array) -> jax.Array:
    return x.max(axis=-2)


def _forward(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return x.max(axis=-2), (jnp.argmax(x, axis=-2), jnp.arange(x.shape[-2]))


def _backward(kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array]:
    where, places = kept
    here = jnp.expand_dims(where, -2) == places.reshape(*(1,) * (where.ndim - 1), -1, 1)
    return (jnp.where(here, jnp.expand_dims(gradient, -2), 0),)


_first_peak.defvjp(_forward, _backward)
