"""Frames as a decoder gives them → what enters a network: for those who decode themselves."""

from functools import partial
from typing import Any

import jax
import numpy as np

from vidjax.config import Spec
from vidjax.config.spec import need_colour
from vidjax.data.reading import transforms
from vidjax.errors import UserError
from vidjax.inputs import VideoInput
from vidjax.nn.clips import other_order
from vidjax.nn.enter import network_input, normalise


def preprocess(frames: np.ndarray, spec: Spec, *, resize_rule: str = "opencv", dtype: Any = None) -> jax.Array:
    """Frames as evaluation feeds them to a network: resized, the centre cut out, normalised, and their differences
    where the spec asks for them.

    >>> with vidjax.VideoReader("a.mp4") as reader:
    ...     frames = reader.read(range(0, 16, 2))
    >>> frames.shape, frames.dtype
    ((8, 240, 320, 3), dtype('uint8'))
    >>> model, spec = vidjax.create_model("r2plus1d_tiny"), vidjax.get_spec("r2plus1d_tiny")
    >>> model(vidjax.preprocess(frames, spec)[None]).shape
    (1, 6)

    Args:
      frames: uint8 RGB `(T, H, W, 3)`, the frames of a clip, or `(B, T, H, W, 3)`; H and W are any.
      spec: its video input gives sizes, mean and deviation, and what enters: that of a named model, or of a checkpoint.
      resize_rule: "opencv" or "torchvision", as `config.data.clip.resize_rule`.
      dtype: of the result; None: float32.

    Returns:
      `(T, size, size, C)` or `(B, T, size, size, C)`; C is 3, or 6 where frames and differences enter.

    Raises:
      UserError: for frames that are not uint8 or not of that shape, and for networks of optical flow.
    """
    need_colour(spec)
    frames = np.ascontiguousarray(frames)
    shape = frames.shape
    if len(shape) not in (4, 5) or shape[-1] != 3 or 0 in shape:
        order = other_order(shape, 3)
        hint = f". In PyTorch's order {order[0]}? Then frames{order[1]}" if order else ""
        hint = ". A single frame? Then frames[None]" if len(shape) == 3 and shape[-1] == 3 else hint
        raise UserError(f"frames {shape}: expected (T, H, W, 3) or (B, T, H, W, 3), channels last{hint}")
    if frames.dtype != np.uint8:
        raise UserError(f"frames are {frames.dtype}: expected uint8, 0…255, as vidjax.VideoReader reads them")
    if resize_rule not in ("opencv", "torchvision"):
        raise UserError(f"resize_rule = {resize_rule!r}: must be 'opencv' or 'torchvision'")
    pictures = transforms.resize(frames.reshape(-1, *shape[-3:]), spec.video.target, resize_rule)
    height, width = pictures.shape[1:3]
    (box,) = transforms.eval_boxes(height, width, spec.video.size, 1, resize_rule)
    video = transforms.crop(pictures, box, spec.video.size).reshape(-1, shape[-4], spec.video.size, spec.video.size, 3)
    video = _entering(video, spec.video, dtype)
    return video if len(shape) == 5 else video[0]


@partial(jax.jit, static_argnums=(1, 2))
def _entering(video: jax.Array, input: VideoInput, dtype: Any) -> jax.Array:
    return network_input(normalise(video, input), input, dtype)
