"""Adaptation of arrays of another size: image kernels inflated over time, position tables resized."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vidjax.nn.grids import Grid
from vidjax.nn.positions import aligned, nearest

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Fit:
    """A way of adapting an array to a parameter of another shape.

    `forward(array, shape, grid)` gives an array of `shape`, or raises ValueError if it cannot; `grid` is the model's
    number of tokens along T, H and W, if known. `name` is the field of `LoadReport` that lists such parameters:
    `"inflated"` or `"resized"`.
    """

    name: str
    forward: Callable[[np.ndarray, Shape, Grid | None], np.ndarray]


def central(kernel: np.ndarray, shape: Shape, grid: Grid | None = None) -> np.ndarray:
    """`(1, kh, kw, I, O)` → `(kt, kh, kw, I, O)`: the image's kernel in the middle of time, frame ⌊kt/2⌋, else 0.

    Source: the central frame initialisation of ViViT (arXiv 2103.15691, section 3.4), `model_utils.py` in scenic.
    """
    out = np.zeros(_inflatable(kernel, shape), np.float32)
    out[shape[0] // 2] = kernel[0]
    return out


def average(kernel: np.ndarray, shape: Shape, grid: Grid | None = None) -> np.ndarray:
    """`(1, kh, kw, I, O)` → `(kt, kh, kw, I, O)`: the image's kernel in every frame, divided by kt.

    Source: filter inflation in I3D (arXiv 1705.07750, section 2.4.1).
    """
    return np.broadcast_to(kernel / shape[0], _inflatable(kernel, shape))


def _first(inflate: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """`inflate` for the kernel that reads the picture: if the video has another number of channels, such as stacked
    flow, each channel gets the mean of the colours' kernels.

    Source: the cross modality pre-training of temporal segment networks (arXiv 1608.00859, section 3.2).
    """

    def forward(kernel: np.ndarray, shape: Shape, grid: Grid | None = None) -> np.ndarray:
        if kernel.shape[3] == 3 != shape[3]:
            kernel = kernel.mean(axis=3, keepdims=True).repeat(shape[3], axis=3)
        return inflate(kernel, shape, grid)

    return forward


def _beside(inflate: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """`inflate` for a kernel with more input channels than in the image network, such as those of a lateral connection:
    its values for these start at zero, so that the network at first gives the same output as without them."""

    def forward(kernel: np.ndarray, shape: Shape, grid: Grid | None = None) -> np.ndarray:
        more = shape[3] - kernel.shape[3]
        return inflate(np.pad(kernel, ((0, 0),) * 3 + ((0, max(more, 0)), (0, 0))), shape, grid)

    return forward


# With each of these, a video of one repeated frame has the same activations as the image.
INFLATIONS = {"central": Fit("inflated", central), "average": Fit("inflated", average)}
FIRST = {name: Fit("inflated", _first(fit.forward)) for name, fit in INFLATIONS.items()}
BESIDE = {name: Fit("inflated", _beside(fit.forward)) for name, fit in INFLATIONS.items()}


def inflates(fit: Fit | None) -> bool:
    """Whether a fit gives kernels a temporal extent."""
    return any(fit in group.values() for group in (INFLATIONS, FIRST, BESIDE))


def by(fit: Fit, inflation: str) -> Fit:
    """The fit with another kind of inflation; unchanged if it does not inflate or `inflation` is empty."""
    groups = (group for group in (INFLATIONS, FIRST, BESIDE) if fit in group.values())
    return next((group[inflation] for group in groups if inflation), fit)


def check_inflation(inflation: str, source: str, inflates: bool) -> None:
    """Check that an inflation is known, and that checkpoints of the source have kernels to inflate.

    Raises:
      ValueError: if one of these does not hold.
    """
    if inflation not in INFLATIONS:
        raise ValueError(f"inflation = {inflation!r}: must be one of {', '.join(map(repr, INFLATIONS))}")
    if not inflates:
        raise ValueError(f"inflation = {inflation!r}: checkpoints of source {source} hold nothing to inflate")


def _inflatable(kernel: np.ndarray, shape: Shape) -> Shape:
    if len(shape) != kernel.ndim or kernel.shape[0] != 1 or kernel.shape[1:] != tuple(shape[1:]):
        raise ValueError("only the temporal extent may differ")
    return tuple(shape)


def _square(table: np.ndarray) -> np.ndarray:
    """`(1, 1 + n², D)`, a class token and a square grid → the grid, `(n, n, D)`."""
    side = math.isqrt(table.shape[1] - 1)
    if side**2 + 1 != table.shape[1]:
        raise ValueError("only positions of a class token and a square grid can be resized")
    return table[0, 1:].reshape(side, side, -1)


def _joined(table: np.ndarray, places: np.ndarray, shape: Shape) -> np.ndarray:
    """The rows of the places, after the class token's if `shape` has room for it."""
    flat = places.reshape(1, -1, places.shape[-1])
    if shape == (1, flat.shape[1] + 1, flat.shape[2]):
        return np.concatenate([table[:, :1], flat], axis=1)
    if shape != flat.shape:
        raise ValueError(f"the grid has {flat.shape[1]} places")
    return flat


def _nearest_grid(table: np.ndarray, shape: Shape, grid: Grid | None = None) -> np.ndarray:
    old = _square(table)
    height, width = grid[1:] if grid else 2 * (math.isqrt(shape[1] - 1),)
    return _joined(table, old[nearest(len(old), height)][:, nearest(len(old), width)], shape)


def _nearest_line(table: np.ndarray, shape: Shape, grid: Grid | None = None) -> np.ndarray:
    if table.shape[2] != shape[2]:
        raise ValueError("only the number of positions may differ")
    return table[:, nearest(table.shape[1], shape[1])]


def _linear_grid(table: np.ndarray, shape: Shape, grid: Grid | None = None) -> np.ndarray:
    if grid is None:
        raise ValueError("the model does not tell its grid of tokens")
    old = _square(table)
    rows, columns = (aligned(len(old), n) for n in grid[1:])
    return _joined(table, np.einsum("ha,wb,abd->hwd", rows, columns, old), shape)


def _tiled(table: np.ndarray, shape: Shape, grid: Grid | None = None) -> np.ndarray:
    if grid is None:
        raise ValueError("the model does not tell its grid of tokens")
    frame = _linear_grid(table, (1, grid[1] * grid[2], table.shape[2]), grid)
    return _joined(table, np.tile(frame, (grid[0], 1, 1)), shape)


# For tables `(1, 1 + n², D)` of an image's class token and square grid, and `(1, n, D)` of points on a line.
NEAREST_GRID = Fit("resized", _nearest_grid)  # each new position takes the nearest old one's row, as in TimeSformer
NEAREST_LINE = Fit("resized", _nearest_line)
LINEAR_GRID = Fit("resized", _linear_grid)  # linear interpolation with aligned ends, as in ViViT
TILED = Fit("inflated", _tiled)  # LINEAR_GRID, repeated for each of the grid's frames, as in ViViT


@dataclass(frozen=True)
class Conversion:
    """A source's arrays converted for a model, and how each was made. Paths are those of the model's parameters."""

    arrays: dict[str, np.ndarray]
    inflated: tuple[str, ...] = ()  # kernels of an image network, given a temporal extent
    resized: tuple[str, ...] = ()  # position tables of another grid
    widened: tuple[str, ...] = ()  # kernels for frames, with zeros for frame differences
    copied: tuple[str, ...] = ()  # made from keys that primarily belong to another parameter
    fresh: tuple[str, ...] = ()  # without a key: initial values
    dropped: tuple[str, ...] = ()  # keys of parts that the model does not have
