"""Training objective of networks that find segments: the loss of their kind of outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.nn.enter import enter
from vidjax.nn.fast_variables import dropout_stream
from vidjax.tasks.localise.methods import method_of
from vidjax.tasks.task import Examples, Sum


@dataclass(frozen=True)
class SegmentObjective:
    """Loss of classes and ends of segments, summed over clips.

    Attributes:
      spec: spec of the network, with its inputs.
      dtype: type of the network's inputs; None: float32.
    """

    spec: Spec
    dtype: Any = None

    sums: ClassVar[Mapping[str, Sum]] = {
        "classes": Sum("class_loss", "classes", share=False),
        "offsets": Sum("offset_loss", "offsets", share=False),
    }
    whole_batch: ClassVar[bool] = False
    teacher: ClassVar[bool] = False

    def prepare(self, examples: Examples, key: jax.Array) -> Examples:
        """Return the clips unchanged."""
        del key
        return examples

    def weight(self, examples: Examples) -> jax.Array:
        """Number of clips."""
        return jnp.float32(examples["targets"]["segments"].shape[0])

    def __call__(
        self, network: Any, examples: Examples, key: jax.Array, teacher: nnx.Module | None = None
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """Compute the summed loss and its two parts."""
        del teacher
        targets = examples["targets"]
        outputs = network(
            enter(examples["inputs"], self.spec.inputs, self.dtype, network=network), rngs=dropout_stream(key)
        )
        loss, sums = method_of(outputs).loss(network, outputs, targets["segments"], targets["classes"])
        return loss, {name: jnp.float32(sums.get(name, 0.0)) for name in self.sums}
