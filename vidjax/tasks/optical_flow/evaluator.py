"""Evaluation of optical flow: end-point errors on the middles of held-out pairs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np

from vidjax.config import Spec
from vidjax.data.records import TrueFlow, VideoSet
from vidjax.evaluation.evaluator import Rows
from vidjax.evaluation.flow import FlowScores
from vidjax.nn.enter import enter
from vidjax.tasks.optical_flow.targets import need_pairs
from vidjax.video import VideoError


class FlowEvaluator:
    """Errors of the flow of pairs, see `vidjax.evaluation.flow.FlowScores`.

    Args:
      videos: the pairs, with their true flow.
      spec: spec of the network, with its inputs and their normalisation.
      dtype: type of the network's inputs; None: float32.
    """

    def __init__(self, videos: VideoSet, spec: Spec, dtype: Any = None):
        self._videos, self._spec, self._dtype = videos, spec, dtype
        self._scores, self._still = FlowScores(), FlowScores()
        self._untold: dict[str, str] = {}  # file of true flow → why it cannot be read

    def forward(self, network: Any, inputs: Mapping[str, jax.Array], number: jax.Array) -> jax.Array:
        """Estimate the flow of pairs, float32 `(B, H, W, 2)`."""
        del number
        return network(enter(inputs, self._spec.inputs, self._dtype))

    def wants(self, index: np.ndarray, view: int) -> bool:
        """Whether a batch has any pair to score."""
        return bool((index >= 0).any())

    def add(self, rows: Rows, outputs: np.ndarray) -> None:
        """Compare the flow of pairs with the true one."""
        from vidjax.data.reading.flow_field import field_through, read_true_flow
        from vidjax.data.reading.pairs import centred_affine

        input = need_pairs(self._spec)
        for index, flow in zip(rows.index.tolist(), outputs, strict=True):
            annotation = self._videos.records[index].annotation
            if not isinstance(annotation, TrueFlow):
                continue
            try:
                true, known = read_true_flow(annotation)
            except VideoError as error:
                self._untold[error.path] = error.reason
                continue
            affine = centred_affine(known.shape[0], known.shape[1], input)
            true, known = field_through(true, known, affine, input.height, input.width)
            self._scores.add(flow, true, known)
            self._still.add(np.zeros_like(true), true, known)

    def merge(self, other: Self) -> None:
        """Add the errors that another evaluator has counted."""
        self._scores.merge(other._scores)
        self._still.merge(other._still)
        self._untold |= other._untold

    def summary(self) -> dict[str, dict[str, float]]:
        """Summarise, under `flow`: `epe` over pixels and `epe_per_pair`, both in pixels; shares of pixels with errors
        below 1, 3 and 5 pixels, and of `outliers` by KITTI's rule; `epe_still`, the error of no motion at all."""
        if not self._scores.pairs:
            names = ("epe", "epe_per_pair", "1px", "3px", "5px", "outliers", "epe_still")
            return {"flow": dict.fromkeys(names, float("nan"))}
        figures = self._scores.summary()
        outliers = figures.pop("fl_all") / 100
        return {"flow": figures | {"outliers": outliers, "epe_still": self._still.summary()["epe"]}}

    def details(self) -> dict[str, Any]:
        """Files of true flow that cannot be read, if there are any: their pairs do not count."""
        listed = [{"path": path, "reason": reason} for path, reason in sorted(self._untold.items())]
        return {"unreadable_flow": listed} if listed else {}

    def write(self, folder: Path, title: str) -> list[str]:
        """Write no files."""
        return []
