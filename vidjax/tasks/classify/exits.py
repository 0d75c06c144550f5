"""Evaluation of a classifier with early exits: the figures of each exit and of the end, from one pass."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from vidjax.data.records import VideoSet
from vidjax.evaluation.evaluator import Rows
from vidjax.models.exits import all_logits
from vidjax.tasks.classify.evaluator import ClassEvaluator


class ExitsEvaluator:
    """Accuracy, and multiply-adds, of every exit of a classifier and of its end.

    Args:
      videos: videos to evaluate, with their labels.
      single: maker of an evaluator of one classifier on them.
      layers: paths of the exits' layers.
      gmacs: multiply-adds of each stage of the network for a clip, 10⁹, see `vidjax.models.exits.stage_gmacs`.
    """

    def __init__(
        self,
        videos: VideoSet,
        single: Callable[[], ClassEvaluator],
        layers: Sequence[str],
        gmacs: Sequence[float],
    ):
        self._videos, self._gmacs = videos, np.cumsum(gmacs)
        self._exits = {layer: single() for layer in layers}
        self._end = single()

    def forward(self, network: Any, inputs: Mapping[str, jax.Array], number: jax.Array) -> jax.Array:
        """Compute logits of the exits and of the end, float32 `(B, E + 1, K)`."""
        del number  # nothing is drawn
        logits = all_logits(network, self._end.entered(network, inputs))
        return jnp.stack([each.astype(jnp.float32) for each in logits], axis=1)

    def wants(self, index: np.ndarray, view: int) -> bool:
        """Whether a batch has any view to score."""
        return self._end.wants(index, view)

    def add(self, rows: Rows, outputs: np.ndarray) -> None:
        """Add the logits `(N, E + 1, K)` of one view."""
        for place, each in enumerate(self._all):
            each.add(rows, outputs[:, place])

    def merge(self, other: Self) -> None:
        """Add the rows of another evaluator."""
        for own, its in zip(self._all, other._all, strict=True):
            own.merge(its)

    @property
    def _all(self) -> tuple[ClassEvaluator, ...]:
        return (*self._exits.values(), self._end)

    def summary(self) -> dict[str, dict[str, float]]:
        """Summarise clip- and video-level accuracies, those of exits as `clip@LAYER` and `video@LAYER`, with the
        multiply-adds until there, `gmacs`, 10⁹ of a clip, and of a video on average."""
        found = {}
        names = {"": self._end} | {f"@{layer}": each for layer, each in self._exits.items()}
        for (name, each), gmacs in zip(names.items(), np.roll(self._gmacs, 1), strict=True):
            views = each.scores.is_view.sum(axis=1)
            costs = {"clip": gmacs, "video": gmacs * views.mean() if len(views) else 0.0}
            found |= {f"{k}{name}": values | {"gmacs": float(costs[k])} for k, values in each.summary().items()}
        return found

    def details(self) -> dict[str, Any]:
        """Report accuracies per class of the end; see `scores.details`."""
        return self._end.details()

    def write(self, folder: Path, title: str) -> list[str]:
        """Write scores, those of the exits among them, and a confusion matrix of the end; see `report.write_scores`."""
        from vidjax.tasks.classify.report import write_scores  # which needs a video library, as evaluating does

        exits = {layer: each.scores for layer, each in self._exits.items()}
        return write_scores(folder, self._end.scores, self._videos, title, exits)
