"""The time that opening or reading a video may take."""

import os
import time

from vidjax.video.errors import VideoError


class Clock:
    """Counts down the time of a call.

    Args:
      path: of the video, for the message.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = path
        self.start(float("inf"))

    def start(self, timeout: float) -> None:
        """From now on there are `timeout` seconds."""
        self.timeout, self._deadline = timeout, time.monotonic() + timeout

    def left(self) -> float:
        """Seconds that are left, a moment at least."""
        return max(self._deadline - time.monotonic(), 0.001)

    def check(self) -> None:
        """Raises the `error` once the time is up."""
        if time.monotonic() > self._deadline:
            raise self.error()

    def error(self) -> VideoError:
        """What there is to say then."""
        mend = "look at the disk and the file, or allow more with timeout="
        return VideoError(self.path, f"reading stalled and was given up after {self.timeout:g} s", mend)
