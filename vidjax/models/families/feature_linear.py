"""Linear classifier of a video's precomputed feature vectors: their mean, and one layer.

The input, read by `vidjax.data.reading.features`, is `(B, N, D)`, N vectors of width D. The network is a baseline for
models of such vectors over time.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.inputs import FeatureInput
from vidjax.models.base import Features, VideoNetwork, Widths, named
from vidjax.models.registry import Variant
from vidjax.nn.clips import ClipError
from vidjax.nn.init import normal_001


class FeatureLinear(VideoNetwork):
    """Linear layer on the mean of a video's vectors. Its tokens are the unchanged vectors; it has no maps.

    Args:
      num_classes: K, number of classes.
      width: D, width of a vector.
      dropout: dropout probability before the layer.
      dtype: unused, for the common signature; the layer computes in float32.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(self, num_classes: int, *, width: int, dropout: float = 0.0, dtype: Any = None, rngs: nnx.Rngs):
        del dtype
        self.widths = Widths(pooled=width, tokens=width)
        self.dropout = nnx.Dropout(dropout)
        self.head = nnx.Linear(width, num_classes, kernel_init=normal_001, rngs=rngs)

    def taken(self, inputs: Any) -> jax.Array:
        """Select the vectors `(B, N, D)`, given directly or as "features" of a mapping, and check them.

        Raises:
          ClipError: for other shapes, and for integers.
        """
        vectors = named(inputs, "features", type(self).__name__)
        shape, width = jnp.shape(vectors), self.widths.pooled
        if len(shape) != 3 or shape[-1] != width or not jnp.issubdtype(vectors.dtype, jnp.floating):
            raise ClipError(f"features {vectors.dtype} {shape}: expected floating-point (B, N, {width})")
        return vectors

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Map vectors `(B, N, D)`, or a mapping with them as "features", to their mean, and the vectors as tokens."""
        del rngs  # nothing random comes before the classifier
        return Features(video.mean(axis=1, dtype=jnp.float32), video, (video.shape[1], 1, 1))


VARIANTS = {
    "feature_linear": Variant(
        FeatureLinear,
        Spec("feature_linear", {"features": FeatureInput(steps=8, width=768)}, num_classes=400),
        {"width": 768},
    ),
    "feature_linear_tiny": Variant(
        FeatureLinear,
        Spec("feature_linear_tiny", {"features": FeatureInput(steps=4, width=16)}, num_classes=6),
        {"width": 16},
    ),
}
