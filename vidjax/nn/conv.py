"""Space-time convolution: one layer, one kernel layout, and the fastest formulation for each backend.

XLA's own 3D convolution is the best choice on TPU and the worst on CPU. Every kernel a video network uses can also be
written with 2D convolutions, matrix products or shifted multiply-adds, which agree with it to rounding; `choose` picks
one from the backend and the kernel's shape. Models are unaffected: kernels are always stored as D·H·W·I·O.
"""

import contextlib
from collections.abc import Generator, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.clips import need_floats
from vidjax.nn.formulations import FORMULATIONS, Pads, Pair, out_size, padded
from vidjax.nn.grids import Triple, triple_of
from vidjax.nn.init import kaiming_fan_out
from vidjax.nn.input_gradient import depthwise_input_gradient
from vidjax.nn.kernel_gradient import depthwise_kernel_gradient, kernel_gradient
from vidjax.nn.packed import columns_in, packed_kernel
from vidjax.nn.remat import layer_result
from vidjax.nn.target_backend import backend as traced_for

Padding = int | str | Sequence[int] | Sequence[Pair]

# Formulations, and the kernels (kt, kh, kw) that each can express:
#   native     XLA's 3D convolution: any
#   pointwise  matrix product over the channels: 1×1×1, one group
#   fold       time folded into the batch, 2D convolution: 1×kh×kw
#   temporal   2D convolution over T × (H·W): kt×1×1
#   taps       sum over the kt temporal taps of folded 2D convolutions: any
#   stack      one folded 2D convolution of frames with the kt frames of their taps as channels: any, one group
#   blocks     like stack, with s pixels side by side as channels of one place: any of stride s > 1 in W, one group
#   row        like taps, with a clip's frames side by side in one long row: any, one group
#   together   like row, all temporal taps in one convolution whose frames are summed afterwards: any of stride 1 in T,
#              one group
#   winograd   like row, two output lines from four products instead of six (Winograd's F(2, 3); Lavin & Gray,
#              1509.09308): kt×3×kw of stride 1 in H, one group, float32
#   patches    matrix product over every output's gathered neighbourhood: any, one group
#   shift      sum over all taps of shifted products: depthwise

# CPU: measured, forward and backward (tests/benchmarks/models.py), by the width of the output: XLA's CPU library splits
# a 2D convolution among cores by columns and output channels only, never by frames, so wide pictures are best put in a
# row and small ones gathered. TPU: the v5e compiler's estimates. GPU: read from training steps that XLA compiled for
# an H100, not measured:
#   - cuDNN gets 3D convolutions channels-first, with transposes all around; 2D ones stay channels-last.
#   - kt×kh×kw: `stack` needs as many calls of cuDNN as `native`. It writes least for a stem: I3D's, forward and
#     backward, 380 MiB, `native` 662, `taps` 1556, as its partial sums go through memory. In networks of 3×3×3 kernels,
#     `stack`, `native` and `taps` hold 2.6, 2.3 and 2.4 GiB (C3D, 8 clips) or 1.8, 1.1 and 1.7 (R3D-18, 8 clips), write
#     4.1, 3.9 and 5.2 GiB or 3.3, 2.4 and 4.4, and transpose 0.1, 1.2 and 0.5 GiB or 0.1, 0.8 and 0.5. So `stack` costs
#     memory, and pays if cuDNN reorders channels-first inputs once more, as NVIDIA says it does for tensor cores.
#   - 1×1×1: XLA fuses a product with the slices and pools around it, and may then find no tiling: always with a stride,
#     without one in I3D and SlowFast. It leaves a convolution (`fold`) alone; the whole step writes 4 % more (TSN) or
#     as much (I3D, R(2+1)D).
#   - depthwise: `shift` becomes plain fusions without temporaries, 52 MiB written, `native` 210 and `taps` 334.
# ONNX: 2D convolutions, for which runtimes on CPUs have fast kernels in int8; `native` for those that have 3D ones.
# The first row that fits and has an entry applies.
_TABLE = {
    #             cpu: up to 16, up to 31,    more         gpu          tpu       onnx
    "depthwise": ("shift",       "shift",     "shift",     "shift",     "native", "taps"),
    "grouped":   ("taps",        "taps",      "taps",      "taps",      "native", "taps"),
    "1x1x1":     ("pointwise",   "pointwise", "pointwise", "fold",      "native", "fold"),
    "kx1x1":     ("patches",     "temporal",  "temporal",  "temporal",  "native", "temporal"),
    "strided":   (None,          None,        None,        None,        None,     "blocks"),
    "stem":      (None,          None,        None,        None,        "taps",   None),
    "few":       ("patches",     "together",  "together",  None,        None,     None),
    "kx3xk":     ("patches",     "winograd",  "winograd",  None,        None,     None),
    "1xkxk":     ("patches",     "fold",      "row",       "fold",      "native", "fold"),
    "any":       ("patches",     "taps",      "row",       "stack",     "native", "stack"),
}  # fmt: skip

_forced: ContextVar[str | None] = ContextVar("conv_formulation", default=None)


@contextlib.contextmanager
def conv_formulation(name: str | None) -> Generator[None, None, None]:
    """Context in which convolutions that formulation `name` can express use it; others keep the table's choice.

    The choice is made when a function is traced: functions compiled by `jax.jit` before do not change. `"native"`
    is for compiling ahead of time for a TPU on another machine; None restores the table.

    Raises:
      ValueError: if there is no such formulation.
    """
    if name is not None and name not in FORMULATIONS:
        raise ValueError(f"there is no formulation {name!r}; choose from {', '.join(FORMULATIONS)}")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def choose(
    kernel_shape: Sequence[int],
    strides: Triple,
    width: int,
    groups: int = 1,
    dtype: Any = jnp.float32,
    backend: str | None = None,
) -> str:
    """Choose the formulation for a convolution.

    Args:
      kernel_shape: shape of the kernel, (kt, kh, kw, I / groups, O).
      strides: strides along T, H, W.
      width: width of the output, pixels.
      groups: number of channel groups, as for `conv3d`.
      dtype: dtype of the input.
      backend: "cpu", "gpu", "tpu" or "onnx"; None: the backend being traced for. Others use TPU's column, XLA's own
        convolution.
    """
    kt, kh, kw, _, out_features = kernel_shape
    # Conditions of the table's rows and the formulations.
    wide = jnp.dtype(dtype).itemsize >= 4  # lines are summed before the product: 16-bit floats are too coarse
    fits = {
        "depthwise": groups > 1 and kernel_shape[3] == 1 and out_features == groups,
        "grouped": groups > 1,
        "1x1x1": kt == kh == kw == groups == 1,
        "kx1x1": kh == kw == 1,
        # Pixels. For a native convolution of so few channels the TPU compiler puts the batch into the 128 lanes; taps
        # fold time into it. A stem takes 9.4 instead of 26.8 ms (I3D, 8 clips, v5e), the update 42 instead of 54.
        "stem": groups == 1 and kernel_shape[3] <= 8 and kh * kw > 1,
        # Runtimes on CPUs gather the places that a kernel sees one by one: with more channels, they are fewer.
        "strided": groups == 1 and kernel_shape[3] <= 8 and kh * kw > 1 and strides[2] > 1,
        # Too few outputs for an efficient product per tap.
        "few": kt > 1 and strides[0] == 1 and out_features <= 16,
        # With few channels, the sums cost more than they save.
        "kx3xk": kh == 3 and strides[1] == 1 and kernel_shape[3] >= 16 and wide,
        "1xkxk": kt == 1,
        "any": True,
    }
    fits |= {
        "native": True,
        "pointwise": fits["1x1x1"],
        "fold": fits["1xkxk"],
        "temporal": fits["kx1x1"],
        "taps": True,
        "stack": groups == 1,
        "blocks": groups == 1 and strides[2] > 1,
        "row": groups == 1,
        "together": groups == strides[0] == 1,
        "winograd": kh == 3 and strides[1] == groups == 1 and wide,
        "patches": groups == 1,
        "shift": fits["depthwise"],
    }
    forced = _forced.get()
    if forced is not None and fits[forced]:
        return forced
    backend = traced_for() if backend is None else backend
    if backend == "cpu":
        column = 0 if width <= 16 else 1 if width < 32 else 2
    else:
        column = 3 if backend in ("gpu", "cuda", "rocm") else 5 if backend == "onnx" else 4
    return next(name for row, names in _TABLE.items() if fits[row] and (name := names[column]))


def conv3d(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = 0,
    groups: int = 1,
) -> jax.Array:
    """Space-time convolution (cross-correlation, as in every framework), channels last.

    Args:
      x: input, (B, T, H, W, I).
      kernel: kernel of the convolution, (kt, kh, kw, I / groups, O).
      strides: strides along T, H, W.
      padding: zero padding: one int or three, on both sides; three pairs (low, high); or "SAME", TensorFlow's rule.
      groups: number of parts of the input and output channels, convolved separately.

    Returns:
      (B, T', H', W', O), of `x`'s dtype.

    Raises:
      ValueError: in the context `vidjax.nn.packed.packed_maps`, for groups, or for a kernel that does not fit.
    """
    kernel, strides, pads = packed_to(x, kernel, triple(strides, "strides"), padding, groups)
    width = out_size(x.shape[3] + sum(pads[2]), kernel.shape[2], strides[2])
    name = choose(kernel.shape, strides, width, groups, x.dtype)
    if name != "native" and (groups == 1 or name == "shift") and traced_for() == "cpu":
        return _with_own_gradient(name, strides, pads, x, kernel)
    return _traced_once(name, strides, pads, groups, x, kernel)


def packed_to(
    x: jax.Array, kernel: jax.Array, strides: Triple, padding: Padding, groups: int
) -> tuple[jax.Array, Triple, Pads]:
    """Kernel, strides and padding of `conv3d` as they are for its input, whose columns may be packed into channels.

    Raises:
      ValueError: for packed columns and groups, or for a kernel that does not fit.
    """
    pads = pads_of(padding, x.shape[1:4], kernel.shape[:3], strides)
    if (columns := columns_in(x, groups * kernel.shape[3])) == 1:
        return kernel, strides, pads
    if groups > 1:
        raise ValueError("a convolution with groups takes no packed maps")
    return packed_kernel(kernel, strides, pads, columns * x.shape[3], columns)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _traced_once(name: str, strides: Triple, pads: Pads, groups: int, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Run a formulation, traced once for all layers of the same shapes: some have many taps."""
    return FORMULATIONS[name](x, kernel, strides, pads, groups)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _with_own_gradient(name: str, strides: Triple, pads: Pads, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Run a formulation of one group, or of a depthwise kernel, with a gradient of the kernel that is not XLA's."""
    return _traced_once(name, strides, pads, 1, x, kernel)


def _forward(name: str, strides: Triple, pads: Pads, x: jax.Array, kernel: jax.Array):
    return _traced_once(name, strides, pads, 1, x, kernel), (x, kernel)


def _backward(name: str, strides: Triple, pads: Pads, saved: tuple[jax.Array, jax.Array], dy: jax.Array):
    return _gradients(name, strides, pads, *saved, dy)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _gradients(
    name: str, strides: Triple, pads: Pads, x: jax.Array, kernel: jax.Array, dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Gradients of the input and the kernel, traced once for all layers of the same shapes."""
    in_rows, depthwise = name in ("row", "together", "winograd"), name == "shift"
    if depthwise:
        dx = depthwise_input_gradient(dy, kernel, x.shape[1:4], strides, pads)
    elif in_rows and strides == (1, 1, 1) and _full(pads, kernel.shape):
        # The same convolution with the reversed kernel, which may have more outputs.
        name = "row" if name == "together" else name
        back = kernel[::-1, ::-1, ::-1].swapaxes(3, 4)
        rest = tuple((k - 1 - low, k - 1 - high) for k, (low, high) in zip(kernel.shape, pads, strict=False))
        dx = FORMULATIONS[name](dy, back, strides, rest, 1)
    else:
        plain = "taps" if in_rows else name
        (dx,) = jax.linear_transpose(lambda x: FORMULATIONS[plain](x, kernel, strides, pads, 1), x)(dy)
    if name == "patches":
        # It is one product already.
        (dk,) = jax.linear_transpose(lambda kernel: FORMULATIONS[name](x, kernel, strides, pads, 1), kernel)(dy)
    else:
        of_kernel = depthwise_kernel_gradient if depthwise else kernel_gradient
        dk = of_kernel(x, dy, kernel.shape, strides, pads).astype(kernel.dtype)
    return dx, dk


_with_own_gradient.defvjp(_forward, _backward)


def _full(pads: Pads, kernel_shape: Sequence[int]) -> bool:
    """Whether no padding is wider than the kernel reaches."""
    return all(max(pair) < k for pair, k in zip(pads, kernel_shape[:3], strict=True))


def triple(value: int | Sequence[int], name: str) -> Triple:
    """Convert one integer, or three for T, H, W, to a tuple of three.

    Raises:
      ValueError: for anything else; names the argument `name`.
    """
    values = (value,) * 3 if isinstance(value, int) else tuple(value)
    if len(values) != 3 or not all(isinstance(v, int) for v in values):
        raise ValueError(f"{name} = {value!r}: give one integer, or three for T, H, W")
    return triple_of(values)


def pads_of(padding: Padding, sizes: Sequence[int], kernel: Sequence[int], strides: Triple) -> Pads:
    """Convert any form of padding to three pairs (low, high)."""
    if padding == "SAME":
        totals = [max(0, (-(-n // s) - 1) * s + k - n) for n, k, s in zip(sizes, kernel, strides, strict=True)]
        return triple_of((total // 2, total - total // 2) for total in totals)
    if isinstance(padding, str):
        raise ValueError(f"padding = {padding!r}: give 'SAME', integers, or (low, high) pairs")
    if not isinstance(padding, int) and any(not isinstance(p, int) for p in padding):
        pads = tuple((int(low), int(high)) for low, high in cast(Sequence[Sequence[Any]], padding))
        if len(pads) != 3:
            raise ValueError(f"padding = {padding!r}: give three pairs, for T, H, W")
        return pads
    return triple_of((p, p) for p in triple(cast(int | Sequence[int], padding), "padding"))


class Conv3D(nnx.Module):
    """Space-time convolution layer.

    Args:
      in_features: I, channels of the input.
      out_features: O, channels of the output.
      kernel_size: size of the kernel, (kt, kh, kw), or one int for all three.
      strides: strides along T, H, W.
      padding: zero padding, as for `conv3d`; ints pad both sides, as in PyTorch.
      feature_group_count: number of channel groups; I for a depthwise convolution.
      use_bias: whether to add a bias per output channel.
      padding_mode: values of the padding: "zeros"; "replicate": border frames and pixels repeated; or
        "replicate_time": border frames repeated, zeros around the picture.
      dtype: dtype of the computation; None: the input's dtype. The kernel stays float32.
      kernel_init: initialiser of the kernel, called with key, shape and dtype.
      rngs: random streams for the initial kernel.

    Raises:
      ValueError: if the groups do not divide the channels, or for an unknown `padding_mode`.
    """

    convolve = staticmethod(conv3d)  # see `vidjax.training.quantised`

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: Padding = 0,
        *,
        feature_group_count: int = 1,
        use_bias: bool = False,
        padding_mode: str = "zeros",
        dtype: Any = None,
        kernel_init: nnx.Initializer = kaiming_fan_out,
        rngs: nnx.Rngs,
    ):
        if in_features % feature_group_count or out_features % feature_group_count:
            raise ValueError(
                f"feature_group_count = {feature_group_count} must divide in_features = {in_features} and "
                f"out_features = {out_features}"
            )
        if padding_mode not in ("zeros", "replicate", "replicate_time"):
            raise ValueError(f"padding_mode = {padding_mode!r}: must be 'zeros', 'replicate' or 'replicate_time'")
        kernel_shape = (*triple(kernel_size, "kernel_size"), in_features // feature_group_count, out_features)
        self.kernel = nnx.Param(kernel_init(rngs.params(), kernel_shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(out_features)) if use_bias else None
        self.strides = triple(strides, "strides")
        self.padding = padding
        self.feature_group_count = feature_group_count
        self.padding_mode = padding_mode
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, H, W, I) to (B, T', H', W', O).

        Raises:
          ClipError: for an input that is not floating-point.
        """
        need_floats(x)
        kernel = self.kernel[...]
        x = x if self.dtype is None else x.astype(self.dtype)
        padding = self.padding
        if self.padding_mode != "zeros":
            time, *space = pads_of(padding, x.shape[1:4], kernel.shape[:3], self.strides)
            outside = ((0, 0), (0, 0))
            x = padded(x, (time, *(space if self.padding_mode == "replicate" else outside)), mode="edge")
            padding = 0 if self.padding_mode == "replicate" else ((0, 0), *space)
        groups = self.feature_group_count
        y = self.convolve(x, kernel.astype(x.dtype), strides=self.strides, padding=padding, groups=groups)
        if self.bias is not None:
            bias = self.bias[...].astype(y.dtype)
            columns = y.shape[-1] // bias.size
            y = y + (jnp.tile(bias, columns) if columns > 1 else bias)[None, None, None, None]
        return layer_result(y)
