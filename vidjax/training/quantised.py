"""Quantised training: products whose operands are rounded to 8 bits, with gradients as if they were not rounded.

Each operand is scaled by its largest magnitude, an input per row and a kernel per output channel, and rounded; the
product adds up in 32 bits. The gradient takes the rounded operands' values and passes rounding by (straight-through,
1308.3432), in the dtype of the computation; for it, only the 8-bit operands are kept. Rounding and products are qwix's.

Layers know nothing of it but the functions that they multiply with, which `quantising` exchanges.
"""

import contextlib
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from vidjax.errors import UserError, install
from vidjax.nn.conv import Conv3D, Padding, packed_to, triple
from vidjax.nn.target_backend import backend

# Types of the rounded numbers, by the names that settings give them.
KINDS = {"int8": jnp.int8, "fp8": jnp.float8_e4m3fn}
_AXES = ("NDHWC", "DHWIO", "NDHWC")
_Product = Callable[[Any, Any], jax.Array]


@contextlib.contextmanager
def quantising(model: nnx.Module, kind: str) -> Generator[None, None, None]:
    """Context in which linear layers and convolutions of `model` multiply in 8 bits; states split off inside stay so.

    Products of attention's queries, keys and values stay as they are, and so do convolutions with groups. Convolutions
    over more than one place are rounded in int8 for TPUs and CPUs alone: other compilers have none in 8 bits.

    Args:
      model: network with float parameters.
      kind: "int8" or "fp8" (4 bits of exponent, 3 of fraction); "": nothing changes.

    Raises:
      UserError: if the package qwix is missing, or no layer multiplies in 8 bits.
    """
    layers = (
        [(layer, name) for _, layer in nnx.iter_modules(model) if (name := _multiplies(layer, kind))] if kind else []
    )
    if kind:
        _qwix()
        if not layers:
            raise UserError(f"no layer of this network multiplies in {kind}; leave train.quantize empty")
    before = [(layer, name, vars(layer).get(name)) for layer, name in layers]
    try:
        for layer, name in layers:
            setattr(layer, name, (_LINEAR if name == "dot_general" else _CONVOLUTIONS)[kind])
        yield
    finally:
        for layer, name, own in before:
            if own is None:
                delattr(layer, name)
            else:
                setattr(layer, name, own)


def linear(kind: str, x: jax.Array, kernel: jax.Array, dimensions: Any, **_: Any) -> jax.Array:
    """Multiply inputs (…, I) by a kernel (I, O) in 8 bits, as `jax.lax.dot_general` does in full.

    Args:
      kind: one of `KINDS`.
      x: inputs.
      kernel: kernel.
      dimensions: those that are summed; the inputs' last and the kernel's first.

    Returns:
      (…, O), of `x`'s dtype.
    """
    rows = tuple(range(x.ndim - 1))
    return _straight_through(
        partial(_qwix().dot_general, dimension_numbers=dimensions, preferred_element_type=None),
        partial(lax.dot_general, dimension_numbers=dimensions),
        (rows, (1,)), kind, x, kernel,
    )  # fmt: skip


def convolution(
    kind: str,
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = 0,
    groups: int = 1,
) -> jax.Array:
    """Convolve in 8 bits, with the arguments and result of `vidjax.nn.conv.conv3d`."""
    kernel, steps, pads = packed_to(x, kernel, triple(strides, "strides"), padding, groups)
    options = {"dimension_numbers": _AXES, "window_strides": steps, "padding": pads}
    return _straight_through(
        partial(_qwix().conv_general_dilated, **options),
        partial(lax.conv_general_dilated, **options),
        ((0,), (4,)), kind, x, kernel,
    )  # fmt: skip


def _straight_through(
    multiply: _Product, plain: _Product, axes: Sequence[Sequence[int]], kind: str, x: jax.Array, kernel: jax.Array
) -> jax.Array:
    """Multiply rounded operands; the gradient is that of `plain` at their values.

    Args:
      multiply: product of rounded operands.
      plain: the same of arrays.
      axes: axes of each operand along which scales differ.
      kind: one of `KINDS`.
      x: inputs.
      kernel: kernel.
    """
    qwix, dtypes = _qwix(), (x.dtype, kernel.dtype)

    def rounded(operand: jax.Array, own: Sequence[int]):
        return qwix.quantize(operand, KINDS[kind], channelwise_axes=own, scale_dtype=jnp.float32)

    @jax.custom_vjp
    def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return forward(x, kernel)[0]

    def forward(x: jax.Array, kernel: jax.Array):
        operands = rounded(x, axes[0]), rounded(kernel, axes[1])
        return multiply(*operands).astype(dtypes[0]), operands

    def backward(operands: Any, gradient: jax.Array):
        values = (qwix.dequantize(value).astype(dtype) for value, dtype in zip(operands, dtypes, strict=True))
        return jax.vjp(plain, *values)[1](gradient)

    product.defvjp(forward, backward)
    return product(x, kernel)


def _multiplies(layer: nnx.Module, kind: str) -> str:
    """Name of the function that a layer multiplies with, if it has one in 8 bits; else ""."""
    if isinstance(layer, nnx.Linear):
        return "dot_general"
    if not isinstance(layer, Conv3D) or layer.feature_group_count > 1:
        return ""
    return "convolve" if kind == "int8" and backend() in ("cpu", "tpu") else ""


def _qwix() -> Any:
    try:
        import qwix
    except ImportError as error:
        raise UserError(f"train.quantize needs the package qwix: {install('quantize')}") from error
    return qwix


# One function per kind, so that layers with the same are equal.
_LINEAR = {kind: partial(linear, kind) for kind in KINDS}
_CONVOLUTIONS = {kind: partial(convolution, kind) for kind in KINDS}
