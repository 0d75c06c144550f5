"""Decoded frames as arrays: RGB, upright, of the size asked for."""

import numbers
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from vidjax.video.decoder import Decoder

Box = tuple[int, int, int, int]  # top, left, height, width; pixels


def target_size(height: int, width: int, resize: int | tuple[int, int] | None) -> tuple[int, int]:
    """Height and width that frames of that size are resized to; `resize` as in `VideoReader.read`.

    Raises:
      ValueError: if `resize` is neither a number of pixels, nor a pair of them, nor None.
    """
    if resize is None:
        return height, width
    if isinstance(resize, numbers.Integral) and resize >= 1:
        short = min(height, width)
        return max(1, int(height * resize / short + 0.5)), max(1, int(width * resize / short + 0.5))
    pair = isinstance(resize, Sequence) and len(resize) == 2
    if pair and all(isinstance(r, numbers.Integral) and r >= 1 for r in resize):
        return int(resize[0]), int(resize[1])
    raise ValueError(f"resize = {resize!r}: give the short side in pixels, or (height, width), or None")


def check_crop(crop: Box, height: int, width: int) -> None:
    """Refuse a part that is empty or reaches beyond frames of that size.

    Raises:
      ValueError: naming both.
    """
    top, left, tall, wide = crop
    if not (0 <= top < top + tall <= height and 0 <= left < left + wide <= width):
        raise ValueError(f"crop = {crop!r}: give (top, left, height, width) inside frames of {height}×{width}")


def fit(image: np.ndarray, size: tuple[int, int], crop: Box | None, out: np.ndarray) -> None:
    """Write a picture, or a part of it, at the size of `out`, bilinear.

    Args:
      image: uint8 `(H, W, 3)`.
      size: height and width that pictures have where `crop` is meant; one of another size is scaled to it first.
      crop: (top, left, height, width); None: all of it.
      out: uint8 `(height, width, 3)`.
    """
    if crop is not None:
        if image.shape[:2] != size:
            image = cv2.resize(np.ascontiguousarray(image), size[::-1], interpolation=cv2.INTER_LINEAR)
        top, left, tall, wide = crop
        image = image[top : top + tall, left : left + wide]
    if image.shape == out.shape:
        out[:] = image
    else:
        if image.strides[1:] != (3, 1) or image.strides[0] < 0:  # OpenCV takes gaps between rows, nothing else
            image = np.ascontiguousarray(image)
        cv2.resize(image, out.shape[1::-1], dst=out, interpolation=cv2.INTER_LINEAR)


def write_frames(
    out: np.ndarray,
    numbers: Sequence[int],
    decoder: Decoder,
    reformatter: VideoReformatter,
    crop: Box | None = None,
) -> None:
    """Decodes frames, each once, and writes them as RGB.

    Args:
      out: uint8 `(T, H, W, 3)`; frames of another size are resized, bilinear.
      numbers: T frame numbers in any order.
      decoder: what they come from.
      reformatter: converts the colours; one that has been used on such frames is faster.
      crop: the part of each frame that is wanted; None: all of it.

    Raises:
      VideoError: for a frame that does not decode.
    """
    slots: dict[int, list[int]] = {}
    for t, number in enumerate(numbers):
        slots.setdefault(number, []).append(t)
    for number, frame in decoder.frames(sorted(slots)):
        image = _rgb(frame, decoder.orientation, reformatter)
        first, *others = slots[number]
        fit(image, (decoder.height, decoder.width), crop, out[first])
        for t in others:
            out[t] = out[first]


def _rgb(frame: Any, orientation: tuple[bool, bool, bool], reformatter: VideoReformatter) -> np.ndarray:
    """`(H, W, 3)` as shown, sharing memory with the converted frame."""
    frame = reformatter.reformat(frame, format="rgb24", interpolation=Interpolation.BILINEAR, threads=1)
    plane = frame.planes[0]
    image = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)[:, : 3 * frame.width]
    image = image.reshape(frame.height, frame.width, 3)
    transpose, mirror_x, mirror_y = orientation
    if transpose:
        image = image.transpose(1, 0, 2)
    return image[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1]
