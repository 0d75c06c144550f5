"""Sliding windows over a video of any length, in order, each frame decoded once, in constant memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vidjax.config import DataConfig, Spec
from vidjax.config.spec import need_pixels
from vidjax.data.listing.datasets import folder_fps
from vidjax.data.reading import transforms
from vidjax.data.reading.flow_clips import ComputedFields, frames_with_stacks, stacks, write_stacks
from vidjax.data.reading.open_video import FrameReader, open_video
from vidjax.errors import UserError
from vidjax.inputs import FlowFields, VideoInput
from vidjax.video import VideoReader
from vidjax.video.flow import check_method

_BLOCK = 32  # frames decoded at a time


@dataclass(frozen=True)
class Windows:
    """Windows of a fixed number of frames, a fixed number of frames apart, the first from the first frame on.

    The last window may reach beyond the end of the video, whose last frame is then repeated; so every frame is in a
    window, and window i begins at frame `i · stride`.

    Attributes:
      stride: frames from the beginning of one window to that of the next; at most `window`.
      window: frames of a window.
      num_frames: T, frames of it that the network sees, spread evenly.

    Raises:
      UserError: for windows that leave frames out, or have fewer frames than the network sees.
    """

    stride: int
    window: int
    num_frames: int

    def __post_init__(self):
        if not 1 <= self.stride <= self.window:
            raise UserError(
                f"stride = {self.stride}: must be 1 to {self.window} frames, the length of a window; a larger one "
                "leaves frames out"
            )
        if self.window < self.num_frames:
            raise UserError(f"window = {self.window}: must be {self.num_frames} frames or more, those of a clip")

    @classmethod
    def of(cls, video: VideoInput, stride: int = 0, window: int = 0) -> "Windows":
        """Make the windows of a network: as long as its clips, half of that apart, unless other numbers are given."""
        window = window or round(video.num_frames * (1 if video.fps else video.stride))
        return cls(stride or max(1, window // 2), window, video.num_frames)

    def count(self, frames: int) -> int:
        """Number of windows over a video of `frames` frames, 1 or more."""
        return 1 + max(0, -(-(frames - self.window) // self.stride))

    @property
    def offsets(self) -> np.ndarray:
        """Frames that the network sees, from the beginning of a window, int64 `(T,)`."""
        return np.arange(self.num_frames) * self.window // self.num_frames

    def frames(self, number: int, frames: int) -> np.ndarray:
        """Frames of window `number` that the network sees, int64 `(T,)`, of a video of `frames` frames."""
        return np.minimum(number * self.stride + self.offsets, frames - 1)

    def times(self, count: int, fps: float) -> np.ndarray:
        """Middle of each of the first `count` windows, float64 seconds, at `fps` frames/s."""
        return (np.arange(count) * self.stride + 0.5 * self.window) / fps


def frames_at(timestamps: np.ndarray, own: float, fps: float) -> np.ndarray:
    """Frames shown at the times 0, 1/fps, 2/fps … of a video, int64.

    Args:
      timestamps: times of the video's frames, seconds from the first.
      own: average frame rate of the video, frames per second; a frame counts as shown a quarter of a frame early.
      fps: rate to take frames at.
    """
    duration = float(timestamps[-1]) + 1 / own
    times = np.arange(max(1, round(duration * fps))) / fps
    return np.clip(np.searchsorted(timestamps, times + 0.25 / own, side="right") - 1, 0, len(timestamps) - 1)


def view_of(picture: np.ndarray, spec: Spec, config: DataConfig) -> np.ndarray:
    """A picture, uint8 RGB `(H, W, 3)`, resized and cropped as in evaluation, uint8 `(size, size, 3)`."""
    rule = config.clip.resize_rule
    return _cropped(transforms.resize(picture[None], spec.video.target, rule)[0], spec.video.size, rule)


def _cropped(frame: np.ndarray, size: int, rule: str) -> np.ndarray:
    """The middle of a resized frame."""
    height, width = frame.shape[:2]
    (box,) = transforms.eval_boxes(height, width, size, 1, rule)
    return transforms.crop(frame[None], box, size)[0].copy()


class WindowReader:
    """A video, open for reading its windows in order.

    Args:
      path: path of the video.
      spec: spec of the network, with sizes.
      config: settings of resizing and reading.
      windows: windows to read.
      fps: rate at which frames are taken; 0: that of the network's clips or else the video's own.

    Raises:
      VideoError: if the video cannot be opened; while windows are read, if it does not decode.
      UserError: if the network's channels are not those of videos, or its flow cannot be computed from frames here.
    """

    def __init__(self, path: str, spec: Spec, config: DataConfig, windows: Windows, fps: float = 0.0):
        need_pixels(spec)
        if spec.video.flow is not None:
            check_method(spec.video.flow.method)
        self._spec, self._config, self.windows = spec, config, windows
        self._reader: VideoReader | FrameReader = open_video(
            path, folder_fps=folder_fps(config), **config.reading.limits
        )
        self.fps = fps or spec.video.fps or self._reader.fps
        self._numbers = frames_at(self._reader.timestamps, self._reader.fps, self.fps)
        self.duration = self._reader.duration

    def __len__(self) -> int:
        """Number of windows."""
        return self.windows.count(len(self._numbers))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames of the file, pixels."""
        return self._reader.height, self._reader.width

    def close(self) -> None:
        """Close the file."""
        close = getattr(self._reader, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> "WindowReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def clips(self) -> Iterator[np.ndarray]:
        """Read the windows one by one, uint8 `(T, size, size, C)`, resized and cropped as in evaluation."""
        kept: dict[int, np.ndarray] = {}
        upcoming, total = self._pixels(), len(self._numbers)
        newest = -1
        for number in range(len(self)):
            wanted = self._numbers[self.windows.frames(number, total)]
            while newest < wanted[-1]:
                newest, frame = next(upcoming)
                kept[newest] = frame
            for old in [frame for frame in kept if frame < wanted[0]]:
                del kept[old]
            yield np.stack([kept[frame] for frame in wanted])

    def frames(self, every: int = 1) -> Iterator[np.ndarray]:
        """Read every n-th frame at `fps` one by one, uint8 `(size, size, C)`, resized and cropped as in evaluation."""
        wanted = self._numbers[::every]
        newest, frame, upcoming = -1, np.empty(0, np.uint8), self._decoded(np.unique(wanted))
        for number in wanted:
            while newest < number:
                newest, frame = next(upcoming)
            yield frame

    def _pixels(self) -> Iterator[tuple[int, np.ndarray]]:
        """Frames that any window needs, in order, with their numbers in the file."""
        total, windows = len(self._numbers), self.windows
        needed = np.zeros(total, bool)
        for offset in windows.offsets:
            needed[np.minimum(np.arange(len(self)) * windows.stride + offset, total - 1)] = True
        return self._decoded(np.unique(self._numbers[needed]))

    def _decoded(self, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Views of frames of the file, in order, with their numbers."""
        video, rule = self._spec.video, self._config.clip.resize_rule
        if video.flow is not None:
            yield from self._with_flow(numbers, video.flow)
            return
        for number, frame in self._resized(numbers):
            yield number, _cropped(frame, video.size, rule)

    def _resized(self, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Frames of the file, resized, with their numbers."""
        target, rule = self._spec.video.target, self._config.clip.resize_rule
        early = rule == "opencv"
        for first in range(0, len(numbers), _BLOCK):
            block = numbers[first : first + _BLOCK]
            frames = self._reader.read(block, resize=target if early else None)
            yield from zip(block.tolist(), frames if early else transforms.resize(frames, target, rule), strict=True)

    def _with_flow(self, numbers: np.ndarray, flow: FlowFields) -> Iterator[tuple[int, np.ndarray]]:
        """Views with flow: frames are decoded once, and kept until the last field that begins at them is written."""
        video, length = self._spec.video, len(self._reader)
        starts = stacks(numbers, flow.count, length)
        upcoming = self._resized(frames_with_stacks(numbers if video.colours else numbers[:0], starts, length))
        kept: dict[int, np.ndarray] = {}
        for number, fields in zip(numbers.tolist(), starts, strict=True):
            last = min(int(fields[-1]) + 1, length - 1)
            while not kept or max(kept) < max(last, number if video.colours else 0):
                place, frame = next(upcoming)
                kept[place] = frame
            kept = {place: frame for place, frame in kept.items() if place >= min(number, int(fields[0]))}
            height, width = kept[last].shape[:2]
            (box,) = transforms.eval_boxes(height, width, video.size, 1, self._config.clip.resize_rule)
            view = np.empty((1, 1, video.size, video.size, video.read_channels), np.uint8)
            if video.colours:
                view[0, ..., : video.colours] = transforms.crop(kept[number][None], box, video.size)
            places = np.array(sorted(kept))
            computed = ComputedFields(np.stack([kept[place] for place in places]), places, flow.method, keep=False)
            write_stacks(view, fields[None, None], computed, flow, [(0, box, False)])
            yield number, view[0, 0]
