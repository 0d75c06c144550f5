"""Times of the places of a video's views: those of features computed beforehand, or of the video's own frames."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vidjax.config import DataConfig, Spec
from vidjax.data.listing.datasets import folder_fps
from vidjax.data.reading.clips import clip_indices, segment_frames
from vidjax.data.reading.feature_file import Grid, read_feature_file
from vidjax.data.reading.features import Parts
from vidjax.data.reading.open_video import open_video
from vidjax.data.records import Record, Segments
from vidjax.inputs import SequenceInput
from vidjax.tasks.localise.targets import WHOLE_CLIP, whole_grid


@dataclass(frozen=True)
class Part:
    """The part of a video that one view shows.

    Attributes:
      grid: times of the view's places.
      start: place of the view's first vector or frame, from the first of the video.
      first, last: bounds of the places that the view answers for, from its first; every place belongs to one view.
    """

    grid: Grid
    start: float
    first: float
    last: float


class Timing(Protocol):
    """Times of videos, opened once each."""

    def duration(self, record: Record) -> float:
        """Length of a video, seconds."""
        ...

    def part(self, record: Record, view: int, views: int) -> Part:
        """Part that view `view` of `views` shows."""
        ...


class FeatureTiming:
    """Times of the vectors in files of features; see `SequenceReader` for the views.

    Args:
      input: input of the network.
      config: settings, of which `features` is used.
    """

    def __init__(self, input: SequenceInput, config: DataConfig):
        self._input, self._settings = input, config.features
        self._files: dict[str, tuple[Grid, float]] = {}

    def duration(self, record: Record) -> float:
        """Length of the video: as the file or the annotation states, or else up to the end of the last vector."""
        return self._file(record)[1]

    def part(self, record: Record, view: int, views: int) -> Part:
        """Part that a view shows; see `Parts`."""
        parts, (grid, _) = Parts(self._input.steps), self._file(record)
        start = view * parts.hop
        return Part(Grid(grid.step, grid.reach, grid.first + start), start, *parts.owned(view, views))

    def _file(self, record: Record) -> tuple[Grid, float]:
        if record.path not in self._files:
            file = read_feature_file(record.path, self._input.width)
            grid, count = file.grid(self._settings, record.annotation), len(file.vectors)
            stated = record.annotation.duration if isinstance(record.annotation, Segments) else None
            seconds = file.duration or stated or float(grid.seconds(count - 1 + grid.reach))
            grid = grid.resized(count, self._input.steps) if self._input.resized else grid
            self._files[record.path] = grid, seconds
        return self._files[record.path]


class FrameTiming:
    """Times of the frames that a network sees; see `ClipReader` for the views, which overlap or are the whole video.

    Args:
      spec: spec of the network.
      config: settings of sampling and reading.
    """

    def __init__(self, spec: Spec, config: DataConfig):
        self._spec, self._config = spec, config
        self._whole = config.sampling.eval == WHOLE_CLIP
        self._videos: dict[str, tuple[np.ndarray, float, float]] = {}

    def duration(self, record: Record) -> float:
        """Length of the video, seconds; for clips of whole videos, the annotation goes first, as in the source."""
        stated = record.annotation.duration if self._whole and isinstance(record.annotation, Segments) else None
        return stated or self._video(record)[2]

    def part(self, record: Record, view: int, views: int) -> Part:
        """Part that a view shows: it answers up to the middle of what it shares with its neighbours."""
        starts, step, seconds = self._video(record)
        if self._whole:
            return Part(whole_grid(record, seconds, self._spec.video.num_frames), 0.0, -np.inf, np.inf)
        length, start = self._spec.video.num_frames, starts[view]
        first = 0.5 * (starts[view - 1] + length - start) if view else -np.inf
        last = 0.5 * (starts[view + 1] + length - start) if view < views - 1 else np.inf
        return Part(Grid(step, 0.0, start), start, first, last)

    def _video(self, record: Record) -> tuple[np.ndarray, float, float]:
        """Places of the views' first frames, seconds from frame to frame, and the length in seconds."""
        if record.path not in self._videos:
            how, sampling, video = self._config.reading, self._config.sampling, self._spec.video
            rate = folder_fps(self._config)
            with open_video(record.path, folder_fps=rate, **how.limits) as reader:
                first, count = segment_frames(reader.timestamps, (record.start, record.end))
                clips = first + clip_indices(sampling.eval, count, reader.fps, self._spec, sampling)
                step = 1 / video.fps if video.fps else video.stride / reader.fps
                self._videos[record.path] = reader.timestamps[clips[:, 0]] / step, step, reader.duration
        return self._videos[record.path]
