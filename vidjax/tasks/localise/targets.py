"""Segments of a clip of features: where they lie on the clip's grid, and their classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vidjax.data.reading.features import grid_of, inside
from vidjax.data.records import LabelSpace, Record, Segments
from vidjax.data.text import DataError
from vidjax.data.views import Views
from vidjax.inputs import Field

KINDS = frozenset({"segments"})


@dataclass(frozen=True)
class SegmentTargets:
    """Segments of a video, for each of its views, in steps from the view's first.

    A segment that a view cuts is cut too, or left out if less than a share of it is inside.

    Attributes:
      labels: classes of the data set.
      count: N, most segments of a view.
      keep: least share of a segment that must lie inside a view.
      frames: whether the steps are a video's frames, which stand for their own time; otherwise vectors of windows.
    """

    labels: LabelSpace
    count: int = 256
    keep: float = 0.5
    frames: bool = False

    kinds: ClassVar[frozenset[str]] = KINDS

    @property
    def mirrors(self) -> bool:
        """False: features cannot be mirrored."""
        return False

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
            placed, kept = self._placed(times, views, view)
            if len(placed) > self.count:
                raise DataError(
                    f"{record.path}: a clip has {len(placed)} segments, more than "
                    f"config.task.localise.max_segments = {self.count}; raise it"
                )
            segments[view, : len(placed)], classes[view, : len(placed)] = placed, numbers[kept]
        return {"segments": segments, "classes": classes}

    def _placed(self, times: np.ndarray, views: Views, view: int) -> tuple[np.ndarray, np.ndarray]:
        """Segments on a view's grid `(n, 2)`, and which of the video's they are."""
        grid, steps = grid_of(views, view)
        spans = grid.place(times)
        if not steps:
            return spans, np.arange(len(spans))
        reach = 0.0 if self.frames else grid.reach
        first, last = -reach, steps + reach
        kept = np.flatnonzero(inside(spans, first, last) >= self.keep)
        return np.clip(spans[kept], first, last), kept
