"""Training objective of boxes: binary cross-entropy with the classes of each, by itself or with focal weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from vidjax.config import DetectConfig, Spec
from vidjax.inputs import BoxInput
from vidjax.nn.enter import enter
from vidjax.nn.fast_variables import dropout_stream
from vidjax.tasks.detect.jitter import moved
from vidjax.tasks.task import Examples, Sum


def box_loss(logits: jax.Array, label: jax.Array, counted: jax.Array, alpha: float = 1.0, gamma: float = 0.0):
    """Cross-entropy of boxes, float32 `()`: the mean over classes, summed over the boxes that count.

    With γ > 0 each cross-entropy l is multiplied by α(1 − exp(−l))^γ, as in mmaction2's head for AVA.

    Args:
      logits: logits of any float type, `(B, R, K)`.
      label: zeros and ones, `(B, R, K)`.
      counted: 1 for boxes that count, `(B, R)`.
      alpha, gamma: α and γ.
    """
    loss = optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), label)
    if gamma:
        # The power's derivative at 0 is infinite for γ < 1, hence the bound.
        loss = loss * alpha * jnp.maximum(-jnp.expm1(-loss), 1e-12) ** gamma
    return (loss.mean(axis=-1) * counted).sum()


def box_name(spec: Spec) -> str:
    """Name of the input that holds the boxes."""
    return next(name for name, value in spec.inputs.items() if isinstance(value, BoxInput))


@dataclass(frozen=True)
class BoxObjective:
    """Binary cross-entropy of the logits of boxes.

    Attributes:
      spec: spec of the network, with its inputs and their normalisation.
      alpha, gamma: focal weights, see `box_loss`.
      jitter: least overlap (IoU) of a box that is moved and resized with the given one; 1: boxes stay.
      dtype: type of the network's inputs; None: float32.
    """

    spec: Spec
    alpha: float = 1.0
    gamma: float = 0.0
    jitter: float = 1.0
    dtype: Any = None

    sums: ClassVar[Mapping[str, Sum]] = {"correct": Sum("accuracy", "top-1")}
    whole_batch: ClassVar[bool] = False
    teacher: ClassVar[bool] = False

    @classmethod
    def of(cls, spec: Spec, settings: DetectConfig, dtype: Any = None) -> "BoxObjective":
        """Make the objective of the settings."""
        return cls(spec, settings.focal_alpha, settings.focal_gamma, settings.jitter, dtype)

    def prepare(self, examples: Examples, key: jax.Array) -> Examples:
        """Move and resize the boxes, if asked: the overlap with the given one is drawn uniformly for each."""
        name, side = box_name(self.spec), self.spec.video.size
        boxes = examples["inputs"][name]
        if self.jitter < 1:
            where, how_far = jax.random.split(key)
            direction = jax.random.normal(where, boxes.shape)
            iou = jax.random.uniform(how_far, boxes.shape[:-1], minval=self.jitter)
            boxes = jnp.clip(moved(boxes, direction, iou, jnp), 0, side)
        return examples | {"inputs": {**examples["inputs"], name: boxes}}

    def weight(self, examples: Examples) -> jax.Array:
        """Number of boxes that count, at least 1."""
        return jnp.maximum(examples["targets"]["counted"].sum(), 1.0)

    def __call__(
        self, network: nnx.Module, examples: Examples, key: jax.Array, teacher: nnx.Module | None = None
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """Compute the summed loss and the number of boxes whose highest logit is one of their classes."""
        del teacher
        label, counted = examples["targets"]["label"], examples["targets"]["counted"]
        entered = enter(examples["inputs"], self.spec.inputs, self.dtype, network=network)
        logits = network(entered, rngs=dropout_stream(key))
        best = jnp.argmax(logits, axis=-1)
        correct = jnp.take_along_axis(label, best[..., None], axis=-1)[..., 0] * counted
        return box_loss(logits, label, counted, self.alpha, self.gamma), {"correct": correct.sum()}
