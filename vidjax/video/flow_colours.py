"""Colours of optical flow: the direction is a hue, the length its saturation.

Source: Baker et al., A Database and Evaluation Methodology for Optical Flow (IJCV 2011), whose wheel has 55 colours.
"""

import numpy as np

# From one pure colour to the next: the steps, the channel that changes, and whether it rises.
_ARCS = ((15, 1, True), (6, 0, False), (4, 2, True), (11, 1, False), (13, 0, True), (6, 2, False))


def _wheel() -> np.ndarray:
    """The 55 colours, float64 `(55, 3)` in 0…255, from red by yellow, green, cyan, blue and magenta."""
    colour, rows = np.array([255.0, 0.0, 0.0]), []
    for steps, channel, rises in _ARCS:
        change = np.floor(255 * np.arange(steps) / steps)
        arc = np.repeat(colour[None], steps, axis=0)
        arc[:, channel] = change if rises else 255 - change
        rows.append(arc)
        colour[channel] = 255 if rises else 0
    return np.concatenate(rows)


WHEEL = _wheel()


def flow_colours(flow: np.ndarray, longest: float = 0.0) -> np.ndarray:
    """Show a field in colours; no motion is white.

    Args:
      flow: field, float `(H, W, 2)`, finite.
      longest: length of motion that is fully saturated, pixels; longer motion is darker. 0: the field's longest.

    Returns:
      RGB, uint8 `(H, W, 3)`.
    """
    flow = np.asarray(flow, np.float64)
    length = np.hypot(flow[..., 0], flow[..., 1])
    scale = (longest or length.max()) + np.finfo(np.float32).eps
    share = length / scale
    place = (np.arctan2(-flow[..., 1], -flow[..., 0]) / np.pi + 1) / 2 * (len(WHEEL) - 1)
    low = np.floor(place).astype(np.int64)
    part = (place - low)[..., None]
    hue = ((1 - part) * WHEEL[low] + part * WHEEL[(low + 1) % len(WHEEL)]) / 255
    inside = (share <= 1)[..., None]
    colours = np.where(inside, 1 - share[..., None] * (1 - hue), 0.75 * hue)
    return np.floor(255 * colours).astype(np.uint8)
