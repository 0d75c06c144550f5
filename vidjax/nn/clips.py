"""Checks of clips given to networks and first layers: floating point, channels last.

The checks run while a call is traced and cost nothing afterwards. Integer pixels would otherwise go unnoticed: a kernel
cast to their type becomes 0.
"""

from typing import Any

import jax.numpy as jnp

from vidjax.errors import UserError


class ClipError(UserError, TypeError):
    """Error for an input that is no batch of normalised clips; names its shape or type, and a remedy."""


def need_floats(x: Any) -> None:
    """Refuse arrays that are not floating-point.

    Args:
      x: array, concrete or abstract.

    Raises:
      ClipError: for any other type.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ClipError(f"pixels are {x.dtype}: normalise them first, vidjax.preprocess(frames, spec)")


def need_clips(video: Any, channels: int) -> None:
    """Refuse anything but floating-point clips `(B, T, H, W, C)`.

    Args:
      video: array, concrete or abstract.
      channels: C, number of channels.

    Raises:
      ClipError: for any other type or shape; names it and, for PyTorch's axis orders and a missing or extra axis,
        the fix.
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
    """Guess the axis order of one clip (4 axes) or several (5) from the place of the channels, and its fix.

    Args:
      shape: shape of the array.
      channels: C, number of channels.

    Returns:
      Order and fix, such as `("(C, T, H, W)", ".transpose(1, 2, 3, 0)")`; None: channels are last, or unknown.
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
