"""Gradient of a depthwise convolution's input, for CPUs.

It is a convolution of the outputs' gradient, with zeros between the numbers where the convolution strides, with the
reversed kernel. XLA's own transposition adds up padded arrays instead, and asks at every number of every tap whether it
lies in the border.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from vidjax.nn.formulations import Pads, shift
from vidjax.nn.grids import Triple


def depthwise_input_gradient(
    dy: jax.Array, kernel: jax.Array, sizes: Sequence[int], strides: Triple, pads: Pads
) -> jax.Array:
    """Gradient of `sum(conv3d(x, kernel, groups=C) * dy)` with respect to x.

    Args:
      dy: gradient of the convolution's result, (B, T', H', W', C).
      kernel: depthwise kernel, (kt, kh, kw, 1, C).
      sizes: (T, H, W) of x.
      strides: strides along T, H, W.
      pads: zero padding, (low, high) of T, H, W.

    Returns:
      (B, T, H, W, C).
    """
    around = []
    axes = zip(sizes, dy.shape[1:4], kernel.shape[:3], strides, pads, strict=True)
    for size, outputs, taps, stride, (low, _) in axes:
        first, dilated = taps - 1 - low, 1 + (outputs - 1) * stride
        around.append((first, size + taps - 1 - first - dilated, stride - 1))
    wide = lax.pad(dy, jnp.zeros((), dy.dtype), ((0, 0, 0), *around, (0, 0, 0)))
    return shift(wide, kernel[::-1, ::-1, ::-1], (1, 1, 1), ((0, 0),) * 3, dy.shape[-1])
