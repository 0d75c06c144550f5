"""Sum of a convolution over time and one over frequency, for spectrograms."""

from typing import Any

import jax
from flax import nnx

from vidjax.nn.conv import Conv3D
from vidjax.nn.grids import Triple
from vidjax.nn.norm import BatchNorm


class CrossConv(nnx.Module):
    """Sum of a convolution over time and one over frequency, instead of one over both.

    A spectrogram is `(B, T, 1, M, C)`, M frequencies along the width. Source: the acoustic blocks of Kazakos et al. and
    of AVSlowFast (arXiv 2001.08740, section 3.1).

    Args:
      in_features: C, channels of the input.
      out_features: channels of the output.
      kernel_size: extents (kt, 1, kf): the first convolution's is (kt, 1, 1), the second's (1, 1, kf).
      strides: strides of both along T, H, W.
      padding: padding along T, H, W, each convolution's along its own axis.
      activates: whether each convolution has a norm and a ReLU of its own before the sum.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams for the initial weights.
      **kwargs: further arguments of `Conv3D`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Triple,
        strides: Triple = (1, 1, 1),
        padding: Triple = (0, 0, 0),
        *,
        activates: bool = False,
        dtype: Any = None,
        rngs: nnx.Rngs,
        **kwargs: Any,
    ):
        (kt, _, kf), (pt, _, pf) = kernel_size, padding
        layer: dict[str, Any] = {"dtype": dtype, "rngs": rngs, **kwargs}
        self.time = Conv3D(in_features, out_features, (kt, 1, 1), strides, (pt, 0, 0), **layer)
        self.frequency = Conv3D(in_features, out_features, (1, 1, kf), strides, (0, 0, pf), **layer)
        self.activates = activates
        self.time_norm = BatchNorm(out_features, rngs=rngs) if activates else None
        self.frequency_norm = BatchNorm(out_features, rngs=rngs) if activates else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, 1, M, in) to (B, T', 1, M', out)."""
        time, frequency = self.time(x), self.frequency(x)
        if self.time_norm is not None and self.frequency_norm is not None:
            time, frequency = nnx.relu(self.time_norm(time)), nnx.relu(self.frequency_norm(frequency))
        return time + frequency
