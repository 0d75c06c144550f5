"""Narrow maps with neighbouring columns side by side in the channels, for TPUs.

A TPU's registers are 128 channels wide, so a map of 8 channels takes the memory, and most passes over it the time, of
one of 128. Here P columns of C channels become one of P·C: `(B, T, H, W, C)` → `(B, T, H, W/P, P·C)`. In the context
`packed_maps`, convolutions and batch norms read their inputs so. A convolution's kernel is spread over the columns,
mostly zeros; the registers would be as empty without them.
"""

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vidjax.nn.formulations import Pads
from vidjax.nn.grids import Triple
from vidjax.nn.target_backend import backend

LANES = 128  # channels of a TPU's register


@dataclass(frozen=True)
class _Packing:
    """Number of columns, None: by the target; and whether maps are packed where the trace is."""

    columns: int | None = None
    inside: bool = False


# JAX's own kind of context: its cache keeps the traces apart.
_packing = jax.make_user_context(default_value=_Packing())


@contextlib.contextmanager
def packing(columns: int | None) -> Generator[None, None, None]:
    """Context that sets how many columns networks pack.

    Args:
      columns: largest number of columns; 1: maps stay as they are; None: chosen for the target.
    """
    with _packing(replace(_packing.value, columns=columns)):
        yield


@contextlib.contextmanager
def packed_maps() -> Generator[None, None, None]:
    """Context in which inputs of convolutions and batch norms with P times their channels are P columns of them."""
    with _packing(replace(_packing.value, inside=True)):
        yield


def columns_for(width: int, features: int) -> int:
    """Number of columns to pack: a power of 2 that divides `width`; on TPUs as many as a register holds, else 1.

    Args:
      width: W, columns of the map.
      features: C, fewest channels of the maps to pack.
    """
    most = _packing.value.columns
    if most is None:
        most = LANES // features if backend() == "tpu" else 1
    columns = 1
    while 2 * columns <= most and width % (2 * columns) == 0:
        columns *= 2
    return columns


def columns_in(x: jax.Array, features: int) -> int:
    """Number of columns that are packed in an input of a layer of `features` channels; 1 outside of `packed_maps`."""
    packed = _packing.value.inside and x.shape[-1] % features == 0
    return x.shape[-1] // features if packed else 1


def pack(x: jax.Array, columns: int) -> jax.Array:
    """Pack columns, `(B, T, H, W, C)` → `(B, T, H, W/P, P·C)`."""
    return x.reshape(*x.shape[:3], x.shape[3] // columns, -1)


def unpack(x: jax.Array, features: int) -> jax.Array:
    """Undo `pack`, `(B, T, H, W/P, P·C)` → `(B, T, H, W, C)`.

    Args:
      x: packed map.
      features: C.
    """
    return x.reshape(*x.shape[:3], -1, features)


def packed_kernel(
    kernel: jax.Array, strides: Triple, pads: Pads, width: int, columns: int
) -> tuple[jax.Array, Triple, Pads]:
    """Spread a kernel over packed columns; the output has P divided by the stride along W, and as many packed columns.

    Args:
      kernel: kernel of the convolution, `(kt, kh, kw, I, O)`.
      strides: strides along T, H, W.
      pads: zero padding (low, high) of T, H, W.
      width: W, columns of the map before packing.
      columns: P.

    Returns:
      The kernel, `(kt, kh, blocks, P·I, P'·O)`, with its strides and padding.

    Raises:
      ValueError: if the stride along W divides neither P nor the width of the output is W divided by it.
    """
    kt, kh, kw, in_features, _ = kernel.shape
    stride, (low, high) = strides[2], pads[2]
    if columns % stride or (width + low + high - kw) // stride + 1 != width // stride:
        raise ValueError(
            f"a kernel of {kw} columns with stride {stride} and padding {low}, {high} does not fit {width} columns "
            f"that are packed by {columns}"
        )
    # Of each output column and tap: the place of its input column, counted from the block of the output.
    places = stride * np.arange(columns // stride)[:, None] + np.arange(kw) - low
    blocks, inside = places // columns, places % columns
    first, last = int(blocks.min()), int(blocks.max())
    chosen = np.zeros((last - first + 1, columns, *places.shape), np.float32)
    column, tap = np.indices(places.shape)
    chosen[blocks - first, inside, column, tap] = 1
    wide = jnp.einsum("bpqj,thjio->thbpiqo", jnp.asarray(chosen, kernel.dtype), kernel, precision=lax.Precision.HIGHEST)
    shape: Sequence[int] = (kt, kh, last - first + 1, columns * in_features, -1)
    return wide.reshape(shape), (strides[0], strides[1], 1), (pads[0], pads[1], (-first, last))
