"""Pictures of a clip with a map of its places laid over them."""

from pathlib import Path

import cv2
import numpy as np

from vidjax.inputs import VideoInput
from vidjax.video.flow import dequantise
from vidjax.video.flow_colours import flow_colours
from vidjax.video.write import VideoWriter

_SIDE = 256  # least height of the video's pictures, pixels


def pictures_of(video: np.ndarray, input: VideoInput) -> np.ndarray:
    """Clips as people can see them, RGB uint8 `(V, T, H, W, 3)`: colours, or the first field of flow on its wheel."""
    if input.flow is None or input.content != "flow" or input.flow.on_device:
        return video[..., :3]
    fields = dequantise(video[..., :2], 127.5)
    longest = float(np.hypot(fields[..., 0], fields[..., 1]).max())
    colours = [flow_colours(field, longest) for field in fields.reshape(-1, *fields.shape[2:])]
    return np.stack(colours).reshape(*video.shape[:-1], 3)


def enlarged(maps: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """Maps `(t, h, w)` as shares of the largest positive value for every pixel of a clip, float32 `(T, H, W)`."""
    positive = np.maximum(maps, 0) / max(float(maps.max()), 1e-12)
    times, height, width = size
    planes = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in positive]
    places = np.clip((np.arange(times) + 0.5) * len(planes) / times - 0.5, 0, len(planes) - 1)
    low = np.floor(places).astype(int)
    high, share = np.minimum(low + 1, len(planes) - 1), (places - low)[:, None, None]
    stacked = np.stack(planes)
    return ((1 - share) * stacked[low] + share * stacked[high]).astype(np.float32)


def overlaid(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Picture with warm colours where the map is high, uint8 `(H, W, 3)`."""
    from matplotlib import colormaps

    colour = 255 * colormaps["inferno"](heat)[..., :3]
    grey = np.repeat(picture.mean(axis=-1, keepdims=True), 3, axis=-1)
    share = 0.25 + 0.6 * heat[..., None]
    return np.rint((1 - share) * (0.5 * grey + 0.5 * picture) + share * colour).astype(np.uint8)


def write_overlay(path: Path, pictures: np.ndarray, heats: list[np.ndarray], times: np.ndarray) -> None:
    """Write a video of clips, each picture beside the same one under its map.

    Args:
      path: path of the MP4 file.
      pictures: RGB uint8 `(V, T, H, W, 3)`.
      heats: maps of the V clips, `(T, H, W)` each, 0…1.
      times: times of the pictures, seconds, `(V, T)`; their distance sets the frame rate.
    """
    steps = np.diff(times, axis=1)
    fps = 1 / float(np.median(steps[steps > 0])) if (steps > 0).any() else 10.0
    scale = max(1, -(-_SIDE // pictures.shape[2]))
    with VideoWriter(path, fps=min(fps, 60.0)) as file:
        for clip, heat in zip(pictures, heats, strict=True):
            for picture, own in zip(clip, heat, strict=True):
                both = np.concatenate([picture, overlaid(picture, own)], axis=1)
                file.write(both.repeat(scale, axis=0).repeat(scale, axis=1))
