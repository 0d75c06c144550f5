"""Moved and resized boxes with a given overlap with the ones they come from."""

from typing import Any

import numpy as np

_STEPS = 18  # halvings of the distance, which leave an error of the overlap below 1e-4
_FARTHEST = 2.0  # in shares of a box's sides, and in logarithms of their factors


def moved(boxes: Any, direction: Any, iou: Any, xp: Any = np) -> Any:
    """Move and resize boxes along a direction until their overlap with themselves falls to a value.

    Args:
      boxes: left, top, right and bottom, `(…, 4)` float; boxes of zeros stay as they are.
      direction: shift right and down, in shares of the sides, and logarithms of the factors of width and height,
        `(…, 4)`; only their ratios count.
      iou: wanted overlap (IoU), `(…)`, above 0; the result's is at least that.
      xp: `numpy` or `jax.numpy`.
    """
    unit = direction / xp.maximum(xp.sqrt((direction**2).sum(axis=-1, keepdims=True)), 1e-6)
    near, far = xp.zeros_like(unit[..., 0]), xp.full_like(unit[..., 0], _FARTHEST)
    for _ in range(_STEPS):
        middle = (near + far) / 2
        enough = _overlap(_along(boxes, unit, middle, xp), boxes, xp) >= iou
        near, far = xp.where(enough, middle, near), xp.where(enough, far, middle)
    return _along(boxes, unit, near, xp)


def _overlap(one: Any, other: Any, xp: Any = np) -> Any:
    """Overlap (IoU) of pairs of boxes `(…, 4)`, `(…)`; 0 for boxes without area."""
    sides = xp.minimum(one[..., 2:], other[..., 2:]) - xp.maximum(one[..., :2], other[..., :2])
    both = xp.maximum(sides, 0).prod(axis=-1)
    either = (one[..., 2:] - one[..., :2]).prod(axis=-1) + (other[..., 2:] - other[..., :2]).prod(axis=-1) - both
    return xp.where(either > 0, both / xp.where(either > 0, either, 1), 0)


def _along(boxes: Any, unit: Any, distance: Any, xp: Any) -> Any:
    sides, centre = boxes[..., 2:] - boxes[..., :2], (boxes[..., 2:] + boxes[..., :2]) / 2
    step = unit * distance[..., None]
    centre, half = centre + sides * step[..., :2], sides * xp.exp(step[..., 2:]) / 2
    return xp.concatenate([centre - half, centre + half], axis=-1)
