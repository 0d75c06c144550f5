"""Corners of boxes as files give them: cut to the picture, or refused with the reason."""

from collections.abc import Sequence
from typing import cast

from vidjax.data.records import Corners, is_box

_PIXELS = 2.0  # corners beyond this are taken for pixels
_OUTSIDE = 0.01  # share by which a box may reach out of the picture, and is cut off


def within(corners: Sequence[float]) -> Corners | None:
    """Cut a box to the picture; None: it reaches far out of the picture, or is no box.

    Args:
      corners: left, top, right and bottom, as shares of width and height.
    """
    if any(not -_OUTSIDE <= value <= 1 + _OUTSIDE for value in corners):
        return None
    inside = tuple(min(max(float(value), 0.0), 1.0) for value in corners)
    return cast(Corners, inside) if is_box(inside) else None


def refusal(corners: Sequence[float]) -> str:
    """Message about a box that `within` refuses."""
    shown = ", ".join(f"{value:g}" for value in corners)
    if max(corners) > _PIXELS:
        return f"the box {shown} is in pixels; divide by the width and height of the picture, so that it lies in 0…1"
    return f"the box must be left, top, right, bottom within 0…1: {shown}"
