"""A small SmolVLM with the keys of the published ones, and its weights by the public rule."""

from typing import Any

import numpy as np

from tests.golden import fill
from tests.models.abstract import abstract
from vidjax.models.state import split
from vidjax.weights.table import recognise
from vidjax.weights.write import prefixed, rule_of, written

NAME = "smolvlm2_256m"
SMALL: dict[str, Any] = {
    "num_classes": 64, "dim": 48, "depth": 2, "heads": 3, "mlp_features": 64, "size": 64, "shuffle": 2,
    "placeholder": 63, "text_dim": 48, "text_depth": 2, "text_heads": 6, "text_groups": 2, "text_hidden": 80,
}  # fmt: skip


def keys_of(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A network's arrays by path as those of transformers, by key."""
    table = recognise((), NAME, "smolvlm2")
    rules = {path: rule_of(table, path) for path in arrays}
    return {prefixed(key, "smolvlm2"): array for key, array in written(arrays, rules).items()}


def shapes(**sizes: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of the state dict, by key."""
    params = split(abstract(NAME, **SMALL | sizes))[1]
    empty = {path: np.broadcast_to(np.float32(0), array.shape) for path, array in params.items()}
    return {key: array.shape for key, array in keys_of(empty).items()}


def state() -> dict[str, np.ndarray]:
    """State dict of the network that `make_peft.py` adapts."""
    return {key: fill(key, shape) for key, shape in shapes().items()}
