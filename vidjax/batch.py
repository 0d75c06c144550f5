"""Layout of a batch: its keys, shapes, types and padding, defined in one place.

A batch is `{"inputs": {name: array}, "targets": {name: array}, "index", "mask", "views", "bad"}`. Arrays of inputs and
targets begin with the axes `(B, V)`: videos and views per video. Data workers import this, so it needs no JAX.
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


def _filled(f: Field, array: np.ndarray, views: int) -> np.ndarray:
    """Pad an array `(V, …)` of an example to `views` views and, for a ragged field, to its full length."""
    if f.ragged and array.shape[1] < f.shape[0]:
        width = [(0, 0)] * array.ndim
        width[1] = 0, f.shape[0] - array.shape[1]
        array = np.pad(array, width, constant_values=f.fill)
    return array if len(array) == views else np.concatenate([array, empty(f, views - len(array))])


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
    """Keys, shapes and types of a batch, fixed before any data is read.

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
        """Stack examples into a batch.

        Examples with fewer views than the others are padded with empty views, and ragged fields to their length.

        Args:
          examples: examples with arrays `(V, …)`; either all of them or none have targets.

        Raises:
          ValueError: for an example of another layout; the message names the missing or mismatched fields.
        """
        for example in examples:
            self.check(example, lead=1)
        views = max(len(array) for example in examples for array in example["inputs"].values())
        batch: Batch = {}
        for group, fields in self._groups().items():
            if group not in examples[0]:
                continue
            batch[group] = {
                name: np.stack([_filled(f, example[group][name], views) for example in examples])
                for name, f in fields.items()
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
          lead: number of axes before those of a field: 2 for a batch, 1 for an example.

        Raises:
          ValueError: if arrays are missing, unexpected, or of another shape or type; the message names them.
        """
        problems = []
        for group, fields in self._groups().items():
            if group == "targets" and group not in batch:
                continue
            there = batch.get(group, {})
            if there.keys() != fields.keys():
                problems.append(f"{group}: has {sorted(there)}, not {sorted(fields)}")
                continue
            for name, wanted in fields.items():
                array = there[name]
                view = array.shape[lead:]
                if not wanted.fits(view, whole=lead == 2) or array.dtype != np.dtype(wanted.dtype):
                    most = " at most" if wanted.ragged and lead == 1 else ""
                    problems.append(
                        f"{group}/{name}: is {array.dtype} {view} for a view, not {wanted.dtype} {wanted.shape}{most}"
                    )
        if problems:
            raise ValueError("a batch does not match its layout: " + "; ".join(problems))


def _nbytes(f: Field) -> int:
    return int(np.prod(f.shape, dtype=np.int64)) * np.dtype(f.dtype).itemsize


def layout_of(inputs: Mapping[str, Any], targets: Mapping[str, Field] | None = None) -> BatchLayout:
    """Build the batch layout for inputs from `vidjax.inputs`, by name, and optional targets."""
    return BatchLayout({name: value.field for name, value in inputs.items()}, targets or {})
