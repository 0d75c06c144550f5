"""Pairs of pictures with true flow: resized, cropped, mirrored and recoloured; the flow follows through the same map.

Augmentation as in the training of RAFT (princeton-vl/RAFT `core/utils/augmentor.py`): random size and stretch, a crop
anywhere, mirroring in both directions, colours of both pictures or of each, and boxes of the second picture erased.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from vidjax.config import DataConfig
from vidjax.data.reading import augment
from vidjax.data.records import Record, TrueFlow
from vidjax.data.views import Views, crop_affine
from vidjax.inputs import PairInput
from vidjax.video import VideoError
from vidjax.video.pixels import Box

cv2.setNumThreads(1)  # see transforms.py

_PICTURE = "expected a picture such as png or ppm: fetch it again, or leave the pair out"


def read_picture(path: str) -> np.ndarray:
    """Read the picture of a file, RGB uint8 `(H, W, 3)`.

    Raises:
      VideoError: if it is absent or cannot be decoded.
    """
    stored = cv2.imread(path, cv2.IMREAD_COLOR)
    if stored is None:
        raise VideoError(path, "cannot be decoded", _PICTURE)
    return cv2.cvtColor(stored, cv2.COLOR_BGR2RGB)


def centred(height: int, width: int, input: PairInput) -> tuple[tuple[int, int], Box]:
    """Size of a picture for evaluation, and the box in its middle that is seen; only too small a picture is resized.

    Args:
      height, width: size of the picture, pixels.
      input: size of the box.
    """
    factor = max(1.0, input.height / height, input.width / width)
    tall, wide = max(input.height, round(height * factor)), max(input.width, round(width * factor))
    return (tall, wide), ((tall - input.height) // 2, (wide - input.width) // 2, input.height, input.width)


def centred_affine(height: int, width: int, input: PairInput) -> np.ndarray:
    """Affine map `(2, 3)` from a picture to its view in evaluation, see `vidjax.data.views.crop_affine`."""
    (tall, wide), box = centred(height, width, input)
    return crop_affine(box, tall, wide)


@dataclass(frozen=True)
class PairReader:
    """Reader of pairs of pictures: a record's own, and the second one of its annotation.

    Attributes:
      input: size of what is seen.
      config: settings, of which `pairs`, `sampling.views` and some of `augment` are used.
    """

    input: PairInput
    config: DataConfig

    def train(self, record: Record, rng: np.random.Generator, *, mirror: bool = True) -> tuple[np.ndarray, Views]:
        """Read augmented views of a pair, uint8 `(V, 2, H, W, 3)`, and their maps.

        Raises:
          VideoError: if a picture cannot be read, or the two differ in size.
        """
        pair = self._read(record)
        drawn = [self._view(pair, rng, mirror) for _ in range(self.config.sampling.views)]
        pictures, mirrored, affine = zip(*drawn, strict=True)
        return np.stack(pictures), _views(mirrored, affine)

    def evaluate(self, record: Record, num_clips: int, num_crops: int) -> tuple[np.ndarray, Views]:
        """Read the middle of a pair, uint8 `(1, 2, H, W, 3)`; see `centred`.

        Raises:
          VideoError: if a picture cannot be read, or the two differ in size.
        """
        del num_clips, num_crops  # the task refuses other numbers than 1
        pair = self._read(record)
        size, box = centred(pair.shape[1], pair.shape[2], self.input)
        return _cut(pair, size, box)[None], _views((False,), (crop_affine(box, *size),))

    def _read(self, record: Record) -> np.ndarray:
        if not isinstance(record.annotation, TrueFlow):
            raise VideoError(record.path, "has no second picture", "list pairs with true flow")
        first, second = read_picture(record.path), read_picture(record.annotation.second)
        if first.shape != second.shape:
            raise VideoError(
                record.path,
                f"is a picture of {first.shape[1]}×{first.shape[0]} pixels, and {record.annotation.second} one of "
                f"{second.shape[1]}×{second.shape[0]}",
                "leave the pair out",
            )
        return np.stack([first, second])

    def _view(self, pair: np.ndarray, rng: np.random.Generator, mirror: bool) -> tuple[np.ndarray, bool, np.ndarray]:
        """One view of a pair, whether it is mirrored left to right, and its map."""
        size = self._size(pair.shape[1], pair.shape[2], rng)
        tall, wide = self.input.height, self.input.width
        box = int(rng.integers(size[0] - tall + 1)), int(rng.integers(size[1] - wide + 1)), tall, wide
        mirrored = bool(rng.random() < 0.5) and mirror
        upside_down = bool(rng.random() < self.config.pairs.upside_down)
        affine = crop_affine(box, *size, mirrored=mirrored)
        view = _cut(pair, size, box)[:, :: -1 if upside_down else 1, :: -1 if mirrored else 1]
        if upside_down:
            affine = np.stack([affine[0], np.array([0.0, 0.0, 1.0]) - affine[1]])
        return self._erase(self._recolour(np.ascontiguousarray(view), rng), rng), mirrored, affine

    def _size(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
        """Draw the size that pictures are resized to, at least that of a view."""
        config, down, across = self.config.pairs, 1.0, 1.0
        if rng.random() < config.resized:
            down = across = math.exp(rng.uniform(*np.log(config.scale)))
            if rng.random() < config.stretched:
                down, across = (factor * 2 ** rng.uniform(-config.stretch, config.stretch) for factor in (down, across))
        return max(self.input.height, round(height * down)), max(self.input.width, round(width * across))

    def _recolour(self, pair: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        config = self.config.augment
        if (config.colour_jitter or config.hue) and rng.random() < config.jittered:
            parts = [pair[:1], pair[1:]] if rng.random() < self.config.pairs.apart else [pair]
            pair = np.concatenate([augment.colour_jitter(x, config.colour_jitter, rng, config.hue) for x in parts])
        return augment.greyscale(pair) if rng.random() < config.greyscale else pair

    def _erase(self, pair: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Set one or two boxes of the second picture to its mean colour, perhaps."""
        config = self.config.pairs
        if rng.random() >= config.erase:
            return pair
        second = pair[1]
        colour = np.rint(second.mean(axis=(0, 1))).astype(np.uint8)
        for _ in range(rng.integers(1, 3)):
            left, top = int(rng.integers(second.shape[1])), int(rng.integers(second.shape[0]))
            wide, tall = rng.integers(config.erase_side[0], config.erase_side[1] + 1, 2)
            second[top : top + tall, left : left + wide] = colour
        return pair


def _cut(pair: np.ndarray, size: tuple[int, int], box: Box) -> np.ndarray:
    """Resize the pictures of a pair to (height, width), and crop a box."""
    top, left, tall, wide = box
    if pair.shape[1:3] != size:
        pair = np.stack([cv2.resize(x, (size[1], size[0]), interpolation=cv2.INTER_LINEAR) for x in pair])
    return pair[:, top : top + tall, left : left + wide]


def _views(mirrored: tuple[bool, ...], affine: tuple[np.ndarray, ...]) -> Views:
    numbers = np.tile(np.arange(2), (len(mirrored), 1))
    return Views.of(numbers, numbers.astype(np.float64), mirrored, affine)
