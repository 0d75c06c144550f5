"""Decoded frames as arrays: RGB, upright and at the requested size."""

import numbers
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from vidjax.video.decoder import Decoder

Box = tuple[int, int, int, int]  # top, left, height, width; pixels


def target_size(height: int, width: int, resize: int | tuple[int, int] | None) -> tuple[int, int]:
    """Height and width of frames after `resize`, which is given as in `VideoReader.read`.

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
    """Check that a crop lies within frames of a given size.

    Raises:
      ValueError: if the crop is empty or reaches beyond the frames.
    """
    top, left, tall, wide = crop
    if not (0 <= top < top + tall <= height and 0 <= left < left + wide <= width):
        raise ValueError(f"crop = {crop!r}: give (top, left, height, width) inside frames of {height}×{width}")


def fit(image: np.ndarray, size: tuple[int, int], crop: Box | None, out: np.ndarray) -> None:
    """Resize a picture, or a part of it, into `out`, bilinear.

    Args:
      image: picture, uint8 `(H, W, 3)`.
      size: height and width to which `crop` refers; a picture of another size is scaled to it before it is cropped.
      crop: (top, left, height, width), pixels; None: the whole picture.
      out: output array, uint8 `(height, width, 3)`.
    """
    if crop is not None:
        if image.shape[:2] != size:
            image = cv2.resize(np.ascontiguousarray(image), size[::-1], interpolation=cv2.INTER_LINEAR)
        top, left, tall, wide = crop
        image = image[top : top + tall, left : left + wide]
    if image.shape == out.shape:
        out[:] = image
    else:
        if image.strides[1:] != (3, 1) or image.strides[0] < 0:  # OpenCV accepts gaps between rows, nothing else
            image = np.ascontiguousarray(image)
        cv2.resize(image, out.shape[1::-1], dst=out, interpolation=cv2.INTER_LINEAR)


def write_frames(
    out: np.ndarray,
    numbers: Sequence[int],
    decoder: Decoder,
    reformatter: VideoReformatter,
    crop: Box | None = None,
) -> None:
    """Decode frames, each once, and write them into `out` as RGB.

    Args:
      out: output array, uint8 `(T, H, W, 3)`; frames of another size are resized, bilinear.
      numbers: T frame numbers in any order.
      decoder: decoder of the video.
      reformatter: converter of the colours; reusing one for frames of the same kind is faster.
      crop: (top, left, height, width) of the part of each frame to write; None: whole frames.

    Raises:
      VideoError: if a frame does not decode.
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
