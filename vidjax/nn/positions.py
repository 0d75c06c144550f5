"""Position tables: fixed ones to add to tokens, and resizing to another grid.

NumPy; sinusoids in float64: angles of a thousand radians need the precision.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from vidjax.nn.grids import Grid


def sinusoid_table(num_positions: int, dim: int) -> np.ndarray:
    """Sinusoids, float32 `(num_positions, dim)`: even columns sine, odd cosine, of position / 10000^(2⌊j/2⌋/dim).

    Source: "Attention is all you need" (arXiv 1706.03762, section 3.5), in the column order of VideoMAE's code.
    """
    columns = np.arange(dim)
    angles = np.arange(num_positions)[:, None] / np.power(10000.0, 2 * (columns // 2) / dim)[None]
    return np.where(columns[None] % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)


def resize_table(table: np.ndarray, old: Grid, new: Grid, mode: str = "linear") -> np.ndarray:
    """Interpolate a table over an `old` grid, `(T·H·W, D)` in t, h, w order, to a `new` one.

    Token centres are aligned as for resized images: the new token i is at (i + ½)·old/new − ½ along each axis, clamped
    at the border. `mode` is one of `MODES`.

    Raises:
      ValueError: if the table does not have a row per token of `old`.
    """
    if len(table) != np.prod(old):
        raise ValueError(f"a table of {len(table)} positions does not match a grid of {' × '.join(map(str, old))}")
    values = table.reshape(*old, -1).astype(np.float64)
    for axis, (n_old, n_new) in enumerate(zip(old, new, strict=True)):
        values = np.moveaxis(np.tensordot(MODES[mode](n_old, n_new), values, axes=(1, axis)), 0, axis)
    return values.reshape(-1, table.shape[-1]).astype(np.float32)


@lru_cache(maxsize=8)
def sinusoid_positions(grid: Grid, dim: int, base: Grid, mode: str = "linear") -> np.ndarray:
    """Sinusoids, float32 `(T'·H'·W', dim)`, for a `grid` of tokens, in a network trained on the grid `base`.

    The sinusoid runs over the flat token index, so rows of a table for another grid would mean other places.
    Where `grid` differs, the table of `base` is therefore interpolated (`resize_table`). Read-only: it is cached.
    """
    table = sinusoid_table(int(np.prod(base)), dim)
    if grid != base:
        table = resize_table(table, base, grid, mode)
    table.flags.writeable = False
    return table


@lru_cache(maxsize=8)
def axis_positions(grid: Grid, dim: int, base: Grid) -> np.ndarray:
    """Positions by axis, float32 `(T'·H'·W', dim)`: a third of the columns each for time, row and column.

    Per axis sines, then cosines, of place / 100^(i/n), for i = 0 … n - 1, n = dim // 6; remaining columns are 0. The
    wavelengths suit axes of tens of tokens. Where `grid` differs from `base`, places are in steps of `base`, aligned
    as for `resize_table`. Read-only: it is cached.

    Source: the positions of V-JEPA (arXiv 2404.08471), which have wavelengths up to 10000 steps. They make
    it easy to find tokens of one place at other times, or of one row; a sinusoid over the flat index does not.

    Raises:
      ValueError: if `dim` is too small for a sine and a cosine per axis.
    """
    n = dim // 6
    if not n:
        raise ValueError(f"positions of three axes need 6 features or more, not {dim}")
    rates = 100.0 ** (-np.arange(n) / n)
    places = [(np.arange(new) + 0.5) * old / new - 0.5 for old, new in zip(base, grid, strict=True)]
    table = np.zeros((math.prod(grid), dim), np.float32)
    for axis, along in enumerate(np.meshgrid(*places, indexing="ij")):
        angles = along.reshape(-1, 1) * rates
        table[:, 2 * n * axis : 2 * n * (axis + 1)] = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    table.flags.writeable = False
    return table


_FIXED: dict[str, Callable[..., np.ndarray]] = {"index": sinusoid_positions, "axes": axis_positions}


def fixed_positions(kind: str, mode: str = "linear") -> Callable[[Grid, int, Grid], np.ndarray]:
    """Look up fixed positions: `sinusoid_positions` by "index", `axis_positions` by "axes".

    Args:
      kind: name of the positions.
      mode: interpolation of the sinusoids to another grid, one of `MODES`; positions by axis need none.

    Raises:
      ValueError: for any other kind or mode.
    """
    if mode not in MODES or (kind == "axes" and mode != "linear"):
        raise ValueError(f"position_mode = {mode!r}: must be one of {', '.join(MODES)}, for positions = 'index'")
    if kind not in _FIXED:
        raise ValueError(f"positions = {kind!r}: must be one of {', '.join(_FIXED)}")
    return _FIXED[kind] if mode == "linear" else partial(_FIXED[kind], mode=mode)


def nearest(old: int, new: int) -> np.ndarray:
    """Indices `(new,)` into `old` rows, row ⌊i·old/new⌋ for the new row i: PyTorch's `nearest` interpolation."""
    return np.arange(new) * old // new


def aligned(old: int, new: int) -> np.ndarray:
    """Weights, float32 `(new, old)`, of linear interpolation that keeps both ends: `scipy.ndimage.zoom(…, order=1)`."""
    places = np.linspace(0, old - 1, new)
    return np.stack([np.interp(places, np.arange(old), column) for column in np.eye(old)], axis=1).astype(np.float32)


@dataclass(frozen=True)
class Table:
    """Learned position table: its axes of the token grid, and the way to resize it.

    A table is `(…, n, D)`: rows for tokens before the grid, such as a class token, then the grid's. `axes` are of
    (T, H, W); without any the table has no grid, and its number of rows is resized. `mode` is one of `MODES`. `first`
    are the possible numbers of rows before the grid's. `space` is the mode along H and W, if it is another one.
    """

    axes: tuple[int, ...]
    mode: str
    first: tuple[int, ...] = (0, 1)
    space: str = ""

    def fit(self, table: np.ndarray, shape: tuple[int, ...], old: Grid, new: Grid) -> np.ndarray:
        """Resize `table` from the grid `old` to the grid `new`, as float32 of `shape`.

        Raises:
          ValueError: if the table does not match `old`, or `shape` not `new`.
        """
        before, after = ([grid[axis] for axis in self.axes] for grid in (old, new))
        if not self.axes:
            before, after = [table.shape[-2]], [shape[-2]]
        first = table.shape[-2] - math.prod(before)
        wanted = (*table.shape[:-2], first + math.prod(after), table.shape[-1])
        if first < 0 or tuple(shape) != wanted:
            sides = (" × ".join(map(str, sides)) for sides in (before, after))
            raise ValueError("cannot resize a position table of {} tokens to {}".format(*sides))
        values = np.moveaxis(table[..., first:, :], -2, 0)
        values = values.reshape(*before, *values.shape[1:]).astype(np.float64)
        modes = [(axis and self.space) or self.mode for axis in self.axes] or [self.mode]
        for axis, (mode, n_old, n_new) in enumerate(zip(modes, before, after, strict=True)):
            values = np.moveaxis(np.tensordot(MODES[mode](n_old, n_new), values, axes=(1, axis)), 0, axis)
        values = np.moveaxis(values.reshape(-1, *values.shape[len(after) :]), 0, -2)
        return np.concatenate([table[..., :first, :], values], axis=-2).astype(np.float32)


def grid_of(rows: int, like: Grid, axes: tuple[int, ...], first: tuple[int, ...] = (0, 1)) -> Grid | None:
    """Grid along `axes` of a table with `rows` rows, if it differs from `like` only in time, or only in height and
    width, which are then equal; otherwise None. `first`: possible numbers of rows before it, such as a class token's.
    """
    for tokens in (rows - count for count in first):
        space = math.prod(like[axis] for axis in axes if axis)
        time = like[0] if 0 in axes else 1
        if 0 in axes and tokens % space == 0:
            return (tokens // space, *like[1:])
        side = math.isqrt(tokens // time)
        if len(axes) > 1 and time * side**2 == tokens:
            return (like[0], side, side)
    return None


def _nearest(old: int, new: int) -> np.ndarray:
    return np.eye(old)[nearest(old, new)]


def _cubic(old: int, new: int) -> np.ndarray:
    """`(new, old)` weights of PyTorch's cubic interpolation: Keys' kernel with a = -0.75, clamped at the border."""
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    weights = np.zeros((new, old))
    for tap in range(-1, 3):
        place = np.floor(centres).astype(int) + tap
        x = np.abs(centres - place)
        near = 1.25 * x**3 - 2.25 * x**2 + 1
        far = -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
        np.add.at(weights, (np.arange(new), np.clip(place, 0, old - 1)), np.where(x <= 1, near, far))
    return weights


def _interpolation(old: int, new: int) -> np.ndarray:
    """Linear weights `(new, old)`; rows sum to 1."""
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    return np.stack([np.interp(centres, np.arange(old), column) for column in np.eye(old)], axis=1)


def _antialiased(old: int, new: int) -> np.ndarray:
    """Linear weights `(new, old)` of `jax.image.resize`: for fewer rows, means over all those that each stands for."""
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    weights = np.maximum(1 - np.abs(centres[:, None] - np.arange(old)) / max(old / new, 1), 0)
    return weights / weights.sum(axis=1, keepdims=True)


def _middle(old: int, new: int) -> np.ndarray:
    return _interpolation(old, new) if new > old else np.eye(old)[old // 2 - new // 2 :][:new]


# Ways to resize n old rows to m new ones along an axis: `(m, n)` weights. All leave a table of the right size
# unchanged.
MODES: dict[str, Callable[[int, int], np.ndarray]] = {
    "nearest": _nearest,  # row ⌊i·n/m⌋
    "aligned": aligned,  # linear between rows, both ends kept
    "linear": _interpolation,  # linear between rows, token centres aligned as for resized images
    "cubic": _cubic,  # cubic, token centres aligned as for resized images
    "antialiased": _antialiased,  # as "linear", or, for fewer rows, means of several
    "middle": _middle,  # the middle rows, or, for more rows, as "linear"
}
