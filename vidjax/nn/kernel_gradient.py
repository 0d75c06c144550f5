"""Gradient of a space-time convolution's kernel as matrix products, for CPUs.

XLA writes it as a convolution with a window as large as the picture, which its CPU library does not support. For each
tap it is a product of two matrices: the tap's inputs, positions × channels, and the gradient of the outputs. One tap at
a time, these are too narrow to keep a processor busy. So the taps are split between the two matrices: inputs get
columns of neighbouring positions, gradients columns of the lines above; all pairs of columns are the taps wanted. Frame
by frame, the widened matrices stay in the cache.

With few channels, such as those of pictures, columns are assembled as rows, channel by channel: this copies whole
lines instead of a few numbers at each position.

Of a depthwise kernel each tap is a sum over all positions, channel by channel. XLA writes it as a reduction, whose
inner loop goes over the positions and uses no vector instructions. Line by line, added to a line of sums for each tap,
the inner loop goes over columns and channels, which lie side by side.
"""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from vidjax.nn.formulations import Pads, padded
from vidjax.nn.grids import Triple

# Outputs with fewer channels than this are widened in time, not in height: their inputs are wide enough. Inputs with
# no more channels than this are read line by line.
_FEW = 16


def kernel_gradient(x: jax.Array, dy: jax.Array, kernel_shape: Sequence[int], strides: Triple, pads: Pads) -> jax.Array:
    """Gradient of `sum(conv3d(x, kernel) * dy)` with respect to the kernel, one group.

    Args:
      x: input, (B, T, H, W, I).
      dy: gradient of the convolution's result, (B, T', H', W', O).
      kernel_shape: shape (kt, kh, kw, I, O).
      strides: strides along T, H, W.
      pads: zero padding, (low, high) of T, H, W.

    Returns:
      Array of `kernel_shape`, float32 or wider.
    """
    kt, kh, kw, inputs, outputs = kernel_shape
    st, sh, sw = strides
    batch, frames, height, width = dy.shape[:4]
    x = padded(x, pads)
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    if kt == kh == kw == 1:
        return _product(x[:, ::st, ::sh, ::sw], dy, dtype).reshape(*kernel_shape)
    by_lines = kw > 1 and inputs <= _FEW
    # The matrix that carries the taps of an axis: where the convolution strides, only that of the input can.
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

    # One sum per clip: clips on several devices need no exchange before the end.
    zeros = jnp.zeros((batch, math.prod(seen_taps) * inputs, math.prod(answer_taps) * outputs), dtype)
    subscripts = "bin,bno->bio" if by_lines else "bni,bno->bio"

    def add(total: jax.Array, frame: jax.Array) -> tuple[jax.Array, None]:
        product = jnp.einsum(subscripts, seen(frame), answers(frame), preferred_element_type=dtype)
        return total + product, None

    total, _ = lax.scan(add, zeros, jnp.arange(steps))
    total = total.sum(axis=0).reshape(*seen_taps, inputs, *answer_taps, outputs)
    # One of each axis's two sizes is 1: (t, h, w, I, t, h, w, O) → (t, t, h, h, w, w, I, O).
    return total.transpose(0, 4, 1, 5, 2, 6, 3, 7).reshape(*kernel_shape)


def depthwise_kernel_gradient(
    x: jax.Array, dy: jax.Array, kernel_shape: Sequence[int], strides: Triple, pads: Pads
) -> jax.Array:
    """Gradient of `sum(conv3d(x, kernel, groups=C) * dy)` with respect to the kernel of a depthwise convolution.

    Args:
      x: input, (B, T, H, W, C).
      dy: gradient of the convolution's result, (B, T', H', W', C).
      kernel_shape: shape (kt, kh, kw, 1, C).
      strides: strides along T, H, W.
      pads: zero padding, (low, high) of T, H, W.

    Returns:
      Array of `kernel_shape`, float32 or wider.
    """
    kt, kh, kw, _, channels = kernel_shape
    st, sh, sw = strides
    batch, frames, height, width = dy.shape[:4]
    x = padded(x, pads)
    dtype = jnp.promote_types(x.dtype, jnp.float32)

    def add(sums: list[jax.Array], line: jax.Array) -> tuple[list[jax.Array], None]:
        clip, frame, row = line // (frames * height), line // height % frames, line % height
        seen = lax.dynamic_slice(x, (clip, frame * st, row * sh, 0, 0), (1, kt, kh, *x.shape[3:]))[0].astype(dtype)
        answer = lax.dynamic_slice(dy, (clip, frame, row, 0, 0), (1, 1, 1, *dy.shape[3:]))[0, 0, 0].astype(dtype)
        taps = itertools.product(range(kt), range(kh), range(kw))
        columns = (seen[t, h, w : w + (width - 1) * sw + 1 : sw] for t, h, w in taps)
        return [total + column * answer for total, column in zip(sums, columns, strict=True)], None

    zeros = [jnp.zeros((width, channels), dtype)] * (kt * kh * kw)
    sums, _ = lax.scan(add, zeros, jnp.arange(batch * frames * height))
    return jnp.stack(sums).sum(axis=1).reshape(*kernel_shape)


def _lines(x: jax.Array, stride: int) -> jax.Array:
    """(B, T, H, W, I) → (B, T, stride, I, H, ⌈W / stride⌉): pixel w is in line w % stride."""
    x = padded(x, ((0, 0), (0, 0), (0, -x.shape[3] % stride)))
    return x.reshape(*x.shape[:3], -1, stride, x.shape[4]).transpose(0, 1, 4, 5, 2, 3)


def _product(x: jax.Array, dy: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Sum over all positions, (I, O)."""
    # Long clips get a product each, summed afterwards: one product with so tall a contraction runs on one core.
    parts = dy.shape[0] if math.prod(dy.shape[1:4]) >= 2048 else 1
    # Flattened by hand: XLA would transpose both operands for a contraction over several axes.
    flat = [a.reshape(parts, -1, a.shape[-1]) for a in (x, dy)]
    return jnp.einsum("bni,bno->bio", *flat, preferred_element_type=dtype).sum(axis=0)
