"""Training objective of masked autoencoders: the squared error of the hidden pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.nn.enter import enter
from vidjax.nn.fast_variables import dropout_stream
from vidjax.tasks.task import Examples, Sum

# Folded into a part's key for drawing masks; dropout uses the key's own stream.
_MASKS = 2**32 - 2


@dataclass(frozen=True)
class PixelObjective:
    """Squared error of hidden pixels, averaged over each clip.

    Attributes:
      spec: spec of the network, with its inputs and their normalisation.
      dtype: type of the network's inputs; None: float32.
    """

    spec: Spec
    dtype: Any = None

    sums: ClassVar[Mapping[str, Sum]] = {}
    whole_batch: ClassVar[bool] = False
    teacher: ClassVar[bool] = False

    def prepare(self, examples: Examples, key: jax.Array) -> Examples:
        """Return the clips unchanged: masks are drawn for each part."""
        del key
        return examples

    def weight(self, examples: Examples) -> jax.Array:
        """Number of clips."""
        return jnp.float32(examples["inputs"]["video"].shape[0])

    def __call__(
        self, network: Any, examples: Examples, key: jax.Array, teacher: nnx.Module | None = None
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """Compute the summed loss, without further sums."""
        del teacher
        video = examples["inputs"]["video"]
        entered = enter(examples["inputs"], self.spec.inputs, self.dtype)["video"]
        keys = jax.random.split(jax.random.fold_in(key, _MASKS), len(video))
        mask = network.draw_masks(keys, network.patch_embed.grid(entered))
        predicted = network(entered, mask, rngs=dropout_stream(key))
        error = jnp.square(predicted - network.targets(video / 255, mask))
        return error.mean(axis=(1, 2)).sum(), {}
