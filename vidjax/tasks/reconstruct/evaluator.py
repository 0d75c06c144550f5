"""Evaluation of pre-training: how well hidden pixels of held-out videos are predicted, in figures and pictures.

The same tubes of a clip are hidden on every call: its mask depends only on its video and view.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from vidjax.config import Spec
from vidjax.evaluation.evaluator import Rows
from vidjax.nn.enter import enter

# Clips in `reconstructions.png`, evenly spread over the videos, and frames shown of each.
_CLIPS, _FRAMES = 4, 8
_LEAST_SIDE = 64  # pixels of a frame in the picture


def _predict(
    network: Any, inputs: Mapping[str, jax.Array], number: jax.Array, spec: Spec, dtype: Any
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Pixels in 0…1, the network's predictions, and the masks."""
    entered, pixels = enter(inputs, spec.inputs, dtype)["video"], inputs["video"] / 255
    mask = network.draw_masks(jax.vmap(jax.random.key)(number), network.patch_embed.grid(entered))
    return pixels, network(entered, mask), mask


class PixelEvaluator:
    """Error of the predicted hidden pixels.

    Args:
      spec: spec of the network, with its inputs and their normalisation.
      dtype: type of the network's inputs; None: float32.
    """

    def __init__(self, spec: Spec, dtype: Any = None):
        self._spec, self._dtype = spec, dtype
        self._errors: list[np.ndarray] = []
        self._variances: list[np.ndarray] = []

    def forward(self, network: Any, inputs: Mapping[str, jax.Array], number: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Compute each clip's mean squared error and the variance of its targets, float32 `(B,)` each."""
        pixels, prediction, mask = _predict(network, inputs, number, self._spec, self._dtype)
        targets = network.targets(pixels, mask)
        # Each normalised tubelet has mean 0, so 0 is the best constant prediction.
        centre = jnp.zeros(()) if network.normalise_targets else targets.mean(axis=(1, 2), keepdims=True)
        return jnp.square(targets - prediction).mean(axis=(1, 2)), jnp.square(targets - centre).mean(axis=(1, 2))

    def wants(self, index: np.ndarray, view: int) -> bool:
        """Whether a batch has any view to score."""
        return bool((index >= 0).any())

    def add(self, rows: Rows, outputs: tuple[np.ndarray, np.ndarray]) -> None:
        """Add the errors and variances of one view."""
        self._errors.append(outputs[0])
        self._variances.append(outputs[1])

    def merge(self, other: Self) -> None:
        """Add the rows of another evaluator."""
        self._errors += other._errors
        self._variances += other._variances

    def summary(self) -> dict[str, dict[str, float]]:
        """Summarise, under `reconstruction`: `loss`, the mean squared error of the hidden targets as in training, and
        `explained`, the share of their variance that is explained (1: all; 0: no better than the mean)."""
        if not self._errors:
            return {"reconstruction": {"loss": float("nan"), "explained": float("nan")}}
        error = float(np.concatenate(self._errors).mean())
        variance = float(np.concatenate(self._variances).mean())
        return {"reconstruction": {"loss": error, "explained": 1 - error / max(variance, 1e-12)}}

    def details(self) -> dict[str, Any]:
        """Empty: there are no further figures."""
        return {}

    def write(self, folder: Path, title: str) -> list[str]:
        """Write no files."""
        return []


class PictureEvaluator:
    """Pictures of a few clips: the original, its visible part, and the reconstruction.

    Args:
      spec: spec of the network, with its inputs and their normalisation.
      count: number of videos in the set, a few of which are shown.
      dtype: type of the network's inputs; None: float32.
    """

    def __init__(self, spec: Spec, count: int, dtype: Any = None):
        self._spec, self._dtype = spec, dtype
        self._wanted = {int(i) for i in np.linspace(0, count - 1, min(_CLIPS, count))}
        self._shown: dict[int, np.ndarray] = {}

    def forward(self, network: Any, inputs: Mapping[str, jax.Array], number: jax.Array) -> jax.Array:
        """Compute original, masked and reconstructed clips, float32 `(B, 3, T, H, W, 3)` in 0…1."""
        pixels, prediction, mask = _predict(network, inputs, number, self._spec, self._dtype)
        return jnp.stack([pixels, *network.pictures(pixels, prediction, mask)], axis=1)

    def wants(self, index: np.ndarray, view: int) -> bool:
        """Whether a batch holds the first view of a video that is shown."""
        return view == 0 and not self._wanted.isdisjoint(index.tolist())

    def add(self, rows: Rows, outputs: np.ndarray) -> None:
        """Add the pictures of one view."""
        for index, clip in zip(rows.index.tolist(), outputs, strict=True):
            if index in self._wanted:
                self._shown[index] = np.rint(255 * clip).astype(np.uint8)

    def merge(self, other: Self) -> None:
        """Add the pictures of another evaluator."""
        self._shown |= other._shown

    def summary(self) -> dict[str, dict[str, float]]:
        """Empty: pictures have no figures."""
        return {}

    def details(self) -> dict[str, Any]:
        """Empty: pictures have no figures."""
        return {}

    def write(self, folder: Path, title: str) -> list[str]:
        """Write `reconstructions.png`, if any of the clips to show could be read."""
        if not self._shown:
            return []
        import cv2

        sheet = picture(np.stack([self._shown[i] for i in sorted(self._shown)]))
        cv2.imwrite(str(folder / "reconstructions.png"), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
        return ["reconstructions.png"]


def picture(pictures: np.ndarray) -> np.ndarray:
    """Arrange clips in one picture, uint8 `(height, width, 3)`: per clip a row each of original, masked and
    reconstructed frames, from left to right.

    Args:
      pictures: original, masked and reconstructed clips, uint8 `(N, 3, T, H, W, 3)`.
    """
    count, rows, length, height, width, _ = pictures.shape
    frames = np.linspace(0, length - 1, min(_FRAMES, length)).round().astype(int)
    scale = -(-_LEAST_SIDE // height)
    gap, apart = 2, 8
    tall, wide = scale * height + gap, scale * width + gap
    sheet = np.full((count * (rows * tall + apart) - apart, len(frames) * wide - gap, 3), 255, np.uint8)
    for n, clip in enumerate(pictures):
        for row, video in enumerate(clip):
            for column, frame in enumerate(video[frames]):
                y, x = n * (rows * tall + apart) + row * tall, column * wide
                sheet[y : y + tall - gap, x : x + wide - gap] = frame.repeat(scale, 0).repeat(scale, 1)
    return sheet
