"""Positions: fixed tables that are added to tokens, and how tables are fitted to another grid.

NumPy; sinusoids in float64: angles of a thousand radians need the digits.
"""

from functools import lru_cache

import numpy as np

Grid = tuple[int, int, int]


def sinusoid_table(num_positions: int, dim: int) -> np.ndarray:
    """`(num_positions, dim)` float32: sine in even columns, cosine in odd ones, of position / 10000^(2⌊j/2⌋/dim).

    Source: "Attention is all you need" (arXiv 1706.03762, section 3.5), in the column order of VideoMAE's code.
    """
    columns = np.arange(dim)
    angles = np.arange(num_positions)[:, None] / np.power(10000.0, 2 * (columns // 2) / dim)[None]
    return np.where(columns[None] % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)


def resize_table(table: np.ndarray, old: Grid, new: Grid) -> np.ndarray:
    """A table over an `old` grid of tokens, `(T·H·W, D)` in t, h, w order, interpolated linearly to a `new` one.

    Token centres are aligned as for resized images: the new token i lies at (i + ½)·old/new − ½ along each axis, held
    at the border.

    Raises:
      ValueError: if the table has another number of rows than `old` has tokens.
    """
    if len(table) != np.prod(old):
        raise ValueError(f"a table of {len(table)} positions does not belong to a grid of {' × '.join(map(str, old))}")
    values = table.reshape(*old, -1).astype(np.float64)
    for axis, (n_old, n_new) in enumerate(zip(old, new, strict=True)):
        values = np.moveaxis(np.tensordot(_interpolation(n_old, n_new), values, axes=(1, axis)), 0, axis)
    return values.reshape(-1, table.shape[-1]).astype(np.float32)


@lru_cache(maxsize=8)
def sinusoid_positions(grid: Grid, dim: int, base: Grid) -> np.ndarray:
    """`(T'·H'·W', dim)` float32 for a video of `grid` tokens, with the table of `base` as the one that training saw.

    The sinusoid runs over the flat token index, so the rows of a table for another grid would mean other places.
    Where `grid` differs, the table of `base` is therefore interpolated (`resize_table`). Read-only: it is cached.
    """
    table = sinusoid_table(int(np.prod(base)), dim)
    if grid != base:
        table = resize_table(table, base, grid)
    table.flags.writeable = False
    return table


def nearest(old: int, new: int) -> np.ndarray:
    """`(new,)` indices into `old` rows: row ⌊i·old/new⌋ for the new row i, PyTorch's `nearest` interpolation."""
    return np.arange(new) * old // new


def aligned(old: int, new: int) -> np.ndarray:
    """`(new, old)` float32 weights of linear interpolation that keeps both ends: `scipy.ndimage.zoom(…, order=1)`."""
    places = np.linspace(0, old - 1, new)
    return np.stack([np.interp(places, np.arange(old), column) for column in np.eye(old)], axis=1).astype(np.float32)


def _interpolation(old: int, new: int) -> np.ndarray:
    """`(new, old)`: rows of weights that sum to 1."""
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    return np.stack([np.interp(centres, np.arange(old), column) for column in np.eye(old)], axis=1)
