"""Transforms of a clip's frames on the CPU: resizing, cropping, mirroring, erasing, with one draw for all frames.

Frames are uint8 RGB `(T, H, W, 3)` throughout; normalisation happens on the device, colour changes in `augment.py`.
Every random transform takes a NumPy generator, so that equal generator states give equal clips. A box is `(top, left,
height, width)` in pixels.
"""

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from vidjax.config import AugmentConfig
from vidjax.video.crops import CROPS, spatial_views
from vidjax.video.pixels import Box

# The pipeline runs several decoders side by side; OpenCV's own threads would only compete with them.
cv2.setNumThreads(1)

# Number of draws after which published pipelines give up on finding a box that fits.
_ATTEMPTS = 10


def resize(frames: np.ndarray, target: int | tuple[int, int], rule: str = "opencv") -> np.ndarray:
    """Resize frames bilinearly, without antialiasing.

    Args:
      frames: RGB frames, uint8 `(T, H, W, 3)`.
      target: short side, keeping the aspect ratio, or (height, width); pixels.
      rule: rule of arithmetic. "opencv": 8 bits, the long side rounded; "torchvision": float32, rounded once, the long
        side rounded down, as in `torchvision.transforms.functional.resize` (antialias=False) and pytorchvideo. The two
        differ by at most 1 of 255.

    Returns:
      Frames, uint8 `(T, height, width, 3)`.
    """
    height, width = resized(frames.shape[1], frames.shape[2], target, rule)
    if (height, width) == frames.shape[1:3]:
        return frames
    if not len(frames):
        return np.empty((0, height, width, 3), np.uint8)
    if rule == "opencv":
        return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR) for frame in frames])
    (top, bottom, low), (left, right, near) = _taps(frames.shape[1], height), _taps(frames.shape[2], width)
    low, near = low[:, None, None], near[:, None]
    out = np.empty((len(frames), height, width, 3), np.uint8)
    for frame, small in zip(frames, out, strict=True):
        rows = frame[:, left] * (1 - near) + frame[:, right] * near
        small[:] = np.rint(rows[top] * (1 - low) + rows[bottom] * low)
    return out


def resized(height: int, width: int, target: int | tuple[int, int], rule: str = "opencv") -> tuple[int, int]:
    """Height and width after `resize`, pixels."""
    if not isinstance(target, int):
        return target[0], target[1]
    half = 0.5 if rule == "opencv" else 0.0
    short = min(height, width)
    height, width = (max(1, int(target * side / short + half)) for side in (height, width))
    return height, width


def _taps(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `new` pixels of a row, its two neighbours among the `old` pixels and the share of the second."""
    # In single precision from the start, as in PyTorch, for a result equal to the bit.
    place = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * (np.float32(old) / np.float32(new)) - np.float32(0.5)
    place = np.clip(place, 0, old - 1)
    first = place.astype(np.int64)
    return first, np.minimum(first + 1, old - 1), place - first.astype(np.float32)


def crop(frames: np.ndarray, box: Box, size: int) -> np.ndarray:
    """Crop a box from the frames and resize it (bilinear) to `(T, size, size, 3)` if its size differs."""
    top, left, height, width = box
    part = frames[:, top : top + height, left : left + width]
    if (height, width) == (size, size):
        return part
    return np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_LINEAR) for frame in part])


def eval_boxes(height: int, width: int, size: int, num_crops: int, rule: str = "opencv") -> list[Box]:
    """Boxes of the evaluation crops of a resized frame.

    Args:
      height, width: size of the frame, pixels.
      size: side of the crops, pixels; at most the frame's shorter side is used.
      num_crops: number of crops, 1, 3, 5 or 10, see `vidjax.video.crops.spatial_views`.
      rule: rule of `resize`; with "torchvision" the odd margin of a single crop is rounded as in torchvision.
    """
    side = min(size, height, width)
    if num_crops == 1 and rule == "torchvision":
        return [(round((height - side) / 2), round((width - side) / 2), side, side)]  # .5 to the even number
    return [tuple(box) for box in spatial_views(height, width, side, CROPS[num_crops]).tolist()]


def mirror(frames: np.ndarray) -> np.ndarray:
    """Mirror frames `(T, H, W, 3)` left to right, into a new array."""
    out = np.empty(frames.shape, np.uint8)
    for frame, mirrored in zip(frames, out, strict=True):
        cv2.flip(frame, 1, dst=mirrored)  # ten times faster than NumPy's reversed copy
    return out


def square_box(height: int, width: int, rng: np.random.Generator, scale: tuple[float, float]) -> Box:
    """Draw a square box anywhere, with a side uniform between two shares `scale` of the shorter side."""
    side = max(1, round(rng.uniform(*scale) * min(height, width)))
    return _anywhere(height, width, side, side, rng)


def fixed_box(height: int, width: int, rng: np.random.Generator, size: int) -> Box:
    """Draw a square box of `size` pixels anywhere, or of the shorter side if that is less."""
    side = min(size, height, width)
    return _anywhere(height, width, side, side, rng)


def random_resized_box(
    height: int, width: int, rng: np.random.Generator, area: tuple[float, float], aspect: tuple[float, float]
) -> Box:
    """Draw the random-resized crop of Szegedy et al. 2014 (arXiv 1409.4842), as torchvision's RandomResizedCrop does.

    If ten draws do not fit into the frame, the box is the largest of an allowed ratio, at the centre.

    Args:
      height, width: size of the frames, pixels.
      rng: generator of area, ratio and position.
      area: bounds of the box's area as shares of the frame's, drawn uniformly.
      aspect: bounds of the ratio of width to height, drawn log-uniformly.
    """
    for _ in range(_ATTEMPTS):
        pixels = rng.uniform(*area) * height * width
        ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < w <= width and 0 < h <= height:
            return _anywhere(height, width, h, w, rng)
    ratio = min(max(width / height, aspect[0]), aspect[1])
    w, h = min(width, max(1, round(height * ratio))), min(height, max(1, round(width / ratio)))
    return (height - h) // 2, (width - w) // 2, h, w


def multi_scale_box(
    height: int, width: int, rng: np.random.Generator, scales: Sequence[float], gap: int, positions: int
) -> Box:
    """Draw a corner crop with scale jitter, as temporal segment networks (Wang et al. 2016, arXiv 1608.00859) and
    mmaction2's MultiScaleCrop do.

    Args:
      height, width: size of the frames, pixels.
      rng: generator of the pair of sides and of the position.
      scales: possible sides as shares of the shorter of height and width, in descending order.
      gap: largest distance in `scales` between a box's height and width; 0: squares.
      positions: number of positions: 5 (corners, centre), 13 (also midpoints of the sides and of the quarters), or 0:
        anywhere.
    """
    sides = [max(1, int(min(height, width) * scale)) for scale in scales]
    pairs = [(h, w) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= gap]
    h, w = pairs[rng.integers(len(pairs))]
    if not positions:
        return _anywhere(height, width, h, w, rng)
    across, down = (width - w) // 4, (height - h) // 4
    places = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    if positions == 13:
        places += [(2, 0), (2, 4), (4, 2), (0, 2), (1, 1), (1, 3), (3, 1), (3, 3)]
    row, column = places[rng.integers(len(places))]
    return row * down, column * across, h, w


# Rules of `config.data.augment.crop` for the crop of a training clip. All give a box inside the frame.
TRAIN_CROPS: dict[str, Callable[[int, int, np.random.Generator, AugmentConfig, int], Box]] = {
    "square": lambda height, width, rng, config, size: square_box(height, width, rng, config.scale),
    "short_side": lambda height, width, rng, config, size: fixed_box(height, width, rng, size),
    "random_resized": lambda height, width, rng, config, size: random_resized_box(
        height, width, rng, config.crop_area, config.crop_aspect
    ),
    "multi_scale": lambda height, width, rng, config, size: multi_scale_box(
        height, width, rng, config.crop_scales, config.crop_gap, config.crop_positions
    ),
}


def draw_short_side(sides: tuple[int, int], rng: np.random.Generator) -> int:
    """Draw the short side for resizing, uniform between the two `sides`, both included (Simonyan & Zisserman 2014,
    arXiv 1409.1556)."""
    return int(rng.integers(sides[0], sides[1] + 1))


def erase(
    frames: np.ndarray,
    rng: np.random.Generator,
    *,
    mode: str,
    area: tuple[float, float],
    aspect: tuple[float, float],
    mean: Sequence[float],
    std: Sequence[float],
) -> np.ndarray:
    """Erase a random box (Zhong et al. 2017, arXiv 1708.04896), the same one in every frame.

    If ten draws do not fit into the frame, nothing is erased.

    Args:
      frames: frames, uint8 `(T, H, W, C)`.
      rng: generator of the box and the noise.
      mode: content of the box. "pixel": normal noise with the data's mean and deviation, the same in all frames;
        "const": the mean colour, which is zero once normalised.
      area: bounds of the box's area as shares of the frame's, drawn uniformly.
      aspect: bounds of the ratio of height to width, drawn log-uniformly.
      mean, std: mean and standard deviation per channel, of values in 0…1.

    Returns:
      Frames, uint8 `(T, H, W, C)`; the argument does not change.
    """
    height, width = frames.shape[1:3]
    for _ in range(_ATTEMPTS):
        pixels = rng.uniform(*area) * height * width
        ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        h, w = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < h < height and 0 < w < width:
            break
    else:
        return frames
    top, left, h, w = _anywhere(height, width, h, w, rng)
    fill = np.asarray(mean) + (np.asarray(std) * rng.standard_normal((h, w, len(mean))) if mode == "pixel" else 0)
    out = frames.copy()
    out[:, top : top + h, left : left + w] = np.clip(np.rint(255 * fill), 0, 255).astype(np.uint8)
    return out


def jitter_times(indices: np.ndarray, step: float, last: int, rng: np.random.Generator) -> np.ndarray:
    """Replace every frame of a clip by one drawn uniformly from those up to the clip's next frame.

    Args:
      indices: frame numbers, int64 `(…, T)`.
      step: source frames from one frame of the clip to the next.
      last: highest frame number of the video.
      rng: generator, with one draw per frame.
    """
    return np.minimum(indices + rng.integers(max(1, math.ceil(step)), size=indices.shape), last)


def draw_speed(speed: tuple[float, float], rng: np.random.Generator) -> float:
    """Draw the speed factor of a clip, log-uniform, so that half and double speed are equally likely."""
    return math.exp(rng.uniform(math.log(speed[0]), math.log(speed[1])))


def _anywhere(height: int, width: int, h: int, w: int, rng: np.random.Generator) -> Box:
    return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
