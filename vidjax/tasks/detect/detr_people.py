"""People found by DETR: pictures prepared as its checkpoints expect, answers turned into boxes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vidjax.models.detectors import DetectorSpec, get_detector
from vidjax.models.families.detr import STRIDE, Detr
from vidjax.models.state import Arrays, merge, split
from vidjax.tasks.detect.people import Found
from vidjax.weights.detectors import load_detector, person_class


class DetrPeople:
    """Detector of people by DETR: `detector(frames)` gives boxes and scores, see `vidjax.tasks.detect.people`.

    A query counts as a person if that is its most probable class, as in transformers'
    `post_process_object_detection`. The network is compiled once for all videos whose pictures, resized and rounded up
    to multiples of 32 pixels, have one size. (The rows and columns added add no place to its last map.)

    Args:
      network: the detector, with weights.
      spec: its specification: sizes, normalisation and class of people.
    """

    def __init__(self, network: Detr, spec: DetectorSpec):
        self.spec = spec
        graph, params, stats = split(network)
        self._weights = (params, stats)

        def answer(params: Arrays, stats: Arrays, pictures: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits, boxes = merge(graph, params, stats)(pictures)
            chances = jax.nn.softmax(logits, axis=-1)
            person = chances[..., :-1].argmax(axis=-1) == spec.person
            centre, half = boxes[..., :2], boxes[..., 2:] / 2
            return jnp.concatenate([centre - half, centre + half], axis=-1), person * chances[..., spec.person]

        self._answer = jax.jit(answer)

    @classmethod
    def load(cls, name: str, checkpoint: str | os.PathLike | Mapping[str, Any], *, dtype: Any = None) -> "DetrPeople":
        """Load a detector, as `load_detector` does.

        Args:
          name: name of a detector, such as "detr_r50".
          checkpoint: its checkpoint.
          dtype: dtype of the activations; None: float32.

        Raises:
          UserError: if no detector has that name, or it is unknown which of its classes is a person.
          CheckpointError: if the checkpoint cannot be read or does not fit.
        """
        network = load_detector(name, checkpoint, dtype=dtype)
        person = person_class(name, checkpoint, network.head.out_features - 1)
        return cls(network, replace(get_detector(name), person=person))

    def __call__(self, frames: np.ndarray) -> Sequence[Found]:
        """Boxes and scores of the people in each frame of uint8 `(B, H, W, 3)`, RGB."""
        size = self.spec.fitted(*frames.shape[1:3])
        pictures = prepared(frames, size, self.spec.mean, self.spec.std)
        boxes, scores = (np.asarray(x, np.float64) for x in self._answer(*self._weights, pictures))
        return [(box[score > 0], score[score > 0]) for box, score in zip(boxes, scores, strict=True)]


@partial(jax.jit, static_argnums=(1, 2, 3))
def prepared(
    frames: jax.Array, size: tuple[int, int], mean: tuple[float, float, float], std: tuple[float, float, float]
) -> jax.Array:
    """Resize and normalise frames; pad them with 0, at the right and bottom, to multiples of 32 pixels.

    Args:
      frames: RGB, uint8 `(B, H, W, 3)`.
      size: height and width to resize to, bilinear with antialiasing, rounded to 8 bits as image libraries do.
      mean: mean of each channel of pixels in 0…1.
      std: their standard deviation.

    Returns:
      float32 `(B, H', W', 3)`.
    """
    height, width = size
    x = jax.image.resize(frames.astype(jnp.float32), (len(frames), height, width, 3), "linear", antialias=True)
    x = jnp.round(x).clip(0, 255) / 255
    x = (x - jnp.array(mean)[None, None, None]) / jnp.array(std)[None, None, None]
    return jnp.pad(x, ((0, 0), (0, -height % STRIDE), (0, -width % STRIDE), (0, 0)))
