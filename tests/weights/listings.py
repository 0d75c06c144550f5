"""Listings of published checkpoints' keys, and whether a model takes every one of them."""

from functools import cache
from pathlib import Path

import numpy as np

from tests.golden import read_keys
from tests.models.abstract import abstract
from vidjax.models.registry import get_spec
from vidjax.models.state import split
from vidjax.weights.mapping import conversion, convert
from vidjax.weights.table import Source, recognise
from vidjax.weights.write import rule_of

Shapes = dict[str, tuple[int, ...]]


@cache
def shapes_of(name: str) -> tuple[Shapes, Shapes]:
    """Of the parameters and of the statistics of a named model with 400 classes."""
    parts = split(abstract(name))
    params, stats = ({path: array.shape for path, array in part.items()} for part in parts[1:])
    return params, stats


def count(name: str) -> int:
    """Parameters of a named model with 400 classes."""
    return sum(int(np.prod(shape)) for shape in shapes_of(name)[0].values())


def zeros(shapes: Shapes) -> dict[str, np.ndarray]:
    """Zeros of these shapes that take no memory."""
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}


def keys_here(table: str) -> Shapes:
    """Of `tests/data/golden/keys`."""
    return {key: shape for key, shape, _ in read_keys(table)}


def keys_shared(shared: Path, listing: str) -> Shapes:
    """Of the shared material."""
    rows = (shared / "reference" / "checkpoint-keys" / f"{listing}.tsv").read_text().splitlines()
    return {key: tuple(int(n) for n in shape.split("x") if n) for key, shape, *_ in (row.split("\t") for row in rows)}


def assert_everything_has_its_place(name: str, state: dict[str, np.ndarray]) -> Source:
    """No key is left over, no parameter is unset, no shape differs; gives the table that was recognised."""
    params, stats = shapes_of(name)
    table = recognise(state, name)
    assert table.name in get_spec(name).sources
    assert convert(state, table, {**params, **stats}).keys() == {**params, **stats}.keys()
    floats = [array for key, array in state.items() if not key.endswith("num_batches_tracked")]
    assert sum(array.size for array in floats) == sum(int(np.prod(s)) for s in (*params.values(), *stats.values()))
    return table


def assert_whole_both_ways(name: str, keys: Shapes, classes: int) -> Source:
    """Every key of a full-size reference makes a parameter, none is unset, and all keys are written again.

    Nothing is copied: the largest of these networks would not fit into memory. Gives the table that was recognised.
    """
    parts = split(abstract(name, num_classes=classes))[1:]
    shapes = {path: array.shape for part in parts for path, array in part.items()}
    state = zeros(keys)
    table = recognise(state, name)
    made = conversion(state, table, shapes, put=lambda _, array: np.shape(array))
    assert made.arrays == shapes and not made.dropped and not made.fresh
    filled = [rule_of(table, path) for path in shapes]
    assert {key for _, names in filled for key in names} == set(table.stripped(keys))
    return table
