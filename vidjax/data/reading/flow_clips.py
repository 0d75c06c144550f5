"""Channels of optical flow in clips: fields computed from the frames of a video, or read where they are stored.

Frames are resized first; flow is of the resized frames; then it is cropped and mirrored like them. Each field that any
frame of a clip needs is computed once.
"""

import logging
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vidjax.errors import UserError
from vidjax.inputs import FlowFields, VideoInput
from vidjax.video import VideoError, flow
from vidjax.video.flow_folder import StoredFlow
from vidjax.video.pixels import Box, target_size

log = logging.getLogger("vidjax")
_told: set[tuple[str, str]] = set()


class Fields(Protocol):
    """Fields of flow of one video, of one size."""

    def field(self, number: int) -> np.ndarray:
        """Field from the frame of a number in the file to the next, float32 `(H, W, 2)`."""
        ...


class ComputedFields:
    """Fields that are computed when they are asked for, and kept, if several clips need them.

    Args:
      frames: frames of the video, uint8 `(N, H, W, 3)`.
      numbers: their numbers in the file, `(N,)`, ascending; of every field, both frames must be among them.
      method: name of the algorithm, one of `vidjax.video.flow.METHODS`.
      keep: whether to keep fields.
    """

    def __init__(self, frames: np.ndarray, numbers: np.ndarray, method: str, *, keep: bool):
        self._greys = flow.grey(frames)
        self._places = {number: place for place, number in enumerate(numbers.tolist())}
        self._method, self._keep = method, keep
        self._kept: dict[int, np.ndarray] = {}

    def field(self, number: int) -> np.ndarray:
        """Field from a frame to the next; see `Fields`. A video of one frame has a field of zeros."""
        if number in self._kept:
            return self._kept[number]
        first, second = self._places[number], self._places.get(number + 1)
        if second is None:
            return np.zeros((*self._greys.shape[1:], 2), np.float32)
        made = flow.estimate(self._greys[first], self._greys[second], self._method)
        if self._keep:
            self._kept[number] = made
        return made


@dataclass(frozen=True)
class ResizedFields:
    """Stored fields, resized to the size of a clip's frames; the vectors grow with the picture."""

    stored: StoredFlow
    height: int
    width: int

    def field(self, number: int) -> np.ndarray:
        """Field from a frame to the next; see `Fields`. A video of one frame has a field of zeros."""
        if not len(self.stored):
            return np.zeros((self.height, self.width, 2), np.float32)
        return flow.resize(self.stored.field(number), self.height, self.width)


class FlowReader:
    """Reader of a video of which only stored fields are read, used like `VideoReader`.

    Args:
      path: path of the video or folder, for messages.
      stored: its fields.
      fps: frame rate, frames per second.
    """

    def __init__(self, path: str, stored: StoredFlow, fps: float):
        self.path, self.fps = path, fps
        self.height, self.width = stored.size
        self._length = len(stored) + 1

    def __len__(self) -> int:
        return self._length

    @property
    def timestamps(self) -> np.ndarray:
        """Times of the frames, float64 `(N,)`, in seconds from the first frame."""
        return np.arange(len(self)) / self.fps

    def read(
        self, indices: np.ndarray, *, crop: Box | None = None, resize: int | tuple[int, int] | None = None
    ) -> np.ndarray:
        """No frames: the result has the size of the fields, uint8 `(0, H, W, 3)`."""
        if len(indices) or crop is not None:
            raise VideoError(self.path, "holds flow without colours", "set config.model.input=flow")
        return np.empty((0, *target_size(self.height, self.width, resize), 3), np.uint8)

    def close(self) -> None:
        """Do nothing, as no file is open; for the same interface as `VideoReader`."""

    def __enter__(self) -> "FlowReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def suited(stored: StoredFlow | None, fields: FlowFields) -> StoredFlow | None:
    """Stored fields if they are of the method that a network takes, or it takes any; None: they must be computed.

    A warning names both methods, once, if they differ.
    """
    if stored is None or fields.method in ("folder", stored.method):
        return stored
    if (pair := (stored.method, fields.method)) not in _told:
        _told.add(pair)
        log.warning(
            "%s: its stored flow is of %s, and %s is computed from the frames instead; to read what is stored, set "
            "config.data.flow=folder",
            stored.path,
            *pair,
        )
    return None


def check_fields(fields: FlowFields) -> None:
    """Check that fields can be read on the host, from files.

    Raises:
      UserError: if the method is not one of the host's, or the installed OpenCV lacks it.
    """
    if fields.method != "folder" and not fields.on_device:
        flow.check_method(fields.method)
    if fields.rounding not in flow.ROUNDINGS:
        raise UserError(f"rounding of flow {fields.rounding!r}: must be one of {', '.join(flow.ROUNDINGS)}")


def stacks(indices: np.ndarray, count: int, length: int) -> np.ndarray:
    """Numbers of the fields of each frame, int64 `(…, L)`: those from the frame on, the video's last one repeated.

    Args:
      indices: numbers of the frames.
      count: L, fields per frame.
      length: frames of the video, one more than its fields.
    """
    return np.minimum(np.asarray(indices)[..., None] + np.arange(count), max(length - 2, 0))


def shown(indices: np.ndarray, input: VideoInput, length: int) -> np.ndarray:
    """Numbers of the frames whose colours clips hold, `(K, T)`; or `(K, T·(L + 1))` if the device estimates L fields
    for each of their frames: L + 1 successive ones, the video's last one repeated.

    Args:
      indices: numbers of the frames of clips, `(K, T)`.
      input: the clips' description.
      length: frames of the video.
    """
    if input.flow is None or not input.flow.on_device:
        return indices
    successive = np.minimum(indices[..., None] + np.arange(input.flow.count + 1), length - 1)
    return successive.reshape(len(indices), -1)


def side_by_side(video: np.ndarray, input: VideoInput) -> np.ndarray:
    """Put the L + 1 frames of `shown` side by side, uint8 `(V, T·(L + 1), H, W, 3)` → `(V, T, H, W, 3·(L + 1))`; other
    clips stay."""
    if input.flow is None or not input.flow.on_device:
        return video
    views, _, height, width, _ = video.shape
    apart = video.reshape(views, -1, input.flow.count + 1, height, width, 3)
    return np.moveaxis(apart, 2, 4).reshape(*apart.shape[:2], height, width, input.host_channels)


def drawn(input: VideoInput) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the channels that augmentation draws on, in 0…1; of flow's frames without colours of their
    own, those of ImageNet."""
    if input.flow is None or not input.flow.on_device:
        return input.mean, input.std
    if input.colours:
        return input.mean[:3], input.std[:3]
    plain = VideoInput(1)
    return plain.mean, plain.std


def frames_with_stacks(indices: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """Numbers of all frames that clips and the fields of their frames need, ascending.

    Args:
      indices: numbers of the frames of clips; may be empty.
      starts: numbers of fields, see `stacks`.
      length: frames of the video.
    """
    return np.unique(np.concatenate([indices.ravel(), starts.ravel(), np.minimum(starts.ravel() + 1, length - 1)]))


def write_stacks(
    out: np.ndarray,
    starts: np.ndarray,
    fields: Fields,
    settings: FlowFields,
    views: list[tuple[int, Box, bool]],
) -> None:
    """Write the fields of views into the last channels of their arrays, each field made once for all of them.

    Args:
      out: views, uint8 `(V, T, size, size, C)`.
      starts: numbers of the fields of clips, `(K, T, L)`.
      fields: fields of the video, of the size that boxes refer to.
      settings: number of fields, bound and rounding.
      views: for each view, the number of its clip in `starts`, its box, and whether it is mirrored.
    """
    first, size = out.shape[-1] - settings.channels, out.shape[2]
    for number in np.unique(starts):
        field = fields.field(int(number))
        if settings.mean_subtracted:
            field = flow.subtract_mean(field)
        places = [np.argwhere(clip == number) for clip in starts]
        made: dict[tuple[Box, bool], np.ndarray] = {}
        for view, (clip, box, mirrored) in zip(out, views, strict=True):
            if not len(places[clip]):
                continue
            if (box, mirrored) not in made:
                made[box, mirrored] = _seen(field, box, size, settings, mirrored)
            for t, level in places[clip]:
                channel = first + 2 * level
                view[t, :, :, channel : channel + 2] = made[box, mirrored]


def _seen(field: np.ndarray, box: Box, size: int, settings: FlowFields, mirrored: bool) -> np.ndarray:
    """Crop of a field in 8 bits, uint8 `(size, size, 2)`. Mirrored, motion to the right v becomes 255 - v."""
    top, left, height, width = box
    part = flow.resize(field[top : top + height, left : left + width], size, size)
    values = flow.quantise(part, settings.bound, settings.rounding)
    if not mirrored:
        return values
    values = np.ascontiguousarray(values[:, ::-1])
    np.subtract(255, values[..., 0], out=values[..., 0])
    return values
