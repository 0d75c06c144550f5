"""Convolutions whose kernel reads every d-th row and column, in any of the formulations of `vidjax.nn.conv`.

A map is split into d² maps of every d-th row and column. A dilated convolution of the whole is an ordinary one of each.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.conv import Conv3D, triple
from vidjax.nn.packed import columns_in, pack, unpack


class DilatedConv3D(Conv3D):
    """Space-time convolution of stride 1, dilated over rows and columns, that keeps the size of its input.

    Args:
      in_features: I, channels of the input.
      out_features: O, channels of the output.
      kernel_size: size of the kernel, odd, (kt, kh, kw), or one int for all three.
      dilation: d, rows and columns from one tap to the next.
      dtype: dtype of the computation; None: the input's dtype.
      rngs: random streams for the initial kernel.
      **kwargs: further arguments of `Conv3D`, other than strides and padding.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        dilation: int,
        *,
        dtype: Any = None,
        rngs: nnx.Rngs,
        **kwargs: Any,
    ):
        half = tuple(size // 2 for size in triple(kernel_size, "kernel_size"))
        super().__init__(in_features, out_features, kernel_size, 1, half, dtype=dtype, rngs=rngs, **kwargs)
        self.dilation = dilation
        self.in_features = in_features

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, H, W, I) to (B, T, H, W, O).

        Raises:
          ClipError: for an input that is not floating-point.
        """
        columns, step = columns_in(x, self.in_features), self.dilation
        x = unpack(x, self.in_features)
        batch, frames, height, width, _ = x.shape
        x = jnp.pad(x, ((0, 0), (0, 0), (0, -height % step), (0, -width % step), (0, 0)))
        tall, wide = x.shape[2] // step, x.shape[3] // step
        x = x.reshape(batch, frames, tall, step, wide, step, -1).transpose(0, 3, 5, 1, 2, 4, 6)
        y = super().__call__(x.reshape(-1, frames, tall, wide, x.shape[-1]))
        y = y.reshape(batch, step, step, frames, tall, wide, -1).transpose(0, 3, 4, 1, 5, 2, 6)
        y = y.reshape(batch, frames, tall * step, wide * step, -1)[:, :, :height, :width]
        return pack(y, columns)
