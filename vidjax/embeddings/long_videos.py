"""Vectors of the windows of long videos, part by part, so that only some windows are in memory at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from vidjax.data.reading.open_video import open_video
from vidjax.data.records import Record
from vidjax.inputs import VideoInput
from vidjax.predictions import ClipVectors
from vidjax.video import VideoError
from vidjax.video.sampling import get_rule

WINDOWS = 64  # of a video that are read at a time


def parts_of(record: Record, clip: VideoInput, hop: int, most: int = WINDOWS) -> list[Record]:
    """Divide a video into parts of at most `most` windows each; together they have the windows of the whole.

    Args:
      record: video, or part of one.
      clip: length and rate of a window.
      hop: source frames from one window to the next.
      most: most windows of a part.

    Returns:
      The parts in the order of time; the record itself if it has few windows or cannot be opened.
    """
    try:
        with open_video(record.path) as video:
            times, fps = np.asarray(video.timestamps), video.fps
    except VideoError:
        return [record]  # reading it tells the reason
    first = 0 if record.start is None else int(np.searchsorted(times, record.start))
    end = len(times) if record.end is None else int(np.searchsorted(times, record.end))
    if end - first < 1:
        return [record]
    rule = get_rule("sliding_window")
    settings = {"stride": clip.stride, "target_fps": clip.fps, "short_video": "hold"}
    windows = rule(end - first, fps, clip.num_frames, hop=hop, **settings)  # type: ignore[call-arg]
    if len(windows) <= most:
        return [record]
    found = []
    for begin in range(0, len(windows), most):
        own = windows[begin : begin + most]
        start, stop = first + int(own[0, 0]), first + int(own[-1, -1]) + 1
        until = record.end if stop >= end else float(times[stop])
        found.append(replace(record, start=record.start if start == first else float(times[start]), end=until))
    return found


def embed_in_parts(
    records: Iterable[Record],
    divide: Callable[[Record], list[Record]],
    embed: Callable[[Iterable[Record]], Iterator[ClipVectors]],
) -> Iterator[ClipVectors]:
    """Compute the vectors of videos from those of their parts.

    Args:
      records: videos.
      divide: function from a video to its parts.
      embed: function from parts to the vectors of each, in their order.

    Yields:
      Vectors of each video, in the order of time, or the first error of its parts.
    """
    counts: deque[int] = deque()

    def parts() -> Iterator[Record]:
        for record in records:
            own = divide(record)
            counts.append(len(own))
            yield from own

    waiting: list[ClipVectors] = []
    for found in embed(parts()):
        waiting.append(found)
        if len(waiting) == counts[0]:
            counts.popleft()
            yield _joined(waiting)
            waiting = []


def _joined(parts: list[ClipVectors]) -> ClipVectors:
    if len(parts) == 1:
        return parts[0]
    if wrong := next((part for part in parts if part.error), None):
        return wrong
    vectors, start, end = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("vectors", "start", "end")
    )
    return ClipVectors(parts[0].path, vectors, start, end)
