"""The gradient of a space-time convolution's kernel as matrix products, for CPUs.

XLA writes it as a convolution whose window is as large as the picture, which its CPU library does not take. It is a
product of two matrices for each tap: what the tap saw, positions × channels, and the gradient of the answers. One tap
at a time, these are too narrow for a processor to be busy with. So the taps are shared out between the two matrices:
beside what a position sees stand what its neighbours see, and beside a gradient those of the lines above; all pairs of
columns are the taps wanted. Frame by frame, the widened matrices stay in the cache.

Of few channels, such as those of pictures, the columns are put together as rows, channel by channel: whole lines are
copied then, where a few numbers at each position would be.
"""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from vidjax.nn.formulations import Pads, padded
from vidjax.nn.grids import Triple

# Answers with fewer channels than this are widened in time, and not in height: what they see is wide enough. What has
# no more than these is seen line by line.
_FEW = 16


def kernel_gradient(x: jax.Array, dy: jax.Array, kernel_shape: Sequence[int], strides: Triple, pads: Pads) -> jax.Array:
    """Gradient of `sum(conv3d(x, kernel) * dy)` with respect to the kernel, one group.

    Args:
      x: input, (B, T, H, W, I).
      dy: (B, T', H', W', O), the gradient of the convolution's result.
      kernel_shape: (kt, kh, kw, I, O).
      strides: strides along T, H, W.
      pads: zeros, (low, high) of T, H, W.

    Returns:
      `kernel_shape`, float32 or wider.
    """
    kt, kh, kw, inputs, outputs = kernel_shape
    st, sh, sw = strides
    batch, frames, height, width = dy.shape[:4]
    x = padded(x, pads)
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    if kt == kh == kw == 1:
        return _product(x[:, ::st, ::sh, ::sw], dy, dtype).reshape(*kernel_shape)
    by_lines = kw > 1 and inputs <= _FEW
    # Which matrix carries the taps of an axis: where the convolution strides, it can only be that of the input.
    time_by_answers = st == 1 and kt > 1 and outputs < _FEW
    height_by_answers = sh == 1 and kh > 1 and outputs >= _FEW and not by_lines
    seen_taps = (1 if time_by_answers else kt, 1 if height_by_answers else kh, kw)
    answer_taps = (kt if time_by_answers else 1, kh if height_by_answers else 1, 1)
    steps, lines = frames, height
    if time_by_answers:
        dy = padded(dy, ((kt - 1, kt - 1), (0, 0), (0, 0)))
        steps += kt - 1
    if height_by_answers:
        lines += kh - 1
    if by_lines:
        x = _lines(x, sw)

    def seen(frame: jax.Array) -> jax.Array:
        window = lax.dynamic_slice_in_dim(x, frame * st, seen_taps[0], axis=1)

        def column(t: int, h: int, w: int) -> jax.Array:
            rows = slice(h, h + (lines - 1) * sh + 1, sh)
            if by_lines:
                return window[:, t, w % sw, :, rows, w // sw : w // sw + width]
            return window[:, t, rows, w : w + (width - 1) * sw + 1 : sw]

        columns = [column(*taps) for taps in itertools.product(*map(range, seen_taps))]
        if by_lines:
            return jnp.concatenate(columns, axis=1).reshape(batch, -1, lines * width)
        return jnp.concatenate(columns, axis=-1).reshape(batch, lines * width, -1)

    def answers(frame: jax.Array) -> jax.Array:
        window = lax.dynamic_slice_in_dim(dy, frame, answer_taps[0], axis=1)
        columns = [
            jnp.pad(window[:, answer_taps[0] - 1 - t], ((0, 0), (h, lines - height - h), (0, 0), (0, 0)))
            for t, h, _ in itertools.product(*map(range, answer_taps))
        ]
        return jnp.concatenate(columns, axis=-1).reshape(batch, lines * width, -1)

    # A sum for each clip: when the clips are on several devices, they need not meet before the end.
    zeros = jnp.zeros((batch, math.prod(seen_taps) * inputs, math.prod(answer_taps) * outputs), dtype)
    subscripts = "bin,bno->bio" if by_lines else "bni,bno->bio"

    def add(total: jax.Array, frame: jax.Array) -> tuple[jax.Array, None]:
        product = jnp.einsum(subscripts, seen(frame), answers(frame), preferred_element_type=dtype)
        return total + product, None

    total, _ = lax.scan(add, zeros, jnp.arange(steps))
    total = total.sum(axis=0).reshape(*seen_taps, inputs, *answer_taps, outputs)
    # Of each axis' two taps one is 1: (t, h, w, I, t, h, w, O) → (t, t, h, h, w, w, I, O).
    return total.transpose(0, 4, 1, 5, 2, 6, 3, 7).reshape(*kernel_shape)


def _lines(x: jax.Array, stride: int) -> jax.Array:
    """(B, T, H, W, I) → (B, T, stride, I, H, ⌈W / stride⌉): pixel w stands in line w % stride."""
    x = padded(x, ((0, 0), (0, 0), (0, -x.shape[3] % stride)))
    return x.reshape(*x.shape[:3], -1, stride, x.shape[4]).transpose(0, 1, 4, 5, 2, 3)


def _product(x: jax.Array, dy: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """(I, O), the sum over all positions."""
    # Long clips are worth a product each, summed afterwards: one product with so tall a contraction runs on one core.
    parts = dy.shape[0] if math.prod(dy.shape[1:4]) >= 2048 else 1
    # Flattened by hand: XLA would transpose both operands for a contraction over several axes.
    flat = [a.reshape(parts, -1, a.shape[-1]) for a in (x, dy)]
    return jnp.einsum("bni,bno->bio", *flat, preferred_element_type=dtype).sum(axis=0)
