"""Linear classifier of every step of a long video's features, with a class for no action: a baseline.

The input, read by `vidjax.data.reading.features`, is `(B, T, D)` with a mask `(B, T)`. Runs of steps above thresholds
become segments, see `vidjax.tasks.localise.steps`.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.inputs import SequenceInput
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.registry import Variant
from vidjax.models.sequences import StepOutputs, sequence_of
from vidjax.nn.init import normal_001


class StepLinear(VideoNetwork):
    """Linear layer on each vector of a sequence. Its tokens are the unchanged vectors; it has no maps.

    Args:
      num_classes: K, number of classes; the layer has another output, for no action.
      width: D, width of a vector.
      dropout: dropout probability before the layer.
      dtype: unused, for the common signature; the layer computes in float32.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(self, num_classes: int, *, width: int, dropout: float = 0.0, dtype: Any = None, rngs: nnx.Rngs):
        del dtype
        self.widths = Widths(pooled=width, tokens=width)
        self.dropout = nnx.Dropout(dropout)
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.head = nnx.Linear(width, num_classes + 1, kernel_init=normal_001, rngs=rngs)

    def taken(self, inputs: Any) -> Mapping[str, jax.Array]:
        """Select the vectors `(B, T, D)` and their mask, see `sequence_of`."""
        return sequence_of(inputs, self.widths.pooled, type(self).__name__)

    def encode(self, video: Any, rngs: nnx.Rngs | None = None) -> Features:
        """Map vectors `(B, T, D)` and their mask to their mean, and the vectors as tokens."""
        del rngs  # nothing random comes before the classifier
        vectors, mask = video["features"], video["mask"][..., None]
        total = jnp.where(mask, vectors, 0).sum(axis=1, dtype=jnp.float32)
        return Features(total / jnp.maximum(mask.sum(axis=1), 1), vectors, (vectors.shape[1], 1, 1))

    def __call__(self, video: Any, rngs: nnx.Rngs | None = None) -> Any:
        """Map vectors `(B, T, D)` and their mask to `StepOutputs`; without a head, to features `(B, D)`."""
        if self.head is None:
            return self.encode(video, rngs=rngs).pooled
        vectors = self.dropout(self.norm(video["features"].astype(jnp.float32)), rngs=rngs)
        return StepOutputs(self.head(vectors), video["mask"])


def _variant(name: str, steps: int, width: int, num_classes: int) -> Variant:
    spec = Spec(name, {"features": SequenceInput(steps=steps, width=width)}, task="localise", num_classes=num_classes)
    return Variant(StepLinear, spec, {"width": width})


VARIANTS = {
    "localise_linear": _variant("localise_linear", 2304, 2048, 20),
    "localise_linear_tiny": _variant("localise_linear_tiny", 32, 16, 6),
}
