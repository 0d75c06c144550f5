"""Writing of H.264 videos, frame by frame in constant memory."""

import os
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

_CLOCK = 90_000  # ticks per second of frames with a time of their own


class VideoWriter:
    """H.264 video in an MP4 file, without sound: `with VideoWriter("out.mp4", fps=25) as out: out.write(frame)`.

    The file gets its name when it is complete: after an error there is none, or the one that was there before. H.264
    needs even sides: frames with an odd one get their last row or column twice.

    Args:
      path: path of the file, whatever its ending; its folder is created if necessary.
      fps: frames per second; of frames with times, an average.
      options: options of the encoder libx264, such as `{"crf": "16"}` for a better picture than the default's 20.

    Raises:
      ValueError: if `fps` is not positive.
    """

    def __init__(self, path: str | os.PathLike, *, fps: float, options: Mapping[str, str] | None = None):
        if not 0 < fps < float("inf"):
            raise ValueError(f"fps = {fps!r}: must be positive, in frames per second")
        self.path = Path(path)
        self._rate = Fraction(fps).limit_denominator(1001) or Fraction(1, 1001)
        self._options = {"crf": "20", "preset": "veryfast", **(options or {})}
        self._partial = self.path.with_suffix(".part")
        self._open: tuple[Any, Any] | None = None  # container and stream
        self._timed = False
        self._last = -1
        self._shape = (0, 0, 0)

    def write(self, frame: np.ndarray, time: float | None = None) -> None:
        """Append a frame.

        Args:
          frame: RGB picture, uint8 `(H, W, 3)`, of the same size as the first.
          time: time at which it is shown, seconds, rising from frame to frame; None for all frames: 1 / fps after the
            one before.

        Raises:
          ValueError: if the frame has another size than the first, its time does not rise, or only some frames have
            times.
        """
        container, stream = self._open = self._open or self._opened(frame, timed=time is not None)
        if frame.shape != self._shape or frame.dtype != np.uint8:
            raise ValueError(f"{self.path}: a frame of {frame.dtype} {frame.shape}, not uint8 {self._shape}")
        if (time is not None) != self._timed:
            raise ValueError(f"{self.path}: give all frames a time, or none")
        height, width = frame.shape[:2]
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        if time is not None:
            picture.pts, picture.time_base = round(time * _CLOCK), Fraction(1, _CLOCK)
            if picture.pts <= self._last:
                raise ValueError(f"{self.path}: time = {time}: must be after that of the frame before")
            self._last = picture.pts
        container.mux(stream.encode(picture))

    def close(self) -> None:
        """Complete the file; without a frame there is none."""
        if self._open is None:
            return
        container, stream = self._open
        container.mux(stream.encode())
        container.close()
        self._open = None
        self._partial.replace(self.path)

    def _opened(self, frame: np.ndarray, *, timed: bool) -> tuple[Any, Any]:
        if frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"{self.path}: a frame of shape {frame.shape}, not (H, W, 3)")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        container: Any = av.open(str(self._partial), "w", format="mp4")
        stream: Any = container.add_stream("libx264", rate=self._rate, options=dict(self._options))
        self._shape, self._timed = frame.shape, timed
        stream.height, stream.width = (side + side % 2 for side in frame.shape[:2])
        stream.pix_fmt = "yuv420p"
        if timed:
            stream.codec_context.time_base = Fraction(1, _CLOCK)
        return container, stream

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            self.close()
        elif self._open is not None:
            self._open[0].close()
            self._open = None
            self._partial.unlink(missing_ok=True)
