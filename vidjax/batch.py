"""The layout of a batch: keys, shapes, types and padding, known in one place.

A batch is `{"inputs": {name: array}, "targets": {name: array}, "index", "mask", "views", "bad"}`. Arrays of inputs and
targets lead with `(B, V)`, videos and the views of each. Data workers import this, so it needs no JAX.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vidjax.inputs import Field

Batch = dict[str, Any]
Shape = tuple[tuple[int, ...], np.dtype]

# What there is of each example besides inputs and targets.
_EXTRAS = ("index", "mask", "views")


def empty(f: Field, views: int) -> np.ndarray:
    """The array of `views` views that show nothing."""
    return np.full((views, *f.shape), f.fill if f.ragged else 0, f.dtype)


def _draw(f: Field, lead: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    shape, dtype = (*lead, *f.shape), np.dtype(f.dtype)
    if dtype == np.uint8:
        return rng.integers(0, f.below or 256, shape, dtype)
    if np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype)
        return rng.integers(0 if f.below else info.min, f.below or info.max, shape, dtype)
    return rng.random(shape, np.float32).astype(dtype)


@dataclass(frozen=True)
class BatchLayout:
    """Everything that is known of a batch before there is one.

    Attributes:
      inputs: by name, what enters the network.
      targets: by name, what the objective compares with.
    """

    inputs: Mapping[str, Field]
    targets: Mapping[str, Field] = field(default_factory=dict)

    def _groups(self) -> dict[str, Mapping[str, Field]]:
        return {"inputs": self.inputs, "targets": self.targets}

    def empty(self, views: int) -> Batch:
        """The inputs of an example that could not be read, or that fills up a batch."""
        return {"inputs": {name: empty(f, views) for name, f in self.inputs.items()}}

    def collate(self, examples: Sequence[Batch]) -> Batch:
        """Examples stacked; those with fewer views than the others are filled up with empty ones.

        Args:
          examples: each with arrays that lead with V.

        Raises:
          ValueError: for an example that is not of this layout, naming what is absent or of another shape.
        """
        for example in examples:
            self.check(example, lead=1)
        batch: Batch = {}
        for group, fields in self._groups().items():
            if group not in examples[0]:
                continue
            batch[group] = {
                name: _stack([example[group][name] for example in examples], f) for name, f in fields.items()
            }
        batch |= {key: np.stack([example[key] for example in examples]) for key in _EXTRAS if key in examples[0]}
        batch["bad"] = [record for example in examples for record in example.get("bad", ())]
        return batch

    def shapes(self, batch_size: int, views: int) -> dict[str, dict[str, Shape]]:
        """Shape and type of every array of inputs and targets in a batch of `batch_size` videos of `views` views."""
        return {
            group: {name: ((batch_size, views, *f.shape), np.dtype(f.dtype)) for name, f in fields.items()}
            for group, fields in self._groups().items()
        }

    def bytes(self, rows: int, views: int) -> int:
        """Bytes of the inputs of `rows` videos."""
        return rows * views * sum(_nbytes(f) for f in self.inputs.values())

    def draw(self, batch_size: int, views: int, seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
        """A made-up batch of this layout, for measuring."""
        rng = np.random.default_rng(seed)
        return {
            group: {name: _draw(f, (batch_size, views), rng) for name, f in fields.items()}
            for group, fields in self._groups().items()
        }

    def check(self, batch: Mapping[str, Any], lead: int = 2) -> None:
        """Compare a batch, or an example, with this layout.

        Args:
          batch: its inputs and targets are looked at; an example for evaluation has no targets.
          lead: axes before those of a field, 2 of a batch and 1 of an example.

        Raises:
          ValueError: naming what is absent, too much, or of another shape or type.
        """
        problems = []
        for group, fields in self._groups().items():
            there = batch.get(group, {} if group == "targets" else None)
            if there is None or (group == "inputs" and there.keys() != fields.keys()):
                problems.append(f"{group}: has {sorted(there or ())}, not {sorted(fields)}")
                continue
            for name, array in there.items():
                wanted = fields.get(name)
                if wanted is None:
                    problems.append(f"{group}/{name}: is not in the layout")
                elif array.shape[lead:] != wanted.shape or array.dtype != np.dtype(wanted.dtype):
                    problems.append(
                        f"{group}/{name}: is {array.dtype} {array.shape[lead:]} for a view, "
                        f"not {wanted.dtype} {wanted.shape}"
                    )
        if problems:
            raise ValueError("a batch is not as it was laid out: " + "; ".join(problems))


def _nbytes(f: Field) -> int:
    return int(np.prod(f.shape, dtype=np.int64)) * np.dtype(f.dtype).itemsize


def _stack(arrays: list[np.ndarray], f: Field) -> np.ndarray:
    most = max(len(array) for array in arrays)
    if any(len(array) < most for array in arrays):
        arrays = [np.concatenate([array, empty(f, most - len(array))]) for array in arrays]
    return np.stack(arrays)


def layout_of(inputs: Mapping[str, Any], targets: Mapping[str, Field] | None = None) -> BatchLayout:
    """The layout of batches of these inputs, of `vidjax.inputs`, by name, and these targets."""
    return BatchLayout({name: value.field for name, value in inputs.items()}, targets or {})
