"""Layout of a batch: its keys, shapes, types and padding, defined in one place.

A batch is `{"inputs": {name: array}, "targets": {name: array}, "index", "mask", "views", "bad"}`. Arrays of inputs and
targets begin with the axes `(B, V)`: videos, and the views of each. Data workers import this, so it needs no JAX.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vidjax.inputs import Field

Batch = dict[str, Any]
Shape = tuple[tuple[int, ...], np.dtype]

# Arrays of each example besides inputs and targets.
_EXTRAS = ("index", "mask", "views")


def empty(f: Field, views: int) -> np.ndarray:
    """Blank array of `views` views: padding for a ragged field, zeros for any other."""
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
    """Keys, shapes and types of a batch, known before any data is read.

    Attributes:
      inputs: fields of the network's inputs, by name.
      targets: fields of the objective's targets, by name.
    """

    inputs: Mapping[str, Field]
    targets: Mapping[str, Field] = field(default_factory=dict)

    def _groups(self) -> dict[str, Mapping[str, Field]]:
        return {"inputs": self.inputs, "targets": self.targets}

    def empty(self, views: int) -> Batch:
        """Blank inputs, for an example that could not be read or that pads a batch."""
        return {"inputs": {name: empty(f, views) for name, f in self.inputs.items()}}

    def collate(self, examples: Sequence[Batch]) -> Batch:
        """Stack examples into a batch, padding those with fewer views than the others with empty views.

        Args:
          examples: examples whose arrays begin with the view axis V.

        Raises:
          ValueError: if an example does not match this layout; names the missing or misshaped arrays.
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
        """Shapes and types of the inputs and targets in a batch of `batch_size` videos with `views` views each."""
        return {
            group: {name: ((batch_size, views, *f.shape), np.dtype(f.dtype)) for name, f in fields.items()}
            for group, fields in self._groups().items()
        }

    def bytes(self, rows: int, views: int) -> int:
        """Bytes of the inputs of `rows` videos."""
        return rows * views * sum(_nbytes(f) for f in self.inputs.values())

    def draw(self, batch_size: int, views: int, seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
        """Draw a random batch of this layout, for measurements."""
        rng = np.random.default_rng(seed)
        return {
            group: {name: _draw(f, (batch_size, views), rng) for name, f in fields.items()}
            for group, fields in self._groups().items()
        }

    def check(self, batch: Mapping[str, Any], lead: int = 2) -> None:
        """Check a batch, or an example, against this layout.

        Args:
          batch: inputs and targets to check; an example for evaluation has no targets.
          lead: axes before those of a field: 2 for a batch, 1 for an example.

        Raises:
          ValueError: if an array is missing, unexpected, or of another shape or type; names each.
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
                    problems.append(f"{group}/{name}: not in the layout")
                elif array.shape[lead:] != wanted.shape or array.dtype != np.dtype(wanted.dtype):
                    problems.append(
                        f"{group}/{name}: is {array.dtype} {array.shape[lead:]} for a view, "
                        f"not {wanted.dtype} {wanted.shape}"
                    )
        if problems:
            raise ValueError("a batch does not match its layout: " + "; ".join(problems))


def _nbytes(f: Field) -> int:
    return int(np.prod(f.shape, dtype=np.int64)) * np.dtype(f.dtype).itemsize


def _stack(arrays: list[np.ndarray], f: Field) -> np.ndarray:
    most = max(len(array) for array in arrays)
    if any(len(array) < most for array in arrays):
        arrays = [np.concatenate([array, empty(f, most - len(array))]) for array in arrays]
    return np.stack(arrays)


def layout_of(inputs: Mapping[str, Any], targets: Mapping[str, Field] | None = None) -> BatchLayout:
    """Build the batch layout for inputs from `vidjax.inputs`, by name, and optional targets."""
    return BatchLayout({name: value.field for name, value in inputs.items()}, targets or {})
