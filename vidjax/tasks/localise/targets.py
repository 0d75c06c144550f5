"""Segments of a clip of features or frames: where they lie on the clip's grid, and their classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vidjax.data.reading.feature_file import Grid
from vidjax.data.reading.features import grid_of, inside
from vidjax.data.records import LabelSpace, Record, Segments
from vidjax.data.text import DataError
from vidjax.data.views import Views
from vidjax.inputs import Field

KINDS = frozenset({"segments"})
WHOLE_CLIP = "opentad_whole"  # sampling rule whose clip is the whole video


@dataclass(frozen=True)
class SegmentTargets:
    """Segments of a video, for each of its views, in steps from the view's first.

    A segment that a view cuts is cut too, or left out if less than a share of it is inside, or if it is very short.

    Attributes:
      labels: classes of the data set.
      count: N, most segments of a view.
      keep: least share of a segment that must lie inside a view.
      shortest: share of the view's steps that a segment must exceed.
      frames: whether the steps are a video's frames, which stand for their own time; otherwise vectors of windows.
      whole: whether the frames are spread over the whole video, see `whole_grid`.
      mirrors: whether training clips may be mirrored.
    """

    labels: LabelSpace
    count: int = 256
    keep: float = 0.5
    shortest: float = 0.0
    frames: bool = False
    whole: bool = False
    mirrors: bool = False

    kinds: ClassVar[frozenset[str]] = KINDS

    def fields(self) -> Mapping[str, Field]:
        """Fields `segments`, starts and ends, of which both are 0 in padding, and `classes`, class numbers."""
        return {
            "segments": Field((self.count, 2), "float32"),
            "classes": Field((self.count,), "int32", below=len(self.labels.names)),
        }

    def of(self, record: Record, views: Views) -> Mapping[str, np.ndarray]:
        """Segments of a video in its views, in the order of the annotation.

        Args:
          record: video with its segments, in seconds.
          views: views, with the times of their steps; without these, segments are given in seconds.

        Returns:
          `segments` float32 `(V, N, 2)` and `classes` int32 `(V, N)`.

        Raises:
          DataError: if a view has more segments than fit.
        """
        spans = record.annotation.spans if isinstance(record.annotation, Segments) else ()
        times = np.array([span[:2] for span in spans], np.float64).reshape(-1, 2)
        numbers = np.array([span[2] for span in spans], np.int32)
        segments = np.zeros((len(views), self.count, 2), np.float32)
        classes = np.zeros((len(views), self.count), np.int32)
        for view in range(len(views)):
            placed, kept = self._placed(times, *self._grid(record, views, view))
            if len(placed) > self.count:
                raise DataError(
                    f"{record.path}: a clip has {len(placed)} segments, more than "
                    f"config.task.localise.max_segments = {self.count}; raise it"
                )
            segments[view, : len(placed)], classes[view, : len(placed)] = placed, numbers[kept]
        return {"segments": segments, "classes": classes}

    def _grid(self, record: Record, views: Views, view: int) -> tuple[Grid, int]:
        """Grid of a view and its number of steps; 0: places are seconds."""
        times = views.times[view]
        if not self.whole or len(times) < 2:
            return grid_of(views, view)
        length = len(times) / (len(times) - 1) * float(times[-1] - times[0])
        return whole_grid(record, (record.start or 0.0) + length, len(times)), len(times)

    def _placed(self, times: np.ndarray, grid: Grid, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Segments on a view's grid `(n, 2)`, and which of the video's they are."""
        spans = grid.place(times)
        if not steps:
            return spans, np.arange(len(spans))
        reach = 0.0 if self.frames else grid.reach
        first, last = -reach, steps + reach
        cut = np.clip(spans, first, last)
        long = cut[:, 1] - cut[:, 0] > self.shortest * steps if self.shortest else True
        kept = np.flatnonzero((inside(spans, first, last) >= self.keep) & long)
        return cut[kept], kept


def whole_grid(record: Record, end: float, frames: int) -> Grid:
    """Grid of frames spread over a whole video, or the record's part of it: frame i stands for i / frames of it.

    Source: `convert_to_seconds` and `LoadFrames` of sming256/OpenTAD.

    Args:
      record: video; the length that its annotation states goes first.
      end: end of the video or part where that states none, seconds.
      frames: number of frames.
    """
    stated = record.annotation.duration if isinstance(record.annotation, Segments) else None
    return Grid.spread(record.start or 0.0, record.end or stated or end, frames)
