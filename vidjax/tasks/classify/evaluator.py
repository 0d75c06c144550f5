"""Clip- and video-level accuracy: every view of every video is scored once, then averaged.

Video scores are the mean or the maximum, over a video's views, of the softmax of the logits, or of their sigmoid if a
video may have several classes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.config import Spec
from vidjax.data.records import VideoSet
from vidjax.evaluation import metrics
from vidjax.evaluation.evaluator import Rows
from vidjax.nn.enter import enter
from vidjax.tasks.classify.scores import Scores, details, figures


class ClassEvaluator:
    """Accuracy of a classifier on a video set.

    Args:
      videos: videos to evaluate, with their labels.
      spec: spec of the network, with its inputs and their normalisation.
      dtype: type of the network's inputs; None: float32.
      ensemble: rule of a video's scores, "mean" or "max" over its views; see `config.eval.ensemble`.
    """

    def __init__(self, videos: VideoSet, spec: Spec, dtype: Any = None, ensemble: str = "mean"):
        self._videos, self._spec, self._dtype, self._ensemble = videos, spec, dtype, ensemble
        self._rows: list[tuple[Rows, np.ndarray]] = []

    def forward(self, network: nnx.Module, inputs: Mapping[str, jax.Array], number: jax.Array) -> jax.Array:
        """Compute logits, float32 `(B, K)`."""
        del number  # nothing is drawn
        return network(self.entered(network, inputs)).astype(jnp.float32)

    def entered(self, network: nnx.Module, inputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Inputs as they enter the network, from those that are read."""
        return enter(inputs, self._spec.inputs, self._dtype, network=network)

    def wants(self, index: np.ndarray, view: int) -> bool:
        """Whether a batch has any view to score."""
        return bool((index >= 0).any())

    def add(self, rows: Rows, outputs: np.ndarray) -> None:
        """Add the logits `(N, K)` of one view."""
        probabilities = metrics.sigmoid if self._videos.labels.several else metrics.softmax
        self._rows.append((rows, probabilities(outputs)))

    def merge(self, other: Self) -> None:
        """Add the rows of another evaluator."""
        self._rows += other._rows

    @property
    def scores(self) -> Scores:
        """Scores with one row per scored video, in the order of the records."""
        count = {int(i): int(n) for rows, _ in self._rows for i, n in zip(rows.index, rows.views, strict=True)}
        order = {index: row for row, index in enumerate(sorted(count))}
        classes = len(self._videos.labels.names)
        scores = np.zeros((len(order), max(count.values(), default=1), classes))
        for rows, values in self._rows:
            scores[[order[int(i)] for i in rows.index], rows.view] = values
        views = np.array([count[i] for i in sorted(count)], np.int64)
        return Scores(np.array(sorted(count), np.int64), scores, views, self._ensemble)

    def summary(self) -> dict[str, dict[str, float]]:
        """Summarise clip- and video-level accuracies; see `scores.figures`."""
        return figures(self.scores, self._videos)

    def details(self) -> dict[str, Any]:
        """Report accuracies per class; see `scores.details`."""
        return details(self.scores, self._videos)

    def write(self, folder: Path, title: str) -> list[str]:
        """Write scores and a confusion matrix; see `report.write_scores`."""
        from vidjax.tasks.classify.report import write_scores  # which needs a video library, as evaluating does

        return write_scores(folder, self.scores, self._videos, title)
