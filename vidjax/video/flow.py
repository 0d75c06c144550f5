"""Optical flow of neighbouring frames by classical algorithms, and the rules for changing fields of it.

A field is float32 `(H, W, 2)`: motion to the right and motion down, in pixels of the field's own size, from one frame
to the next. OpenCV computes all of them, from 8-bit grey. Farnebäck: Farnebäck 2003; DIS: Kroeger et al., arXiv
1603.03590; TV-L1: Zach et al. 2007, in the duality-based form of Sánchez Pérez et al. 2013.
"""

import importlib.metadata
import threading
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from vidjax.errors import UserError

# Two frames, uint8 (H, W) → the field between them, float32 (H, W, 2).
Estimator = Callable[[np.ndarray, np.ndarray], np.ndarray]

# DIS stops at a quarter (medium: half) of the size, which leaves too little of small pictures: the finest level of its
# pyramid has at least this many pixels a side, or is the picture itself. Each level costs about four times the next.
_FINEST = 32
ROUNDINGS = ("nearest", "truncated")
_kept = threading.local()  # estimators keep buffers between calls, and serve one thread at a time


def _farneback(level: int) -> Estimator:
    del level
    return lambda a, b: cv2.calcOpticalFlowFarneback(
        a, b, np.empty((*a.shape, 2), np.float32), 0.5, 3, 15, 3, 5, 1.2, 0
    )


def _dis(preset: int) -> Callable[[int], Estimator]:
    def make(level: int) -> Estimator:
        search = cv2.DISOpticalFlow.create(preset)
        search.setFinestScale(min(level, search.getFinestScale()))
        return lambda a, b: search.calc(a, b, np.zeros((*a.shape, 2), np.float32))

    return make


def _tvl1(level: int) -> Estimator:
    del level
    search = _contributed().DualTVL1OpticalFlow_create()
    return lambda a, b: search.calc(a, b, np.zeros((*a.shape, 2), np.float32))


# Name → function that makes an estimator, from the coarsest level of a pyramid of halved pictures at which it may stop.
METHODS: dict[str, Callable[[int], Estimator]] = {
    "farneback": _farneback,
    "dis_ultrafast": _dis(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST),
    "dis_fast": _dis(cv2.DISOPTICAL_FLOW_PRESET_FAST),
    "dis_medium": _dis(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM),
    "tvl1": _tvl1,
}
_LEAST = 16  # pixels a side that all of them can work with; smaller pictures are padded


def _contributed() -> Any:
    """OpenCV's contributed algorithms of optical flow.

    Raises:
      UserError: if the installed OpenCV lacks them; the message gives the mend.
    """
    if hasattr(cv2, "optflow"):
        return cv2.optflow
    found = [name for name in _OPENCV if _installed(name)]
    raise UserError(
        f"TV-L1 flow needs OpenCV's contributed modules, which {' and '.join(found) or 'this OpenCV'} lacks. All its "
        f"wheels own the same folder, so remove them first: pip uninstall -y {' '.join(found)}; pip install "
        "opencv-contrib-python-headless. Or choose data.flow=dis_medium"
    )


_OPENCV = (
    "opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless",
)  # fmt: skip


def _installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def check_method(method: str) -> None:
    """Check that fields can be computed by a method here.

    Raises:
      UserError: if it is unknown, or the installed OpenCV lacks it.
    """
    if method not in METHODS:
        raise UserError(f"optical flow by {method!r}: must be one of {', '.join(METHODS)}")
    if method == "tvl1":
        _contributed()


def grey(frames: np.ndarray) -> np.ndarray:
    """Convert RGB frames, uint8 `(…, H, W, 3)`, to grey, uint8 `(…, H, W)`, by ITU-R BT.601."""
    flat = np.ascontiguousarray(frames).reshape(-1, frames.shape[-2], 3)
    return cv2.cvtColor(flat, cv2.COLOR_RGB2GRAY).reshape(frames.shape[:-1])


def estimate(first: np.ndarray, second: np.ndarray, method: str) -> np.ndarray:
    """Estimate the flow from one frame to another, float32 `(H, W, 2)`.

    Args:
      first, second: grey frames, uint8 `(H, W)`.
      method: name of the algorithm, one of `METHODS`.

    Raises:
      UserError: if the method is unknown, or the installed OpenCV lacks it.
    """
    check_method(method)
    level = max(0, (min(first.shape) // _FINEST).bit_length() - 1)
    estimators: dict[tuple[str, int], Estimator] = _kept.__dict__.setdefault("estimators", {})
    if (method, level) not in estimators:
        estimators[method, level] = METHODS[method](level)
    first, second = np.ascontiguousarray(first), np.ascontiguousarray(second)
    height, width = first.shape
    if min(height, width) >= _LEAST:
        return estimators[method, level](first, second)
    edges = (0, max(0, _LEAST - height), 0, max(0, _LEAST - width))
    padded = (cv2.copyMakeBorder(frame, *edges, cv2.BORDER_REPLICATE) for frame in (first, second))
    return np.ascontiguousarray(estimators[method, level](*padded)[:height, :width])


def flow(frames: np.ndarray, method: str = "dis_fast") -> np.ndarray:
    """Estimate the flow from each frame to the next, float32 `(N-1, H, W, 2)`.

    Args:
      frames: N successive frames, uint8, RGB `(N, H, W, 3)` or grey `(N, H, W)`.
      method: name of the algorithm, one of `METHODS`.

    Raises:
      UserError: if the method is unknown, the installed OpenCV lacks it, or the frames are not such frames.
    """
    if frames.dtype != np.uint8 or not (frames.ndim == 3 or (frames.ndim == 4 and frames.shape[-1] == 3)):
        raise UserError(f"frames {frames.dtype} {frames.shape}: expected uint8 (N, H, W, 3) or (N, H, W)")
    check_method(method)
    greys = grey(frames) if frames.ndim == 4 else frames
    fields = np.empty((max(0, len(greys) - 1), *greys.shape[1:3], 2), np.float32)
    for number, out in enumerate(fields):
        out[:] = estimate(greys[number], greys[number + 1], method)
    return fields


def resize(field: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a field `(H, W, 2)`, bilinear; the vectors grow with the picture."""
    old = field.shape[:2]
    if old == (height, width):
        return field
    scale = np.array([width / old[1], height / old[0]], np.float32)
    return cv2.resize(np.ascontiguousarray(field), (width, height), interpolation=cv2.INTER_LINEAR) * scale


def mirror(field: np.ndarray) -> np.ndarray:
    """Field of the frames mirrored left to right: `(…, H, W, 2)`, mirrored, with motion to the right negated."""
    return field[..., ::-1, :] * np.array([-1, 1], field.dtype)


def upend(field: np.ndarray) -> np.ndarray:
    """Field of the frames mirrored top to bottom: `(…, H, W, 2)`, mirrored, with motion down negated."""
    return field[..., ::-1, :, :] * np.array([1, -1], field.dtype)


def turn(field: np.ndarray, degrees: float) -> np.ndarray:
    """Field `(H, W, 2)` of the frames turned anticlockwise about their centre; zero where they showed nothing."""
    angle = np.radians(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    height, width = field.shape[:2]
    x, y = (width - 1) / 2, (height - 1) / 2
    back = np.array([[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    turned = cv2.warpAffine(np.ascontiguousarray(field), back, (width, height), flags=how)
    return (turned @ np.array([[cos, -sin], [sin, cos]])).astype(np.float32)


def subtract_mean(field: np.ndarray) -> np.ndarray:
    """Subtract the mean vector of a field `(H, W, 2)`, a rough correction for a moving camera (arXiv 1406.2199)."""
    return field - field.mean(axis=(0, 1), dtype=np.float32)


def quantise(field: np.ndarray, bound: float, rounding: str = "nearest") -> np.ndarray:
    """Convert vectors to 8 bits, uint8 of the same shape: -bound…bound → 0…255, clipped.

    Args:
      field: vectors, float32, pixels.
      bound: motion that becomes 255, pixels.
      rounding: "nearest", as denseflow, no motion being 128 (127.5 to the even number), or "truncated", as mmaction2,
        no motion being 127.

    Raises:
      UserError: for another rounding.
    """
    if rounding not in ROUNDINGS:
        raise UserError(f"rounding = {rounding!r}: must be one of {', '.join(ROUNDINGS)}")
    if rounding == "truncated":
        return np.clip((field + np.float32(bound)) * np.float32(127.5 / bound), 0, 255).astype(np.uint8)
    flat = np.ascontiguousarray(field, np.float32).reshape(field.shape[0], -1)
    return cv2.addWeighted(flat, 127.5 / bound, flat, 0, 127.5, dtype=cv2.CV_8U).reshape(field.shape)


def dequantise(values: np.ndarray, bound: float, rounding: str = "nearest") -> np.ndarray:
    """Vectors in the middle of what becomes each 8-bit value, float32 of the same shape; see `quantise`."""
    half = 0.5 if rounding == "truncated" else 0.0
    return (values.astype(np.float32) + np.float32(half - 127.5)) * np.float32(bound / 127.5)
