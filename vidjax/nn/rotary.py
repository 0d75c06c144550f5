"""Rotary positions: queries and keys rotated by angles that grow with time, row and column, or with row and column."""

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


@lru_cache(maxsize=8)
def frame_angles(rows: int, columns: int, dim: int) -> np.ndarray:
    """Angles of a frame's patches, row by row, radians, float32 `(rows · columns, dim // 2)`.

    Patches' centres are counted from -1 to 1 along each axis, whatever the size of the frame. The first half of the
    columns belongs to the row, the second to the column, with frequencies 2π · 100^(-4j/dim). Read-only: it is cached.

    Source: the positions of DINOv3 (arXiv 2508.10104), `dinov3/layers/rope_position_encoding.py`, and in transformers.

    Raises:
      ValueError: if 4 does not divide the features of a head.
    """
    if dim % 4:
        raise ValueError(f"rotary positions in rows and columns need heads of a multiple of 4 features, not {dim}")
    frequencies = 2 * np.pi / 100 ** np.arange(0, 1, 4 / dim)
    centres = (2 * (np.arange(count) + 0.5) / count - 1 for count in (rows, columns))
    places = np.stack(np.meshgrid(*centres, indexing="ij"), axis=-1).reshape(-1, 2)
    angles = (places[:, :, None] * frequencies).reshape(len(places), -1).astype(np.float32)
    angles.flags.writeable = False
    return angles


@lru_cache(maxsize=8)
def place_angles(rows: int, columns: int, dim: int, base: float) -> np.ndarray:
    """Angles of a frame's patches, row by row, radians, float32 `(rows · columns, dim // 2)`.

    Places are counted in patches from 0. The first half of the columns belongs to the row, the second to the column,
    with frequencies base^(-4j/dim). Read-only: it is cached.

    Source: the vision encoders of Qwen2-VL (arXiv 2409.12191) and VideoLLaMA 3 (arXiv 2501.13106), and in transformers.

    Raises:
      ValueError: if 4 does not divide the features of a head.
    """
    if dim % 4:
        raise ValueError(f"rotary positions in rows and columns need heads of a multiple of 4 features, not {dim}")
    frequencies = base ** -np.arange(0, 1, 4 / dim)
    places = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1).reshape(-1, 2)
    angles = (places[:, :, None] * frequencies).reshape(len(places), -1).astype(np.float32)
    angles.flags.writeable = False
    return angles


def rotate_halves(x: jax.Array, angles: np.ndarray) -> jax.Array:
    """Rotate pairs of features half a head apart, by the same angle each; tokens before those with angles stay.

    Args:
      x: queries or keys, `(B, N, heads, d)`.
      angles: rotation angles `(M, d // 2)` of the last M tokens.

    Returns:
      Array like `x`; computed in float32.
    """
    first = x.shape[1] - len(angles)
    a, b = jnp.split(x[:, first:].astype(jnp.float32), 2, axis=-1)
    cos, sin = (f(angles)[None, :, None] for f in (np.cos, np.sin))
    turned = jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x.dtype)
    return jnp.concatenate([x[:, :first], turned], axis=1)


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
