"""Squeeze-and-excitation: channels weighted by a summary of the whole clip."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.init import kaiming_fan_out


class SqueezeExcitation(nnx.Module):
    """Scale every channel by a number in 0…1, computed by two dense layers from all channels' means.

    Both layers work in float32, on one vector per clip or per frame.

    Args:
      features: C, number of channels.
      reduced: units between the two layers.
      activation: activation function between the two layers.
      each_frame: whether every frame has means and weights of its own, instead of those of the clip.
      rngs: random streams for the initial weights.

    Source: Hu et al., Squeeze-and-Excitation Networks (1709.01507), the mean taken over time as well.
    """

    def __init__(
        self,
        features: int,
        reduced: int,
        *,
        activation: Callable[[jax.Array], jax.Array] = nnx.relu,
        each_frame: bool = False,
        rngs: nnx.Rngs,
    ):
        self.fc1 = nnx.Linear(features, reduced, kernel_init=_kernel, rngs=rngs)
        self.fc2 = nnx.Linear(reduced, features, kernel_init=_kernel, rngs=rngs)
        self.activation, self.each_frame = activation, each_frame

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, H, W, C) to (B, T, H, W, C)."""
        mean = x.mean(axis=(2, 3) if self.each_frame else (1, 2, 3), keepdims=True, dtype=jnp.float32)
        weight = jax.nn.sigmoid(self.fc2(self.activation(self.fc1(mean))))
        return x * weight.astype(x.dtype)


def _kernel(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    # The reference initialises 1×1×1 convolutions here.
    return kaiming_fan_out(key, (1, 1, 1, *shape), dtype)[0, 0, 0]
