"""Pairs of pictures with true flow: textured shapes that move, each in its own way, over a moving background."""

import functools
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from vidjax.data.moving_shapes import SetSize, draw_outline, turned, write_set
from vidjax.video.flow_files import write_flow

_VERSION = 1  # version of the generated pairs
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


def write_flow_pairs(
    folder: str | Path,
    *,
    num_train: int = 1000,
    num_eval: int = 100,
    size: int = 64,
    fastest: float = 12.0,
    seed: int = 0,
    console: Console | None = None,
) -> Path:
    """Write pairs to `train` and `val`, in the layout of FlyingChairs, unless they exist.

    A pair is `train/00001_img1.ppm`, `train/00001_img2.ppm` and `train/00001_flow.flo`, see `flow_pair`; where the flow
    is not known, the file says so as Middlebury's do.

    Args:
      folder: folder to write to, created if necessary; an interrupted earlier call is completed.
      num_train, num_eval: numbers of pairs; the two sets share no draw.
      size: height and width, pixels; even.
      fastest: largest motion along each axis, pixels.
      seed: seed of all draws.
      console: console for a progress bar; None: no bar.

    Returns:
      Path of the folder.

    Raises:
      UserError: if a parameter is out of range, or the folder holds such a set with other parameters.
    """
    drawn = SetSize(num_train, num_eval, 2, size, seed).checked()
    pairs = {
        f"{split}/{i + 1:05d}_flow.flo": functools.partial(_drawn, (seed, number, i), size, fastest)
        for number, split, count in drawn.splits
        for i in range(count)
    }
    stored = drawn.stored(_VERSION, fastest=fastest)
    return write_set(Path(folder), "flow.json", stored, pairs, {"complete.txt": ""}, console, save=_save)


def _drawn(key: tuple[int, ...], size: int, fastest: float) -> tuple[np.ndarray, ...]:
    return flow_pair(np.random.default_rng(key), size=size, fastest=fastest)


def _save(path: Path, drawn: tuple[np.ndarray, ...]) -> None:
    stem = path.name.removesuffix("_flow.flo")
    for number, picture in enumerate(drawn[:2], 1):
        cv2.imwrite(str(path.with_name(f"{stem}_img{number}.ppm")), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    write_flow(path, *drawn[2:])


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
