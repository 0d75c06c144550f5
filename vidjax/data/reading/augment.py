"""Colours and shapes of one clip's frames changed at random: colour jitter, greyscale, RandAugment, AugMix.

Frames are uint8 RGB `(T, H, W, 3)`. One draw serves all frames of a clip, and what depends on the picture (its
histogram, its mean) is taken from the whole clip: frames that were alike stay alike, and nothing flickers.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

cv2.setNumThreads(1)  # see transforms.py

# Levels of the policies run from 0 to this.
MAX_LEVEL = 10.0
# With a deviation above this, levels are drawn uniformly, as the published code has it.
_UNIFORM_STD = 100.0
_CHANCE = 0.5  # that an operation of RandAugment is carried out
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601


def colour_jitter(frames: np.ndarray, strength: float, rng: np.random.Generator, hue: float = 0.0) -> np.ndarray:
    """Brightness, contrast and saturation, each scaled by one factor in `1 ± strength` for the whole clip; then hue.

    Args:
      frames: uint8 `(T, H, W, 3)`, RGB.
      strength: 0…1.
      rng: draws the three factors, and the turn if `hue` is not 0.
      hue: the colour circle is turned by up to this share of it, either way; 0…0.5.

    Returns:
      uint8, the same shape. Contrast pulls towards the clip's mean grey, saturation towards each pixel's grey (ITU-R
      601).
    """
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, size=3).astype(np.float32)
    values = frames.astype(np.float32) * brightness
    values = (values - (mean := (values @ _GREY).mean())) * contrast + mean
    grey = (values @ _GREY)[..., None]
    values = (values - grey) * saturation + grey
    if hue:
        flat = np.clip(values, 0, 255).reshape(-1, frames.shape[2], 3)
        hsv = cv2.cvtColor(flat, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + 360 * np.float32(rng.uniform(-hue, hue))) % 360
        values = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).reshape(frames.shape)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def greyscale(frames: np.ndarray) -> np.ndarray:
    """All three channels the grey of the pixel (ITU-R 601)."""
    flat = np.ascontiguousarray(frames).reshape(-1, frames.shape[2], 3)
    grey = cv2.cvtColor(flat, cv2.COLOR_RGB2GRAY)
    return np.repeat(grey.reshape(frames.shape[:-1])[..., None], 3, axis=-1)


# Operations of the policies. Those that need no argument:


def auto_contrast(frames: np.ndarray) -> np.ndarray:
    """Each channel stretched to 0…255."""
    low, high = frames.min(axis=(0, 1, 2)).astype(int), frames.max(axis=(0, 1, 2)).astype(int)
    scale = 255 / np.maximum(high - low, 1)
    table = np.clip(np.arange(256)[:, None] * scale - low * scale, 0, 255).astype(np.uint8)
    return _look_up(frames, np.where(high > low, table, np.arange(256)[:, None]))


def equalise(frames: np.ndarray) -> np.ndarray:
    """Each channel's histogram made flat."""
    table = np.tile(np.arange(256)[:, None], (1, 3))
    for channel in range(3):
        counts = np.bincount(frames[..., channel].ravel(), minlength=256)
        used = np.flatnonzero(counts)
        step = (counts.sum() - counts[used[-1]]) // 255
        if len(used) > 1 and step:
            below = np.concatenate([[0], np.cumsum(counts)[:-1]])
            table[:, channel] = np.minimum((step // 2 + below) // step, 255)
    return _look_up(frames, table)


def invert(frames: np.ndarray) -> np.ndarray:
    """The negative."""
    return 255 - frames


# Those that take a number:


def posterise(frames: np.ndarray, bits: int) -> np.ndarray:
    """Only the highest `bits` of each value, 0…8."""
    return frames & np.uint8(256 - (1 << (8 - bits)))


def solarise(frames: np.ndarray, threshold: int) -> np.ndarray:
    """Values from `threshold` on, 0…256, turned into their negative."""
    values = np.arange(256)
    return _look_up(frames, np.where(values < threshold, values, 255 - values)[:, None])


def solarise_add(frames: np.ndarray, amount: int) -> np.ndarray:
    """Values below 128 raised by `amount`."""
    values = np.arange(256)
    return _look_up(frames, np.where(values < 128, np.minimum(values + amount, 255), values)[:, None])


def saturation(frames: np.ndarray, factor: float) -> np.ndarray:
    """0: grey, 1: as it is, above: more colour."""
    return _blend(greyscale(frames), frames, factor)


def contrast(frames: np.ndarray, factor: float) -> np.ndarray:
    """0: the clip's mean grey, 1: as it is, above: more contrast."""
    mean = int(greyscale(frames)[..., 0].mean() + 0.5)
    return _look_up(frames, _blend(np.full((256, 1), mean, np.uint8), _identity(), factor))


def brightness(frames: np.ndarray, factor: float) -> np.ndarray:
    """0: black, 1: as it is, above: brighter."""
    return _look_up(frames, _blend(np.zeros((256, 1), np.uint8), _identity(), factor))


def sharpness(frames: np.ndarray, factor: float) -> np.ndarray:
    """0: smoothed, 1: as it is, above: sharper. The outermost pixels stay."""
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
    smooth = frames.copy()
    for frame, out in zip(frames, smooth, strict=True):
        out[1:-1, 1:-1] = cv2.filter2D(np.ascontiguousarray(frame), -1, kernel)[1:-1, 1:-1]
    return _blend(smooth, frames, factor)


def affine(frames: np.ndarray, matrix: Sequence[Sequence[float]], fill: Sequence[int]) -> np.ndarray:
    """Frames whose pixel (x, y) is the source's at `matrix @ (x, y, 1)`, bilinear; `fill` from outside.

    Places are measured from the upper left corner, so that the first pixel lies at (0.5, 0.5).
    """
    turned = np.array(matrix, np.float64)
    turned[:, 2] += turned[:, 0] / 2 + turned[:, 1] / 2 - 0.5  # OpenCV counts from the middle of the first pixel
    size, flags = (frames.shape[2], frames.shape[1]), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    colour = [int(c) for c in fill]
    return np.stack([cv2.warpAffine(np.ascontiguousarray(f), turned, size, flags=flags, borderValue=colour)
                     for f in frames])  # fmt: skip


def rotate(frames: np.ndarray, degrees: float, fill: Sequence[int]) -> np.ndarray:
    """Turned about the middle, anticlockwise."""
    y, x = frames.shape[1] / 2, frames.shape[2] / 2
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return affine(frames, [[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]], fill)


def shear_x(frames: np.ndarray, factor: float, fill: Sequence[int]) -> np.ndarray:
    """Rows shifted in proportion to their height."""
    return affine(frames, [[1, factor, 0], [0, 1, 0]], fill)


def shear_y(frames: np.ndarray, factor: float, fill: Sequence[int]) -> np.ndarray:
    """Columns shifted in proportion to their place."""
    return affine(frames, [[1, 0, 0], [factor, 1, 0]], fill)


def translate_x(frames: np.ndarray, share: float, fill: Sequence[int]) -> np.ndarray:
    """Shifted to the left by a share of the width."""
    return affine(frames, [[1, 0, share * frames.shape[2]], [0, 1, 0]], fill)


def translate_y(frames: np.ndarray, share: float, fill: Sequence[int]) -> np.ndarray:
    """Shifted up by a share of the height."""
    return affine(frames, [[1, 0, 0], [0, 1, share * frames.shape[1]]], fill)


# The policies: operation → what it makes of frames, level in 0…1, a sign drawn for it, the colour outside the picture,
# and whether a higher level always means a stronger change ("inc").
_Op = Callable[[np.ndarray, float, int, Sequence[int], bool], np.ndarray]


def _factor(level: float, sign: int, inc: bool) -> float:
    return max(0.1, 1 + sign * 0.9 * level) if inc else 0.1 + 1.8 * level


OPERATIONS: dict[str, _Op] = {
    "auto_contrast": lambda x, level, sign, fill, inc: auto_contrast(x),
    "equalise": lambda x, level, sign, fill, inc: equalise(x),
    "invert": lambda x, level, sign, fill, inc: invert(x),
    "rotate": lambda x, level, sign, fill, inc: rotate(x, sign * 30 * level, fill),
    "posterise": lambda x, level, sign, fill, inc: posterise(x, 4 - int(4 * level) if inc else int(4 * level)),
    "solarise": lambda x, level, sign, fill, inc: solarise(x, 256 - int(256 * level) if inc else int(256 * level)),
    "solarise_add": lambda x, level, sign, fill, inc: solarise_add(x, int(110 * level)),
    "saturation": lambda x, level, sign, fill, inc: saturation(x, _factor(level, sign, inc)),
    "contrast": lambda x, level, sign, fill, inc: contrast(x, _factor(level, sign, inc)),
    "brightness": lambda x, level, sign, fill, inc: brightness(x, _factor(level, sign, inc)),
    "sharpness": lambda x, level, sign, fill, inc: sharpness(x, _factor(level, sign, inc)),
    "shear_x": lambda x, level, sign, fill, inc: shear_x(x, sign * 0.3 * level, fill),
    "shear_y": lambda x, level, sign, fill, inc: shear_y(x, sign * 0.3 * level, fill),
    "translate_x": lambda x, level, sign, fill, inc: translate_x(x, sign * 0.45 * level, fill),
    "translate_y": lambda x, level, sign, fill, inc: translate_y(x, sign * 0.45 * level, fill),
}
_AUGMIX_OPERATIONS = tuple(name for name in OPERATIONS if name not in ("invert", "solarise_add"))


def rand_augment(
    frames: np.ndarray,
    rng: np.random.Generator,
    *,
    magnitude: float,
    num_ops: int,
    std: float,
    increasing: bool,
    fill: Sequence[int],
) -> np.ndarray:
    """RandAugment (Cubuk et al. 2019, arXiv 1909.13719) in the form published with timm's recipes, whose
    `rand-m9-n4-mstd0.5-inc1` is magnitude 9, num_ops 4, std 0.5, increasing. An operation is carried out with
    probability 0.5.

    Args:
      frames: uint8 `(T, H, W, 3)`.
      rng: draws operations, levels and signs, once for all frames.
      magnitude: m, 0…10.
      num_ops: n.
      std: of the normal distribution of levels around m, cut to 0…10; above 100: uniform between 0 and m.
      increasing: a higher level is a stronger change with every operation; otherwise posterise and solarise weaken, and
        the four factors run from 0.1 to 1.9.
      fill: colour of what comes in from outside the picture, 0…255.

    Returns:
      uint8, the same shape.
    """
    names = list(OPERATIONS)
    for pick in rng.integers(len(names), size=num_ops):
        if rng.random() < _CHANCE:
            level = rng.uniform(0, magnitude) if std > _UNIFORM_STD else rng.normal(magnitude, std)
            frames = _apply(names[pick], frames, level, rng, fill, increasing)
    return frames


def aug_mix(
    frames: np.ndarray,
    rng: np.random.Generator,
    *,
    magnitude: float,
    width: int,
    depth: int,
    alpha: float,
    fill: Sequence[int],
) -> np.ndarray:
    """AugMix (Hendrycks et al. 2019, arXiv 1912.02781): the clip blended with a blend of differently changed copies.

    Args:
      frames: uint8 `(T, H, W, 3)`.
      rng: draws everything, once for all frames.
      magnitude: levels are uniform between 0 and this, 0…10.
      width: how many chains of operations.
      depth: operations per chain; 0: 1, 2 or 3, drawn for each.
      alpha: of the Dirichlet distribution of the chains' shares and of the Beta distribution of the blend with the
        original.
      fill: colour of what comes in from outside the picture, 0…255.

    Returns:
      uint8, the same shape.
    """
    shares = rng.dirichlet([alpha] * width)
    blend = rng.beta(alpha, alpha)
    mixed = (1 - blend) * frames.astype(np.float32)
    for share in shares:
        changed = frames
        for pick in rng.integers(len(_AUGMIX_OPERATIONS), size=depth or rng.integers(1, 4)):
            level = rng.uniform(0, magnitude)
            changed = _apply(_AUGMIX_OPERATIONS[pick], changed, level, rng, fill, True)
        mixed += np.float32(blend * share) * changed
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _apply(
    name: str, frames: np.ndarray, level: float, rng: np.random.Generator, fill: Sequence[int], increasing: bool
) -> np.ndarray:
    sign = 1 if rng.random() < 0.5 else -1
    return OPERATIONS[name](frames, min(max(level, 0.0), MAX_LEVEL) / MAX_LEVEL, sign, fill, increasing)


def _look_up(frames: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Values replaced by those of `table`, `(256, 3)` per channel or `(256, 1)` for all."""
    flat = np.ascontiguousarray(frames).reshape(-1, frames.shape[2], 3)
    table = np.broadcast_to(table, (256, 3)).astype(np.uint8)
    return cv2.LUT(flat, np.ascontiguousarray(table)[None]).reshape(frames.shape)


def _identity() -> np.ndarray:
    return np.arange(256, dtype=np.uint8)[:, None]


def _blend(zero: np.ndarray, one: np.ndarray, factor: float) -> np.ndarray:
    """`zero` for factor 0, `one` for 1, extrapolated beyond; cut to 0…255, fractions dropped."""
    zero = zero.astype(np.float32)
    return np.clip(zero + np.float32(factor) * (one - zero), 0, 255).astype(np.uint8)
