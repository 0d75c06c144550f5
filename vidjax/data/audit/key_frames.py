"""Check of the times of annotated key frames against the videos: outside of them, or counted at another rate."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from vidjax.data.listing.rows import Row

_SLACK = 0.02  # share by which a rate or a length may differ
WRONG = "wrong annotation"
_CUT = 900.0  # seconds at which AVA's videos are usually cut


class Opened(Protocol):
    """Facts of an opened video."""

    path: str

    @property
    def fps(self) -> float: ...

    @property
    def duration(self) -> float: ...


def _zero(path: str) -> float:
    del path
    return 0.0


@dataclass(frozen=True)
class KeyFrames:
    """Expectations of videos with annotated key frames.

    Attributes:
      start: path of a file → time of the annotations at which it begins, seconds.
      fps: frame rate at which the annotations count frames; 0: they give times.
      duration: length of every file, seconds; 0: any.
    """

    start: Callable[[str], float] = _zero
    fps: float = 0.0
    duration: float = 0.0

    def judge(self, video: Opened, row: Row) -> tuple[str, str] | None:
        """Status and reason of a key frame that does not fit its video; None: it fits, or the row has none."""
        if row.at is None:
            return None
        if self.fps and abs(video.fps - self.fps) > _SLACK * self.fps:
            return "wrong fps", (
                f"{video.fps:.4g} frames/s, but the annotations number frames at {self.fps:g} frames/s: extract its "
                "frames into a folder, or encode it at that rate"
            )
        if self.duration and os.path.isdir(video.path) and abs(video.duration / self.duration - 1) > _SLACK:
            return "wrong fps", (
                f"{video.duration:.0f} s at {video.fps:g} frames/s instead of {self.duration:.0f} s: give "
                f"config.data.folder_fps={video.fps * video.duration / self.duration:.3g}"
            )
        seconds = row.at - self.start(row.path)
        if 0 <= seconds <= video.duration + 1 / video.fps:
            return None
        if seconds < 0:
            return (
                "wrong annotation",
                f"its key frame at {row.at:g} s is before the beginning of the file, {-seconds:g} s later",
            )
        mend = "do its times count frames at another rate, or from another cut of the video?"
        if 0 <= seconds - _CUT <= video.duration:
            mend = f"if the videos are cut at {_CUT:g} s, as AVA's are, give config.task.detect.file_start={_CUT:g}"
        elif os.path.isdir(video.path):
            mend = f"is config.data.folder_fps, now {video.fps:g}, the rate of the frames?"
        return WRONG, f"its key frame at {row.at:g} s is after the end at {video.duration:.2f} s; {mend}"


ANYWHERE = KeyFrames()  # times count from the first frame
