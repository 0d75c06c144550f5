"""Factorised space-time convolution: first space, then time.

Paper: Tran et al., A Closer Look at Spatiotemporal Convolutions for Action Recognition (1711.11248), section 3.5.
Reference code: torchvision `models/video/resnet.py`; mmaction2 `models/common/conv2plus1d.py`.
"""

from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx

from vidjax.nn.conv import Conv3D, triple
from vidjax.nn.grids import Triple
from vidjax.nn.norm import BatchNorm


def mid_width(in_features: int, out_features: int, kernel_size: int | Sequence[int] = 3) -> int:
    """Channels between a spatial and a temporal kernel with which both have as many parameters as the full kernel.

    The most that does not exceed that number, at least 1: the 1×kh×kw and the kt×1×1 kernel cost
    `kh·kw·I + kt·O` parameters per channel between them, the full one has `kt·kh·kw·I·O`.

    Args:
      in_features: I, channels of the input.
      out_features: O, channels of the output.
      kernel_size: size (kt, kh, kw) of the full convolution, or one int.
    """
    kt, kh, kw = triple(kernel_size, "kernel_size")
    return max(1, kt * kh * kw * in_features * out_features // (kh * kw * in_features + kt * out_features))


class Conv2Plus1D(nnx.Module):
    """R(2+1)D's convolution: 1×kh×kw in space, norm, ReLU, then kt×1×1 in time.

    Its output has the shape of the full convolution's for any strides: space is strided in the first part, time
    in the second. Padding is half the kernel on both sides.

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      kernel_size: size (kt, kh, kw) of the full convolution, or one int for all.
      strides: strides along T, H, W, or one int for all.
      mid_features: channels between the two parts; None: `mid_width`, which keeps the parameter count.
      epsilon: constant added to the norm's variance.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Triple = 3,
        strides: int | Triple = 1,
        *,
        mid_features: int | None = None,
        epsilon: float = 1e-5,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        (kt, kh, kw), (st, sh, sw) = triple(kernel_size, "kernel_size"), triple(strides, "strides")
        if mid_features is None:
            mid_features = mid_width(in_features, out_features, (kt, kh, kw))
        self.spatial = Conv3D(
            in_features, mid_features, (1, kh, kw), (1, sh, sw), (0, kh // 2, kw // 2), dtype=dtype, rngs=rngs
        )
        self.norm = BatchNorm(mid_features, epsilon=epsilon, rngs=rngs)
        self.temporal = Conv3D(
            mid_features, out_features, (kt, 1, 1), (st, 1, 1), (kt // 2, 0, 0), dtype=dtype, rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, H, W, in) to (B, T', H', W', out)."""
        return self.temporal(nnx.relu(self.norm(self.spatial(x))))
