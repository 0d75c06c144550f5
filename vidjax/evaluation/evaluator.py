"""Interface of a task to evaluation: evaluators compute figures from a network's outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import jax
import numpy as np
from flax import nnx


@dataclass(frozen=True)
class Rows:
    """Videos and view of an output's rows, without padding.

    Attributes:
      index: indices of the records in the video set, int64 `(N,)`.
      view: number of the view, the same for all rows.
      views: number of views of each video, int64 `(N,)`.
    """

    index: np.ndarray
    view: int
    views: np.ndarray


class Evaluator(Protocol):
    """Evaluator of a network's outputs, view by view, independent of processes and batch sizes.

    A new one is made for each evaluation of a set of videos. `add` is called in any order, on every process, with the
    rows of all processes.
    """

    def forward(self, network: nnx.Module, inputs: Mapping[str, jax.Array], number: jax.Array) -> Any:
        """Compute the outputs of one view of B videos, a tree of arrays with first axis B; pure, as it is compiled.

        Args:
          network: network in evaluation mode.
          inputs: inputs by name, `(B, …)`, as they are read.
          number: number of each clip among all clips, int32 `(B,)`, from which its random draws follow.
        """
        ...

    def wants(self, index: np.ndarray, view: int) -> bool:
        """Whether to run `forward` for a view of the videos in `index`, where -1 is padding."""
        ...

    def add(self, rows: Rows, outputs: Any) -> None:
        """Add the outputs of these rows."""
        ...

    def merge(self, other: Self) -> None:
        """Add the outputs that another evaluator of the same set has received for other rows."""
        ...

    def summary(self) -> dict[str, dict[str, float]]:
        """Summarise as figures by level and name, such as `{"clip": {"top1": 0.5}, "video": {"top1": 0.6}}`."""
        ...

    def details(self) -> dict[str, Any]:
        """Further entries of `eval.json`."""
        ...

    def write(self, folder: Path, title: str) -> list[str]:
        """Write files to `folder`, with `title` above pictures; returns their names."""
        ...
