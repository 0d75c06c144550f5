"""The layout of a batch: keys, shapes, types and padding, known in one place.

A batch is `{"inputs": {name: array}, "targets": {name: array}, "index", "mask", "views", "bad"}`. Arrays of inputs and
targets lead with `(B, V)`, videos and the views of each. Data workers import this, so it needs no JAX.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Batch = dict[str, Any]
Shape = tuple[tuple[int, ...], np.dtype]

# What there is of each example besides inputs and targets.
_EXTRAS = ("index", "mask", "views")


@dataclass(frozen=True)
class Field:
    """One array of a batch, as it is for one view of one video.

    Attributes:
      shape: without batch and views.
      dtype: NumPy's name of the type.
      ragged: whether the first axis is only the most that there can be: arrays of examples may be shorter there, and
        those of batches are filled up with `fill`.
      fill: of what is missing.
      below: integers lie below this, 0 being the least; 0: anywhere.
    """

    shape: tuple[int, ...]
    dtype: str
    ragged: bool = False
    fill: float = 0.0
    below: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of one view."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def empty(self, views: int) -> np.ndarray:
        """The array of views that show nothing."""
        return np.full((views, *self.shape), self.fill if self.ragged else 0, self.dtype)

    def fits(self, shape: tuple[int, ...], whole: bool) -> bool:
        """Whether a view of this shape is one of this field; `whole`: filled up already."""
        if self.ragged and not whole and shape:
            return shape[0] <= self.shape[0] and shape[1:] == self.shape[1:]
        return shape == self.shape

    def filled(self, array: np.ndarray, views: int) -> np.ndarray:
        """`(V, …)` of an example, filled up to so many views and, where the field is ragged, to all of its length."""
        if self.ragged and array.shape[1] < self.shape[0]:
            width = [(0, 0)] * array.ndim
            width[1] = 0, self.shape[0] - array.shape[1]
            array = np.pad(array, width, constant_values=self.fill)
        return array if len(array) == views else np.concatenate([array, self.empty(views - len(array))])

    def draw(self, lead: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Made-up values of this field, `(*lead, *shape)`."""
        shape, dtype = (*lead, *self.shape), np.dtype(self.dtype)
        if dtype == np.uint8:
            return rng.integers(0, self.below or 256, shape, dtype)
        if np.issubdtype(dtype, np.integer):
            info = np.iinfo(dtype)
            return rng.integers(0 if self.below else info.min, self.below or info.max, shape, dtype)
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
        return {"inputs": {name: f.empty(views) for name, f in self.inputs.items()}}

    def collate(self, examples: Sequence[Batch]) -> Batch:
        """Examples stacked; those with fewer views than the others are filled up with empty ones, ragged fields to
        their length.

        Args:
          examples: each with arrays that lead with V; all of them with targets, or none.

        Raises:
          ValueError: for an example that is not of this layout, naming what is absent or of another shape.
        """
        for example in examples:
            self.check(example, lead=1)
        views = max(len(array) for example in examples for array in example["inputs"].values())
        batch: Batch = {}
        for group, fields in self._groups().items():
            if group not in examples[0]:
                continue
            batch[group] = {
                name: np.stack([f.filled(example[group][name], views) for example in examples])
                for name, f in fields.items()
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
        return rows * views * sum(f.nbytes for f in self.inputs.values())

    def draw(self, batch_size: int, views: int, seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
        """A made-up batch of this layout, for measuring."""
        rng = np.random.default_rng(seed)
        return {
            group: {name: f.draw((batch_size, views), rng) for name, f in fields.items()}
            for group, fields in self._groups().items()
        }

    def check(self, batch: Mapping[str, Any], lead: int = 2) -> None:
        """Compare a batch, or an example, with this layout.

        Args:
          batch: its inputs and targets are looked at; there need be no targets, as in evaluation.
          lead: axes before those of a field, 2 of a batch and 1 of an example.

        Raises:
          ValueError: naming what is absent, too much, or of another shape or type.
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
            raise ValueError("a batch is not as it was laid out: " + "; ".join(problems))


def layout_of(inputs: Mapping[str, Any], targets: Mapping[str, Field] | None = None) -> BatchLayout:
    """The layout of batches of these inputs, of `vidjax.inputs`, by name, and these targets."""
    return BatchLayout({name: value.field for name, value in inputs.items()}, targets or {})
