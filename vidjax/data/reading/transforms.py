"""What happens to the frames of one clip on the CPU: where it is cut out, flip, erasing; one draw for all its frames.

Frames are uint8 RGB `(T, H, W, 3)` and stay so; normalisation belongs to the device, colours are changed in
`augment.py`. Every random transform takes a NumPy generator, so that the same generator state gives the same clip. A
box is `(top, left, height, width)` in pixels.
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

# Published pipelines give up on shapes that do not fit after so many draws.
_ATTEMPTS = 10


def resize(frames: np.ndarray, target: int | tuple[int, int], rule: str = "opencv") -> np.ndarray:
    """Frames of another size, bilinear, without antialiasing.

    Args:
      frames: uint8 `(T, H, W, 3)`.
      target: the short side, keeping the aspect ratio, or (height, width); pixels.
      rule: "opencv": 8-bit arithmetic, the long side rounded; "torchvision": in float32 and rounded once, the long side
        rounded down, as `torchvision.transforms.functional.resize` (antialias=False) and pytorchvideo do. Values of the
        two differ by 1 of 255 at most.

    Returns:
      uint8 `(T, height, width, 3)`.
    """
    height, width = resized(frames.shape[1], frames.shape[2], target, rule)
    if (height, width) == frames.shape[1:3]:
        return frames
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
    """For each of `new` pixels of a row the two of the `old` between which it lies, and the share of the second."""
    # In single precision from the start, as PyTorch: the result is to be the same to the bit.
    place = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * (np.float32(old) / np.float32(new)) - np.float32(0.5)
    place = np.clip(place, 0, old - 1)
    first = place.astype(np.int64)
    return first, np.minimum(first + 1, old - 1), place - first.astype(np.float32)


def crop(frames: np.ndarray, box: Box, size: int) -> np.ndarray:
    """The box of the frames, resized (bilinear) to `(T, size, size, 3)` where it differs."""
    top, left, height, width = box
    part = frames[:, top : top + height, left : left + width]
    if (height, width) == (size, size):
        return part
    return np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_LINEAR) for frame in part])


def eval_boxes(height: int, width: int, size: int, num_crops: int, rule: str = "opencv") -> list[Box]:
    """The crops of a resized frame that evaluation sees.

    Args:
      height, width: of the frame, pixels.
      size: side of the crops, pixels; the frame's shorter side if that is less.
      num_crops: 1, 3, 5 or 10, see `vidjax.video.crops.spatial_views`.
      rule: as for `resize`. "torchvision": an odd margin of a single crop is halved as there.
    """
    side = min(size, height, width)
    if num_crops == 1 and rule == "torchvision":
        return [(round((height - side) / 2), round((width - side) / 2), side, side)]  # .5 to the even number
    return [tuple(box) for box in spatial_views(height, width, side, CROPS[num_crops]).tolist()]


def mirror(frames: np.ndarray) -> np.ndarray:
    """The frames `(T, H, W, 3)` with left and right swapped, in memory of their own."""
    out = np.empty(frames.shape, np.uint8)
    for frame, mirrored in zip(frames, out, strict=True):
        cv2.flip(frame, 1, dst=mirrored)  # ten times as fast as NumPy's reversed copy
    return out


def square_box(height: int, width: int, rng: np.random.Generator, scale: tuple[float, float]) -> Box:
    """A square anywhere, whose side is drawn uniformly between these shares of the shorter of height and width."""
    side = max(1, round(rng.uniform(*scale) * min(height, width)))
    return _anywhere(height, width, side, side, rng)


def fixed_box(height: int, width: int, rng: np.random.Generator, size: int) -> Box:
    """A square of `size` pixels anywhere; of the shorter side if that is less."""
    side = min(size, height, width)
    return _anywhere(height, width, side, side, rng)


def random_resized_box(
    height: int, width: int, rng: np.random.Generator, area: tuple[float, float], aspect: tuple[float, float]
) -> Box:
    """The random-resized crop of Szegedy et al. 2014 (arXiv 1409.4842), distributed as torchvision's RandomResizedCrop.

    Args:
      height, width: of the frames, pixels.
      rng: draws share, ratio and position.
      area: the box is drawn uniformly between these shares of the frame's area,
      aspect: and log-uniformly between these ratios of width to height. If ten draws do not fit into the frame, the
        largest box of an allowed ratio is taken from its middle.
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
    """The corner cropping with scale jitter of temporal segment networks (Wang et al. 2016, arXiv 1608.00859), as
    mmaction2's MultiScaleCrop.

    Args:
      height, width: of the frames, pixels.
      rng: draws one of the allowed pairs of sides and one of the positions.
      scales: sides, as shares of the shorter of height and width, in falling order.
      gap: how far apart in that list height and width of a box may lie; 0: squares.
      positions: 5 (corners, centre), 13 (these, the middles of the sides and of the quarters), or 0: anywhere.
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


# How a training clip is cut out: the values of `config.data.augment.crop`. All give a box inside the frame.
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
    """The short side that frames are resized to: uniform between these, both included (Simonyan & Zisserman 2014, arXiv
    1409.1556)."""
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
    """Random erasing (Zhong et al. 2017, arXiv 1708.04896): the same box of every frame loses its picture.

    Args:
      frames: uint8 `(T, H, W, 3)`.
      rng: draws the box and the noise.
      mode: "pixel": normal noise of the data's mean and deviation, the same in all frames; "const": the mean colour,
        which is zero once normalised.
      area: share of the frame, drawn uniformly between these.
      aspect: height to width, drawn log-uniformly between these. If ten boxes do not fit, nothing is erased.
      mean, std: per channel, of values in 0…1.

    Returns:
      uint8, the same shape; the argument is left as it is.
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
    fill = np.asarray(mean) + (np.asarray(std) * rng.standard_normal((h, w, 3)) if mode == "pixel" else 0)
    out = frames.copy()
    out[:, top : top + h, left : left + w] = np.clip(np.rint(255 * fill), 0, 255).astype(np.uint8)
    return out


def jitter_times(indices: np.ndarray, step: float, last: int, rng: np.random.Generator) -> np.ndarray:
    """Every frame of a clip replaced by one of those up to the next frame of the clip, drawn uniformly.

    Args:
      indices: int64 `(…, T)`, frame numbers.
      step: source frames between two frames of the clip.
      last: the highest frame number there is.
      rng: one draw per frame.
    """
    return np.minimum(indices + rng.integers(max(1, math.ceil(step)), size=indices.shape), last)


def draw_speed(speed: tuple[float, float], rng: np.random.Generator) -> float:
    """How many times faster a clip is to run: log-uniform, so that half and double speed are equally likely."""
    return math.exp(rng.uniform(math.log(speed[0]), math.log(speed[1])))


def _anywhere(height: int, width: int, h: int, w: int, rng: np.random.Generator) -> Box:
    return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
