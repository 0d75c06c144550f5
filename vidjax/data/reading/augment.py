"""Random changes of a clip's colours and geometry: colour jitter, greyscale, RandAugment, AugMix.

Frames are uint8 RGB `(T, H, W, 3)`. One draw serves all frames of a clip, and image statistics (histogram, mean) are
those of the whole clip: equal frames stay equal, and nothing flickers.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

cv2.setNumThreads(1)  # see transforms.py

# Largest level of the policies' operations; the smallest is 0.
MAX_LEVEL = 10.0
# Above this standard deviation levels are drawn uniformly, as in the published code.
_UNIFORM_STD = 100.0
_CHANCE = 0.5  # probability that an operation of RandAugment is applied
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601


def colour_jitter(frames: np.ndarray, strength: float, rng: np.random.Generator, hue: float = 0.0) -> np.ndarray:
    """Scale brightness, contrast and saturation by one factor each in `1 ± strength` for the whole clip; then turn hue.

    Args:
      frames: RGB frames, uint8 `(T, H, W, 3)`.
      strength: largest change of a factor, 0…1.
      rng: generator of the three factors, and of the turn if `hue` is not 0.
      hue: largest turn of the colour circle either way, as a share of it, 0…0.5.

    Returns:
      Frames, uint8 `(T, H, W, 3)`. Contrast pulls towards the clip's mean grey, saturation towards each pixel's grey
      (ITU-R 601).
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
    """Set all three channels to the grey of the pixel (ITU-R 601)."""
    flat = np.ascontiguousarray(frames).reshape(-1, frames.shape[2], 3)
    grey = cv2.cvtColor(flat, cv2.COLOR_RGB2GRAY)
    return np.repeat(grey.reshape(frames.shape[:-1])[..., None], 3, axis=-1)


# Operations of the policies, first those without an argument.


def auto_contrast(frames: np.ndarray) -> np.ndarray:
    """Stretch each channel to 0…255."""
    low, high = frames.min(axis=(0, 1, 2)).astype(int), frames.max(axis=(0, 1, 2)).astype(int)
    scale = 255 / np.maximum(high - low, 1)
    table = np.clip(np.arange(256)[:, None] * scale - low * scale, 0, 255).astype(np.uint8)
    return _look_up(frames, np.where(high > low, table, np.arange(256)[:, None]))


def equalise(frames: np.ndarray) -> np.ndarray:
    """Equalise the histogram of each channel."""
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
    """Invert all values."""
    return 255 - frames


# Operations with a numeric argument.


def posterise(frames: np.ndarray, bits: int) -> np.ndarray:
    """Keep only the highest `bits` of each value, 0…8."""
    return frames & np.uint8(256 - (1 << (8 - bits)))


def solarise(frames: np.ndarray, threshold: int) -> np.ndarray:
    """Invert values of `threshold` (0…256) and above."""
    values = np.arange(256)
    return _look_up(frames, np.where(values < threshold, values, 255 - values)[:, None])


def solarise_add(frames: np.ndarray, amount: int) -> np.ndarray:
    """Raise values below 128 by `amount`."""
    values = np.arange(256)
    return _look_up(frames, np.where(values < 128, np.minimum(values + amount, 255), values)[:, None])


def saturation(frames: np.ndarray, factor: float) -> np.ndarray:
    """Change saturation; factor 0: grey, 1: unchanged, above 1: more colour."""
    return _blend(greyscale(frames), frames, factor)


def contrast(frames: np.ndarray, factor: float) -> np.ndarray:
    """Change contrast; factor 0: the clip's mean grey, 1: unchanged, above 1: more contrast."""
    mean = int(greyscale(frames)[..., 0].mean() + 0.5)
    return _look_up(frames, _blend(np.full((256, 1), mean, np.uint8), _identity(), factor))


def brightness(frames: np.ndarray, factor: float) -> np.ndarray:
    """Change brightness; factor 0: black, 1: unchanged, above 1: brighter."""
    return _look_up(frames, _blend(np.zeros((256, 1), np.uint8), _identity(), factor))


def sharpness(frames: np.ndarray, factor: float) -> np.ndarray:
    """Change sharpness; factor 0: smoothed, 1: unchanged, above 1: sharper. Border pixels do not change."""
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
    smooth = frames.copy()
    for frame, out in zip(frames, smooth, strict=True):
        out[1:-1, 1:-1] = cv2.filter2D(np.ascontiguousarray(frame), -1, kernel)[1:-1, 1:-1]
    return _blend(smooth, frames, factor)


def affine(frames: np.ndarray, matrix: Sequence[Sequence[float]], fill: Sequence[int]) -> np.ndarray:
    """Warp frames so that pixel (x, y) comes from `matrix @ (x, y, 1)`, bilinear; `fill` outside the source.

    Coordinates are measured from the upper left corner, so that the centre of the first pixel is (0.5, 0.5).
    """
    turned = np.array(matrix, np.float64)
    turned[:, 2] += turned[:, 0] / 2 + turned[:, 1] / 2 - 0.5  # OpenCV's origin is the centre of the first pixel
    size, flags = (frames.shape[2], frames.shape[1]), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    colour = [int(c) for c in fill]
    return np.stack([cv2.warpAffine(np.ascontiguousarray(f), turned, size, flags=flags, borderValue=colour)
                     for f in frames])  # fmt: skip


def rotate(frames: np.ndarray, degrees: float, fill: Sequence[int]) -> np.ndarray:
    """Rotate frames anticlockwise about the centre."""
    y, x = frames.shape[1] / 2, frames.shape[2] / 2
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return affine(frames, [[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]], fill)


def shear_x(frames: np.ndarray, factor: float, fill: Sequence[int]) -> np.ndarray:
    """Shear frames horizontally: shift each row in proportion to its y."""
    return affine(frames, [[1, factor, 0], [0, 1, 0]], fill)


def shear_y(frames: np.ndarray, factor: float, fill: Sequence[int]) -> np.ndarray:
    """Shear frames vertically: shift each column in proportion to its x."""
    return affine(frames, [[1, 0, 0], [factor, 1, 0]], fill)


def translate_x(frames: np.ndarray, share: float, fill: Sequence[int]) -> np.ndarray:
    """Shift frames to the left by a share of the width."""
    return affine(frames, [[1, 0, share * frames.shape[2]], [0, 1, 0]], fill)


def translate_y(frames: np.ndarray, share: float, fill: Sequence[int]) -> np.ndarray:
    """Shift frames up by a share of the height."""
    return affine(frames, [[1, 0, 0], [0, 1, share * frames.shape[1]]], fill)


# Operation of the policies: (frames, level in 0…1, random sign, colour outside the picture, whether a higher level is
# always a stronger change ("inc")) → frames.
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
    """Apply RandAugment (Cubuk et al. 2019, arXiv 1909.13719) in the form published with timm's recipes, whose
    `rand-m9-n4-mstd0.5-inc1` is magnitude 9, num_ops 4, std 0.5, increasing. Each operation is applied with
    probability 0.5.

    Args:
      frames: RGB frames, uint8 `(T, H, W, 3)`.
      rng: generator of operations, levels and signs, drawn once for all frames.
      magnitude: m, mean level, 0…10.
      num_ops: n, number of operations.
      std: standard deviation of the normal distribution of levels around m, clipped to 0…10; above 100: levels are
        uniform between 0 and m.
      increasing: whether a higher level is a stronger change in every operation; otherwise posterise and solarise
        weaken, and the four factors run from 0.1 to 1.9.
      fill: colour outside the picture, 0…255 per channel.

    Returns:
      Frames, uint8 `(T, H, W, 3)`.
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
    """Apply AugMix (Hendrycks et al. 2019, arXiv 1912.02781): blend a clip with a mixture of augmented copies.

    Args:
      frames: RGB frames, uint8 `(T, H, W, 3)`.
      rng: generator of all draws, made once for all frames.
      magnitude: largest level, 0…10; levels are uniform between 0 and it.
      width: number of chains of operations.
      depth: operations per chain; 0: 1, 2 or 3, drawn for each chain.
      alpha: parameter of the Dirichlet distribution of the chains' shares and of the Beta distribution of the blend
        with the original.
      fill: colour outside the picture, 0…255 per channel.

    Returns:
      Frames, uint8 `(T, H, W, 3)`.
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
    """Replace values by those of `table`, `(256, 3)` per channel or `(256, 1)` for all."""
    flat = np.ascontiguousarray(frames).reshape(-1, frames.shape[2], 3)
    table = np.broadcast_to(table, (256, 3)).astype(np.uint8)
    return cv2.LUT(flat, np.ascontiguousarray(table)[None]).reshape(frames.shape)


def _identity() -> np.ndarray:
    return np.arange(256, dtype=np.uint8)[:, None]


def _blend(zero: np.ndarray, one: np.ndarray, factor: float) -> np.ndarray:
    """Interpolate between `zero` (factor 0) and `one` (1), or extrapolate; clipped to 0…255, fractions dropped."""
    zero = zero.astype(np.float32)
    return np.clip(zero + np.float32(factor) * (one - zero), 0, 255).astype(np.uint8)
