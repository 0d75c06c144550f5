"""Rotary positions in three dimensions: queries and keys rotated by angles that grow with time, row and column."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from vidjax.nn.grids import Grid


@lru_cache(maxsize=8)
def rotary_angles(grid: Grid, dim: int) -> np.ndarray:
    """Angles of tokens in t, h, w order, radians, float32 `(T'·H'·W', 3·n)`; n = 2⌊⌊dim/3⌋/2⌋.

    The first n columns belong to time, the next to the row, the last to the column, each counted in tokens from 0;
    other features of the head's `dim` are not rotated. Of n columns, column j has the frequency
    10000^(-(j mod n/2)/(n/2)): the sequence of frequencies is repeated, where the usual rotation gives both members of
    a pair the same one. The published weights were trained this way. A place has the same angles in any grid: nothing
    is interpolated. Read-only: it is cached.

    Source: `rotate_queries_or_keys` in facebookresearch/vjepa2, `src/models/utils/modules.py`, and in transformers.
    """
    half = (dim // 3) // 2
    frequencies = np.tile(1 / 10000 ** (np.arange(half) / max(half, 1)), 2)
    places = np.stack(np.meshgrid(*(np.arange(n) for n in grid), indexing="ij"), axis=-1).reshape(-1, 3)
    angles = (places[:, :, None] * frequencies).reshape(len(places), -1).astype(np.float32)
    angles.flags.writeable = False
    return angles


def rotate(x: jax.Array, angles: np.ndarray) -> jax.Array:
    """Rotate pairs of neighbouring features: (a, b) → (a·cos α - b·sin α, b·cos β + a·sin β), α and β their angles.

    Args:
      x: queries or keys, `(B, N, heads, d)`.
      angles: rotation angles `(N, m)`, m even, m ≤ d; features from m on are unchanged.

    Returns:
      Array like `x`; computed in float32.
    """
    turned = angles.shape[1]
    pairs = x[..., :turned].astype(jnp.float32)
    swapped = pairs.reshape(*pairs.shape[:-1], turned // 2, 2)
    swapped = jnp.stack([-swapped[..., 1], swapped[..., 0]], axis=-1).reshape(pairs.shape)
    cos, sin = (f(angles)[None, :, None] for f in (np.cos, np.sin))
    return jnp.concatenate([(pairs * cos + swapped * sin).astype(x.dtype), x[..., turned:]], axis=-1)
