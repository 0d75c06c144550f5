"""Feature maps as vectors: one per position, per window, or for the whole."""

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
