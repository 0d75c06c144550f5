"""What a masked autoencoder is trained for: the squared error of the pixels that are hidden from it."""

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

# Marks the draws of masks among those of a part of a batch; dropout has the stream's own.
_MASKS = 2**32 - 2


@dataclass(frozen=True)
class PixelObjective:
    """The squared error of hidden pixels, a mean over those of a clip.

    Attributes:
      spec: of the network: normalisation and what enters it.
      dtype: of what enters the network; None: float32.
    """

    spec: Spec
    dtype: Any = None

    sums: ClassVar[Mapping[str, Sum]] = {}
    whole_batch: ClassVar[bool] = False
    teacher: ClassVar[bool] = False

    def prepare(self, examples: Examples, key: jax.Array) -> Examples:
        """The clips as they are: masks are drawn for each part."""
        del key
        return examples

    def weight(self, examples: Examples) -> jax.Array:
        """The number of clips."""
        return jnp.float32(examples["inputs"]["video"].shape[0])

    def __call__(
        self, network: Any, examples: Examples, key: jax.Array, teacher: nnx.Module | None = None
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """The summed loss, and nothing beside it."""
        del teacher
        video = examples["inputs"]["video"]
        entered = enter(examples["inputs"], self.spec.inputs, self.dtype)["video"]
        keys = jax.random.split(jax.random.fold_in(key, _MASKS), len(video))
        mask = network.draw_masks(keys, network.patch_embed.grid(entered))
        predicted = network(entered, mask, rngs=dropout_stream(key))
        error = jnp.square(predicted - network.targets(video / 255, mask))
        return error.mean(axis=(1, 2)).sum(), {}
