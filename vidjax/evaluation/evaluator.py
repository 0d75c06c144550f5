"""What evaluation asks of a task: something that makes figures of a network's answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import jax
import numpy as np
from flax import nnx


@dataclass(frozen=True)
class Rows:
    """Which views of which videos the rows of an output are; only those that count.

    Attributes:
      index: int64 `(N,)`, which record of the video set.
      view: which view of each.
      views: int64 `(N,)`, how many views each has.
    """

    index: np.ndarray
    view: int
    views: np.ndarray


class Evaluator(Protocol):
    """Makes figures of what a network answers, view by view; processes and batch sizes do not matter to it.

    A new one is made for each evaluation of a set of videos. `add` is called in any order, by the process that writes
    as by the others, with the rows of all of them.
    """

    def forward(self, network: nnx.Module, inputs: Mapping[str, jax.Array], number: jax.Array) -> Any:
        """Outputs of one view of B videos, a tree of arrays that lead with B; compiled, and of nothing else.

        Args:
          network: in evaluation mode.
          inputs: by name, `(B, …)`, as they are read.
          number: int32 `(B,)`, that of each clip among all: what is drawn for it depends on this.
        """
        ...

    def wants(self, index: np.ndarray, view: int) -> bool:
        """Whether to run `forward` for a view of the videos of `index`, -1 being none."""
        ...

    def add(self, rows: Rows, outputs: Any) -> None:
        """Take the outputs of these rows."""
        ...

    def merge(self, other: Self) -> None:
        """Take what another evaluator of the same set has been given, of other rows."""
        ...

    def summary(self) -> dict[str, dict[str, float]]:
        """Figures by level and name, such as `{"clip": {"top1": 0.5}, "video": {"top1": 0.6}}`."""
        ...

    def details(self) -> dict[str, Any]:
        """Whatever else belongs into `eval.json`."""
        ...

    def write(self, folder: Path, title: str) -> list[str]:
        """Write files to `folder`, whose pictures are headed by `title`; returns their names."""
        ...
