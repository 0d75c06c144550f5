"""Preprocessing of decoded frames into network inputs, for callers that decode video themselves."""

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
    """Preprocess frames as for evaluation: resize, crop the centre, normalise, and take differences if the spec does.

    >>> with vidjax.VideoReader("a.mp4") as reader:
    ...     frames = reader.read(range(0, 16, 2))
    >>> frames.shape, frames.dtype
    ((8, 240, 320, 3), dtype('uint8'))
    >>> model, spec = vidjax.create_model("r2plus1d_tiny"), vidjax.get_spec("r2plus1d_tiny")
    >>> model(vidjax.preprocess(frames, spec)[None]).shape
    (1, 6)

    Args:
      frames: RGB frames of a clip, uint8 `(T, H, W, 3)`, or of B clips, `(B, T, H, W, 3)`; H and W are arbitrary.
      spec: spec of a model or checkpoint, whose video input gives sizes, mean, deviation and kind of input.
      resize_rule: "opencv" or "torchvision", as in `config.data.clip.resize_rule`.
      dtype: type of the result; None: float32.

    Returns:
      Input of the network, `(T, size, size, C)` or `(B, T, size, size, C)`; C is 3, or 6 for frames with differences.

    Raises:
      UserError: if frames are not uint8 or not of that shape, or the network takes optical flow.
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
