"""Formulations of a space-time convolution, all with the same result.

Each takes clips `x` (B, T, H, W, I), a kernel (kt, kh, kw, I / groups, O), strides and (low, high) zero padding of T,
H, W, and the number of groups, and returns (B, T', H', W', O). `vidjax.nn.conv` lists what each can express, and where
it is used.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
from jax import lax

from vidjax.nn.grids import Triple, triple_of

Pair = tuple[int, int]
Pads = tuple[Pair, Pair, Pair]  # (low, high) of T, H, W


def native(x: jax.Array, kernel: jax.Array, strides: Sequence[int], pads: Sequence[Pair], groups: int) -> jax.Array:
    """XLA's convolution; also of pictures (N, H, W, I), with two strides, paddings and kernel sizes."""
    # Zeros beyond the reach of taps on the picture are padded by hand: XLA on CPU gets the gradient wrong with them.
    inside = [(min(low, k - 1), min(high, k - 1)) for k, (low, high) in zip(kernel.shape, pads, strict=False)]
    x = padded(x, [(pad[0] - reached[0], pad[1] - reached[1]) for pad, reached in zip(pads, inside, strict=True)])
    pads = inside
    axes = {2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}[x.ndim - 2]
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=axes, feature_group_count=groups)


def pointwise(x: jax.Array, kernel: jax.Array, strides: Triple, pads: Pads, groups: int) -> jax.Array:
    """Matrix product over the channels."""
    del groups
    st, sh, sw = strides
    return padded(x, pads)[:, ::st, ::sh, ::sw] @ kernel[0, 0, 0]


def fold(x: jax.Array, kernel: jax.Array, strides: Triple, pads: Pads, groups: int) -> jax.Array:
    """2D convolution with time folded into the batch."""
    x = padded(x, (pads[0], (0, 0), (0, 0)))[:, :: strides[0]]
    y = native(x.reshape(-1, *x.shape[2:]), kernel[0], strides[1:], pads[1:], groups)
    return y.reshape(*x.shape[:2], *y.shape[1:])


def temporal(x: jax.Array, kernel: jax.Array, strides: Triple, pads: Pads, groups: int) -> jax.Array:
    """2D convolution over T × (H·W)."""
    st, sh, sw = strides
    x = padded(x, ((0, 0), *pads[1:]))[:, :, ::sh, ::sw]
    batch, frames, height, width, features = x.shape
    y = native(x.reshape(batch, frames, height * width, features), kernel[:, 0], (st, 1), (pads[0], (0, 0)), groups)
    return y.reshape(batch, -1, height, width, y.shape[-1])


def taps(
    x: jax.Array, kernel: jax.Array, strides: Triple, pads: Pads, groups: int, spatial: Callable[..., jax.Array] = fold
) -> jax.Array:
    """Sum over the temporal taps of `spatial` convolutions."""
    x = padded(x, (pads[0], (0, 0), (0, 0)))
    st = strides[0]
    frames = out_size(x.shape[1], kernel.shape[0], st)
    return _sum(
        spatial(
            x[:, tap : tap + (frames - 1) * st + 1 : st],
            kernel[tap : tap + 1],
            (1, *strides[1:]),
            ((0, 0), *pads[1:]),
            groups,
        )
        for tap in range(kernel.shape[0])
    )


def stack(x: jax.Array, kernel: jax.Array, strides: Triple, pads: Pads, groups: int) -> jax.Array:
    """One folded 2D convolution of frames with their neighbours in time as further channels."""
    kt, kh, kw, inputs, outputs = kernel.shape
    x = padded(x, (pads[0], (0, 0), (0, 0)))
    frames = out_size(x.shape[1], kt, strides[0])
    seen = [x[:, tap : tap + (frames - 1) * strides[0] + 1 : strides[0]] for tap in range(kt)]
    joint = kernel.transpose(1, 2, 0, 3, 4).reshape(1, kh, kw, kt * inputs, outputs)
    return fold(jnp.concatenate(seen, axis=-1), joint, (1, *strides[1:]), ((0, 0), *pads[1:]), groups)


def blocks(x: jax.Array, kernel: jax.Array, strides: Triple, pads: Pads, groups: int) -> jax.Array:
    """Like `stack`, of stride 1 in W: as many pixels side by side as the stride are channels of one place."""
    kt, kh, kw, inputs, outputs = kernel.shape
    side, (left, right) = strides[2], pads[2]
    wide = -(-kw // side)  # of the kernel, in places
    columns = out_size(x.shape[3] + left + right, kw, side) + wide - 1
    beside = columns * side - x.shape[3] - left
    x = padded(x, ((0, 0), (0, 0), (left, max(beside, 0))))[:, :, :, : columns * side]
    x = x.reshape(*x.shape[:3], columns, side * inputs)
    whole = jnp.pad(kernel, ((0, 0), (0, 0), (0, wide * side - kw), (0, 0), (0, 0)))
    whole = whole.reshape(kt, kh, wide, side * inputs, outputs)
    return stack(x, whole, (*strides[:2], 1), (*pads[:2], (0, 0)), groups)


def row(x: jax.Array, kernel: jax.Array, strides: Triple, pads: Pads, groups: int) -> jax.Array:
    """Sum over the temporal taps of 2D convolutions of clips with all frames in one long row."""
    return taps(x, kernel, strides, pads, groups, spatial=_frames_in_a_row)


def together(x: jax.Array, kernel: jax.Array, strides: Triple, pads: Pads, groups: int) -> jax.Array:
    """All temporal taps as outputs of one 2D convolution of clips in a long row, summed along time afterwards."""
    kt, kh, kw, inputs, outputs = kernel.shape
    side_by_side = kernel.transpose(1, 2, 3, 0, 4).reshape(1, kh, kw, inputs, kt * outputs)
    y = _frames_in_a_row(x, side_by_side, strides, ((0, 0), *pads[1:]), groups)
    y = padded(y, (pads[0], (0, 0), (0, 0)))
    frames = y.shape[1] - kt + 1
    return _sum(y[:, tap : tap + frames, ..., tap * outputs : (tap + 1) * outputs] for tap in range(kt))


def _frames_in_a_row(x: jax.Array, kernel: jax.Array, strides: Triple, pads: Pads, groups: int) -> jax.Array:
    batch, frames, height, width, features = x.shape
    kw, (_, sh, sw), (_, (top, bottom), (left, right)) = kernel.shape[2], strides, pads
    out_width = out_size(width + left + right, kw, sw)
    # Every frame's share of the row is a multiple of the stride, so that all frames meet the kernel in the same phase;
    # the zeros between two frames are the right border of one and the left border of the next.
    share = -(-max(width + max(left, right), out_width * sw) // sw) * sw
    x = jnp.pad(x.swapaxes(1, 2), ((0, 0), (top, bottom), (0, 0), (0, share - width), (0, 0)))
    x = x.reshape(batch, top + height + bottom, frames * share, features)
    y = native(x, kernel[0], (sh, sw), ((0, 0), (left, kw - 1 - left)), groups)
    return y.reshape(*y.shape[:2], frames, share // sw, -1)[:, :, :, :out_width].swapaxes(1, 2)


def winograd(x: jax.Array, kernel: jax.Array, strides: Triple, pads: Pads, groups: int) -> jax.Array:
    """Two output lines from four products instead of six: F(2, 3) along H (Lavin & Gray, 1509.09308)."""
    top, bottom = pads[1]
    height = x.shape[2] + top + bottom - 2
    pairs = -(-height // 2)
    x = padded(x, ((0, 0), (top, 2 * pairs + 2 - x.shape[2] - top), (0, 0)))
    g = [kernel[:, line : line + 1] for line in range(3)]
    # A pair of output lines needs four input lines; the letters are the paper's.
    d = [x[:, :, line : line + 2 * pairs : 2] for line in range(4)]
    lines = (d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3])
    kernels = (g[0], (g[0] + g[1] + g[2]) / 2, (g[0] - g[1] + g[2]) / 2, g[2])
    m = [row(d, g, strides, (pads[0], (0, 0), pads[2]), groups) for d, g in zip(lines, kernels, strict=True)]
    y = jnp.stack([m[0] + m[1] + m[2], m[1] - m[2] - m[3]], axis=3)
    return y.reshape(*y.shape[:2], 2 * pairs, *y.shape[4:])[:, :, :height]


def patches(x: jax.Array, kernel: jax.Array, strides: Triple, pads: Pads, groups: int) -> jax.Array:
    """Matrix product over every output's gathered neighbourhood."""
    del groups
    gathered = jnp.concatenate([x for _, x in _windows(x, kernel.shape, strides, pads)], axis=-1)
    # Flattened by hand: XLA transposes the operands of a product over several axes.
    y = gathered.reshape(-1, gathered.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
    return y.reshape(*gathered.shape[:-1], -1)


def shift(x: jax.Array, kernel: jax.Array, strides: Triple, pads: Pads, groups: int) -> jax.Array:
    """Sum over all taps of shifted products, channel by channel."""
    del groups
    return _sum(x * kernel[*tap, 0, None, None, None, None, :] for tap, x in _windows(x, kernel.shape, strides, pads))


def _windows(
    x: jax.Array, kernel_shape: Sequence[int], strides: Triple, pads: Pads
) -> Iterator[tuple[Triple, jax.Array]]:
    """`(tap, its inputs)` for every tap of the kernel, (B, T', H', W', I)."""
    x = padded(x, pads)
    sizes = [out_size(n, k, s) for n, k, s in zip(x.shape[1:4], kernel_shape[:3], strides, strict=True)]
    for tap in itertools.product(*map(range, kernel_shape[:3])):
        window = (slice(k, k + (n - 1) * s + 1, s) for k, n, s in zip(tap, sizes, strides, strict=True))
        yield triple_of(tap), x[:, *window]


def _sum(taps: Iterable[jax.Array]) -> jax.Array:
    """Sum of one array or more."""
    return cast(jax.Array, sum(taps))


def padded(x: jax.Array, pads: Sequence[Pair], mode: str = "constant") -> jax.Array:
    """Pad T, H, W of `x` as `jnp.pad` does in `mode`."""
    if not any(map(any, pads)):
        return x
    if mode == "edge":
        for axis, (low, high) in enumerate(pads, start=1):
            x = _with_edges(axis, low, high, x) if low or high else x
        return x
    return jnp.pad(x, ((0, 0), *pads, (0, 0)), mode=mode)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _with_edges(axis: int, low: int, high: int, x: jax.Array) -> jax.Array:
    """Repeat the first slice along an axis `low` times before it, and the last one `high` times after it.

    The gradient is put together from slices. JAX's own adds up padded arrays, with which XLA fuses what comes before on
    CPUs: every sum of taps is then computed several times, and asks for the borders.
    """
    # `jnp.pad` would also join parts of size 0, which not every runtime knows.
    first, last = (lax.slice_in_dim(x, at, at + 1, axis=axis) for at in (0, x.shape[axis] - 1))
    return jnp.concatenate([first] * low + [x] + [last] * high, axis=axis)


def _edges_forward(axis: int, low: int, high: int, x: jax.Array) -> tuple[jax.Array, None]:
    return _with_edges(axis, low, high, x), None


def _edges_backward(axis: int, low: int, high: int, _: None, g: jax.Array) -> tuple[jax.Array]:
    size = g.shape[axis] - low - high
    if size == 1:
        return (g.sum(axis=axis, keepdims=True),)
    parts = [
        lax.slice_in_dim(g, 0, low + 1, axis=axis).sum(axis=axis, keepdims=True),
        lax.slice_in_dim(g, low + 1, low + size - 1, axis=axis),
        lax.slice_in_dim(g, low + size - 1, g.shape[axis], axis=axis).sum(axis=axis, keepdims=True),
    ]
    return (jnp.concatenate([part for part in parts if part.shape[axis]], axis=axis),)


_with_edges.defvjp(_edges_forward, _edges_backward)


def out_size(size: int, kernel: int, stride: int) -> int:
    """Outputs along an axis of `size`, padding included."""
    return (size - kernel) // stride + 1


FORMULATIONS: dict[str, Callable[..., jax.Array]] = {
    "native": native,
    "pointwise": pointwise,
    "fold": fold,
    "temporal": temporal,
    "taps": taps,
    "stack": stack,
    "blocks": blocks,
    "row": row,
    "together": together,
    "winograd": winograd,
    "patches": patches,
    "shift": shift,
}
