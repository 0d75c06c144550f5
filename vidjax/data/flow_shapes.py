"""Pairs of pictures with true flow: textured shapes that move, each in its own way, over a moving background."""

import cv2
import numpy as np

from vidjax.data.moving_shapes import draw_outline, turned

_COARSE = (4, 8, 16)  # pixels between the random values of a texture
_FRACTION_BITS = 6  # of OpenCV's fixed-point coordinates


def flow_pair(rng: np.random.Generator, *, size: int = 64, fastest: float = 6.0) -> tuple[np.ndarray, ...]:
    """Draw two pictures and the flow between them.

    Args:
      rng: generator of textures, shapes and motions.
      size: height and width, pixels.
      fastest: largest motion along each axis, pixels.

    Returns:
      First and second picture, RGB uint8 `(size, size, 3)`; the flow, float32 `(size, size, 2)`, dx and dy of every
      pixel of the first; and where it is known, bool `(size, size)`: false where a shape covers the place that a pixel
      moves to.
    """
    flow = np.empty((size, size, 2), np.float32)
    flow[:] = shift = rng.uniform(-fastest / 2, fastest / 2, 2)
    texture = _texture(rng, size)
    first, second = _moved(texture, (0.0, 0.0), size), _moved(texture, shift, size)
    layer = np.zeros((size, size), np.int64)  # number of the shape in front, in both pictures
    layer_after = np.zeros((size, size), np.int64)
    for number in range(1, rng.integers(3, 6)):
        outline = turned(draw_outline(rng, size), rng.uniform(0, 2 * np.pi)) + rng.uniform(0, size, 2)
        shift, texture = rng.uniform(-fastest, fastest, 2), _texture(rng, size)
        covered, covered_after = _filled(outline, size), _filled(outline + shift, size)
        first[covered] = _moved(texture, (0.0, 0.0), size)[covered]
        second[covered_after] = _moved(texture, shift, size)[covered_after]
        flow[covered], layer[covered], layer_after[covered_after] = shift, number, number
    y, x = np.mgrid[:size, :size]
    goes = np.rint(np.stack([x, y], axis=-1) + flow).astype(np.int64)
    inside = ((goes >= 0) & (goes < size)).all(axis=-1)
    goes = np.clip(goes, 0, size - 1)
    known = ~inside | (layer_after[goes[..., 1], goes[..., 0]] <= layer)
    return first, second, flow, known


def flow_batch(seed: int, count: int, *, size: int = 64) -> tuple[np.ndarray, ...]:
    """Draw a batch of pairs, see `flow_pair`: each array with an axis `count` in front, the same for the same seed."""
    pairs = [flow_pair(np.random.default_rng((seed, index)), size=size) for index in range(count)]
    return tuple(map(np.stack, zip(*pairs, strict=True)))


def _texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise of several scales on a plain colour, float32 `(2·size, 2·size, 3)`, the picture in its middle."""
    picture = np.full((2 * size, 2 * size, 3), rng.uniform(60, 195, 3), np.float32)
    for step in _COARSE:
        side = 2 * size // step + 1
        noise = rng.normal(0, 25, (side, side, 3)).astype(np.float32)
        picture += cv2.resize(noise, (2 * size, 2 * size), interpolation=cv2.INTER_CUBIC)
    return picture


def _moved(texture: np.ndarray, shift: np.ndarray | tuple[float, float], size: int) -> np.ndarray:
    """Middle of a texture after a shift, uint8 `(size, size, 3)`."""
    back = np.array([[1, 0, size / 2 - shift[0]], [0, 1, size / 2 - shift[1]]])
    picture = cv2.warpAffine(texture, back, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _filled(outline: np.ndarray, size: int) -> np.ndarray:
    """Pixels inside an outline, bool `(size, size)`."""
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.rint(outline * 2**_FRACTION_BITS).astype(np.int32)], 1, cv2.LINE_8, _FRACTION_BITS)
    return mask > 0
