"""Listed keys and shapes against a table and a named model, without weights."""

import math
from pathlib import Path

import numpy as np

from tests.golden import Keys, read_keys
from tests.models.abstract import abstract
from vidjax.models.registry import get_spec, list_models
from vidjax.models.state import split
from vidjax.weights.mapping import convert
from vidjax.weights.table import Source, recognise

State = dict[str, np.ndarray]


def zeros(keys: Keys) -> State:
    """Zeros of the listed shapes that take no memory."""
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape, _ in keys}


def golden_keys(table: str) -> State:
    """Of a table in `tests/data/golden/keys`."""
    return zeros(read_keys(table))


def published_keys(shared: Path, listing: str) -> State:
    """Of a listing among the shared reference material."""
    rows = (shared / "reference" / "checkpoint-keys" / f"{listing}.tsv").read_text().splitlines()
    cells = (row.split("\t") for row in rows)
    return zeros([(key, tuple(int(n) for n in shape.split("x") if n), "") for key, shape, *_ in cells])


def published_count(shared: Path, listing: str) -> int:
    """Parameters of a reference model, from the shared reference material."""
    rows = [line.split("\t") for line in (shared / "reference" / "models.tsv").read_text().splitlines()[1:]]
    return next(int(row[1]) for row in rows if row[0] == listing)


def shapes(name: str, num_classes: int) -> dict[str, tuple[int, ...]]:
    """Of all parameters and statistics of a named model."""
    _, params, stats = split(abstract(name, num_classes))
    return {path: array.shape for path, array in {**params, **stats}.items()}


def num_params(name: str, num_classes: int) -> int:
    return sum(math.prod(array.shape) for array in split(abstract(name, num_classes))[1].values())


def assert_complete(name: str, state: State, num_classes: int) -> Source:
    """Every key has its place in the model, every parameter is set, and nothing is made of two; the table found."""
    table, wanted = recognise(state, name), shapes(name, num_classes)
    assert table.name in get_spec(name).sources
    assert convert(state, table, wanted).keys() == wanted.keys()
    floats = [array for key, array in state.items() if not key.endswith("num_batches_tracked")]
    assert sum(array.size for array in floats) == sum(map(math.prod, wanted.values()))
    return table


def of_classes(pattern: str) -> list[str]:
    """Names of the classifiers that match; networks of other tasks on the same backbones have tests of their own."""
    return [name for name in list_models(pattern) if get_spec(name).task == "classify"]
