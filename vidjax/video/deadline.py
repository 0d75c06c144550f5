"""The deadline for opening or reading a video."""

import os
import time

from vidjax.video.errors import VideoError


class Clock:
    """A countdown for one call.

    Args:
      path: path of the video, for the message.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = path
        self.start(float("inf"))

    def start(self, timeout: float) -> None:
        """Start a countdown of `timeout` seconds."""
        self.timeout, self._deadline = timeout, time.monotonic() + timeout

    def left(self) -> float:
        """Seconds left; always positive, so that it can be passed on as a timeout."""
        return max(self._deadline - time.monotonic(), 0.001)

    def check(self) -> None:
        """Raise a `VideoError` if the deadline has passed."""
        if time.monotonic() > self._deadline:
            raise self.error()

    def error(self) -> VideoError:
        """The `VideoError` to raise when the deadline has passed."""
        mend = "look at the disk and the file, or allow more with timeout="
        return VideoError(self.path, f"reading stalled and was given up after {self.timeout:g} s", mend)
