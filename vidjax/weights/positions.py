"""Position tables of checkpoints, made for another clip length or size than the model's."""

import fnmatch
import math

import numpy as np
from flax import nnx

from vidjax.models.registry import abstract_model
from vidjax.nn.grids import Grid
from vidjax.nn.positions import Table, grid_of
from vidjax.weights.fit import Fit


def position_fit(model: nnx.Module, name: str, path: str, old: Grid | None = None) -> Fit | None:
    """Fit that resizes a checkpoint's position table for a model, in the mode of the model's reference.

    Args:
      model: the model; its `base_grid` is the new grid.
      name: name of the model.
      path: path of the parameter.
      old: grid of the checkpoint's tables; None: that of the published model, or, if it does not match the number of
        rows, one that differs from the model's own only in length or only in size.

    Returns:
      The fit, or None if the parameter is not a learned table of positions.
    """
    tables = getattr(model, "positions", {})
    found = next((table for pattern, table in tables.items() if fnmatch.fnmatchcase(path, pattern)), None)
    if found is None:
        return None

    def forward(array: np.ndarray, shape: tuple[int, ...], grid: Grid | None) -> np.ndarray:
        assert grid is not None  # a model with tables has one
        made_for = old or _grid_of(array.shape[-2], found, name, grid)
        return found.fit(array, shape, made_for, grid)

    return Fit("resized", forward)


def _grid_of(rows: int, table: Table, name: str, grid: Grid) -> Grid:
    if not table.axes:
        return grid
    published = abstract_model(name).base_grid
    assert published is not None  # that of its tables
    count = math.prod(published[axis] for axis in table.axes)
    if rows - count in table.first:
        return published
    if found := grid_of(rows, grid, table.axes, table.first):
        return found
    raise ValueError("the number of rows does not tell which length and size it is made for")
