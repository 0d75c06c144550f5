"""Adapters: small trained layers inside a frozen image Transformer, which let it see time.

- `SpaceTimeAdapter`: down, a depthwise convolution over frames, up, added to the patches. Pan et al., ST-Adapter
  (2206.13559); code: linziyi96/st-adapter, `models_adapter.py`.
- `TemporalAdapter`: down, GELU, a convolution over all steps of a long clip, up. Liu et al., AdaTAD (2311.17241); code:
  sming256/OpenTAD, `opentad/models/backbones/vit_adapter.py`.
- `Bottleneck`: down, GELU, up. Yang et al., AIM (2302.03024), which puts three into every block and applies the block's
  own attention once more, over time; code: taoyang1122/adapt-image-models, `mmaction/models/backbones/vit_clip.py`.

All start as no change of the image network.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.conv import Conv3D
from vidjax.nn.grids import Grid
from vidjax.nn.init import normal_002, scaled_normal, uniform_fan_in
from vidjax.nn.mlp import gelu
from vidjax.nn.remat import layer_result


class SpaceTimeAdapter(nnx.Module):
    """Adapter with a depthwise convolution over the frames' patches; tokens before the patches stay as they are.

    Args:
      dim: D, features of a token.
      width: channels of the convolution.
      kernel_size: extent (kt, kh, kw) of the convolution, odd.
      dtype: dtype of the computation; None: float32.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(self, dim: int, width: int, kernel_size: Grid = (3, 1, 1), *, dtype: Any = None, rngs: nnx.Rngs):
        layer = {"kernel_init": uniform_fan_in, "dtype": dtype, "rngs": rngs}
        self.fc1 = nnx.Linear(dim, width, **layer)
        self.conv = Conv3D(
            width,
            width,
            kernel_size,
            padding=tuple(k // 2 for k in kernel_size),
            feature_group_count=width,
            use_bias=True,
            kernel_init=nnx.initializers.zeros_init(),
            dtype=dtype,
            rngs=rngs,
        )
        self.fc2 = nnx.Linear(width, dim, **layer)

    def __call__(self, x: jax.Array, grid: Grid) -> jax.Array:
        """Map the frames' tokens `(B·T, N, D)`, N at least H·W of the grid `(T, H, W)`, to the same shape."""
        t, h, w = grid
        first = x.shape[1] - h * w
        y = layer_result(self.fc1(x[:, first:]))
        y = self.conv(y.reshape(-1, t, h, w, y.shape[-1]))
        y = layer_result(self.fc2(y.reshape(x.shape[0], h * w, -1)))
        return jnp.concatenate([x[:, :first], x[:, first:] + y], axis=1)


class TemporalAdapter(nnx.Module):
    """Adapter over the chunks of a long clip: down, a convolution over all their steps in time, up, times a factor.

    Args:
      dim: D, features of a token.
      width: features between.
      dtype: dtype of the computation; None: float32.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(self, dim: int, width: int, *, dtype: Any = None, rngs: nnx.Rngs):
        self.fc1 = nnx.Linear(dim, width, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.conv = Conv3D(
            width, width, (3, 1, 1), padding=(1, 0, 0), feature_group_count=width, use_bias=True,
            kernel_init=scaled_normal(math.sqrt(2 / 3)), dtype=dtype, rngs=rngs,
        )  # fmt: skip
        self.mix = nnx.Linear(width, width, kernel_init=scaled_normal(math.sqrt(2 / width)), dtype=dtype, rngs=rngs)
        self.fc2 = nnx.Linear(width, dim, kernel_init=nnx.initializers.zeros_init(), dtype=dtype, rngs=rngs)
        self.scale = nnx.Param(jnp.ones(1))

    def __call__(self, x: jax.Array, grid: Grid, chunks: int) -> jax.Array:
        """Map the chunks' tokens `(B·chunks, N, D)`, N those of the grid `(t, h, w)`, to the same shape."""
        t, h, w = grid
        y = gelu(layer_result(self.fc1(x)))
        steps = self.mix(self.conv(y.reshape(-1, chunks * t, h, w, y.shape[-1])))
        y = layer_result(self.fc2(y + steps.reshape(y.shape)))
        return x + y * self.scale[...].astype(y.dtype)[None, None]


class Bottleneck(nnx.Module):
    """Two dense layers with GELU between, `(…, D)` to `(…, D)`; the second starts at zero.

    Args:
      dim: D, features of a token.
      width: features between the layers.
      dtype: dtype of the computation; None: float32.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(self, dim: int, width: int, *, dtype: Any = None, rngs: nnx.Rngs):
        self.fc1 = nnx.Linear(dim, width, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.fc2 = nnx.Linear(width, dim, kernel_init=nnx.initializers.zeros_init(), dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `(…, D)` to the increment `(…, D)`."""
        return layer_result(self.fc2(gelu(layer_result(self.fc1(x)))))


def over_time(x: jax.Array, frames: int) -> jax.Array:
    """Tokens of frames `(B·T, N, D)` as sequences in time, one for each place: `(B·N, T, D)`."""
    batch, tokens, dim = x.shape[0] // frames, *x.shape[1:]
    return jnp.swapaxes(x.reshape(batch, frames, tokens, dim), 1, 2).reshape(batch * tokens, frames, dim)


def over_space(x: jax.Array, tokens: int) -> jax.Array:
    """Inverse of `over_time`: sequences in time `(B·N, T, D)` as tokens of frames `(B·T, N, D)`."""
    batch, frames, dim = x.shape[0] // tokens, *x.shape[1:]
    return jnp.swapaxes(x.reshape(batch, tokens, frames, dim), 1, 2).reshape(batch * frames, tokens, dim)
