"""Checks of clips given to networks and first layers: floating point, channels last.

This is looked at while a call is traced and costs nothing afterwards. Integer pixels are the mistake that nothing else
would notice: a kernel that is brought to their type becomes 0.
"""

from typing import Any

import jax.numpy as jnp

from vidjax.errors import UserError


class ClipError(UserError, TypeError):
    """Error: an input is no batch of normalised clips; the message names its shape or type, and a remedy."""


def need_floats(x: Any) -> None:
    """Refuse arrays of another than a floating-point type.

    Args:
      x: anything with a `dtype`, also an abstract array.

    Raises:
      ClipError: naming the type.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ClipError(f"pixels are {x.dtype}: normalise them first, vidjax.preprocess(frames, spec)")


def need_clips(video: Any, channels: int) -> None:
    """Refuse anything but floating-point clips `(B, T, H, W, C)`.

    Args:
      video: anything with a `shape` and a `dtype`, also an abstract array.
      channels: C, number of channels.

    Raises:
      ClipError: naming the type or the shape and, for PyTorch's orders and a missing or further axis, what brings it
        into order.
    """
    shape = tuple(video.shape)
    if len(shape) == 5 and shape[4] == channels:
        need_floats(video)
        return
    raise ClipError(
        f"video {shape}: expected (B, T, H, W, C) with C = {channels}, channels last{_mend(shape, channels)}"
    )


def _mend(shape: tuple[int, ...], channels: int) -> str:
    if order := other_order(shape, channels):
        name, mend = order
        return f". {'A clip' if len(shape) == 4 else 'Clips'} in PyTorch's order {name}? Then video{mend}" + (
            "[None]" if len(shape) == 4 else ""
        )
    if len(shape) == 4 and shape[3] == channels:
        return ". One clip without the batch axis? Then video[None]"
    if len(shape) == 6 and shape[5] == channels:
        return ". Several views of each video? Then video.reshape(-1, *video.shape[2:])"
    if channels == 6 and shape[-1] == 3:
        return ": frames beside their differences, which vidjax.preprocess makes for a spec with input='rgb+diff'"
    if channels == 2 and shape[-1] == 3:
        return ": optical flow, not colours"
    return ""


def other_order(shape: tuple[int, ...], channels: int) -> tuple[str, str] | None:
    """The order that a clip (4 axes) or several (5) seem to have, by where their channels are, and what mends it.

    Args:
      shape: of the array.
      channels: C, number of channels.

    Returns:
      Such as `("(C, T, H, W)", ".transpose(1, 2, 3, 0)")`; None: channels are last, or it cannot be told.
    """
    if len(shape) not in (4, 5) or shape[-1] == channels:
        return None
    orders = {
        "(C, T, H, W)": (0, ".transpose(1, 2, 3, 0)"),
        "(T, C, H, W)": (1, ".transpose(0, 2, 3, 1)"),
        "(B, C, T, H, W)": (1, ".transpose(0, 2, 3, 4, 1)"),
        "(B, T, C, H, W)": (2, ".transpose(0, 1, 3, 4, 2)"),
    }
    for name, (place, mend) in orders.items():
        if name.count(",") == len(shape) - 1 and shape[place] == channels:
            return name, mend
    return None
