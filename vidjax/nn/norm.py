"""Normalisation layers."""

import jax
import jax.numpy as jnp
from flax import nnx


class BatchNorm(nnx.BatchNorm):
    """Batch normalisation whose statistics and arithmetic are float32, whatever the dtype of its input and output.

    Flax's own layer rounds the running statistics to the compute dtype.

    Args:
      features: channels, the last axis of the input.
      momentum: share of the old running statistics that each training step keeps (PyTorch: 1 - momentum).
      epsilon: added to the variance.
      zero_init: start with scale 0, so that a residual branch that ends here starts as nothing (1706.02677, 5.1).
    """

    def __init__(
        self, features: int, *, momentum: float = 0.9, epsilon: float = 1e-5, zero_init: bool = False, rngs: nnx.Rngs
    ):
        scale_init = nnx.initializers.zeros_init() if zero_init else nnx.initializers.ones_init()
        super().__init__(
            features, momentum=momentum, epsilon=epsilon, dtype=jnp.float32, scale_init=scale_init, rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """(…, C) → (…, C), of the same dtype; in training mode the running statistics move."""
        return super().__call__(x).astype(x.dtype)
