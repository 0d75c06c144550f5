"""Sound of a file by time: `SoundReader("clip.mp4").read(1.5, seconds=2.0, rate=16_000)`.

Times are those of `VideoReader`: seconds from the first picture, or from the first sample of a file without pictures.
Opening, limits and isolation are as for pictures, see `reader.py`.
"""

import os
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from vidjax.video.byte_sources import in_this_process
from vidjax.video.isolated import IsolatedSound, check_limits
from vidjax.video.sound_decoder import SoundDecoder
from vidjax.video.worker import InThread


class SoundReader:
    """A sound track, open for reading by time. Several channels become one, their mean.

    One reader serves one thread at a time.

    Args:
      path: path of the file, or an address that fsspec reads, as for `VideoReader`.
      timeout: time limit for opening and for each call that reads, seconds.
      stream: number of the sound track, in the order of the file.
      content: bytes of the file, if they are in memory already; `path` then only names it.
      isolate: whether to decode in another process, as for `VideoReader`.
      max_memory: most bytes that decoding may take, with `isolate`; None: 4 GiB.
      patience: seconds after which decoding gives way to other work, with `isolate`; None: never.

    Raises:
      VideoError: if there is no such file, it has no sound, nothing of the sound decodes, or opening takes longer than
        `timeout`. Playlists and scripts that name other files are refused.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        timeout: float = 60.0,
        stream: int = 0,
        content: bytes | None = None,
        isolate: bool = False,
        max_memory: int | None = None,
        patience: float | None = None,
    ):
        if not timeout > 0:
            raise ValueError(f"timeout = {timeout!r}: must be positive, in seconds")
        check_limits(isolate, max_memory=max_memory, patience=patience)
        self.path, self.timeout = os.fspath(path), timeout
        self._engine: IsolatedSound | _ThreadSound
        if isolate and not (content is None and in_this_process(self.path)):
            self._engine = IsolatedSound(self.path, stream, timeout, content, memory=max_memory, patience=patience)
        else:
            self._engine = _ThreadSound(self.path, stream, timeout, content)
        self._facts = self._engine.facts
        self._end = weakref.finalize(self, self._engine.close)

    @property
    def rate(self) -> int:
        """Samples per second of the track."""
        return self._facts.rate

    @property
    def channels(self) -> int:
        """Channels of the track."""
        return self._facts.channels

    @property
    def start(self) -> float:
        """Time of the first sample, seconds from the first picture; 0 without pictures."""
        return self._facts.start

    @property
    def duration(self) -> float:
        """Duration of the track, seconds: by the file's header, which may be wrong, or by its packets."""
        return self._facts.duration

    def read(self, start: float, seconds: float, rate: int = 0) -> np.ndarray:
        """Read one window, float32 `(round(seconds · rate),)` in -1…1, zeros outside of the track.

        Args:
          start: beginning of the window, seconds from the first picture; it may lie outside of the track.
          seconds: length of the window.
          rate: samples per second of the result; 0: those of the track.

        Raises:
          ValueError: if `seconds` or `rate` is negative, or the reader is closed.
          VideoError: if the track fails while it is read, or reading takes longer than `timeout`.
        """
        return np.nan_to_num(self.windows([start], seconds, rate)[0], copy=False)

    def windows(
        self, starts: Sequence[float], seconds: float, rate: int = 0, speed: Sequence[float] | None = None
    ) -> np.ndarray:
        """Read K windows in one pass, float32 `(K, round(seconds · rate))`, NaN outside of the track.

        The result is exact to the sample, except after seeks in containers whose clock is coarser than the samples
        (Matroska, WebM, FLV: a millisecond), if frames of sound have no fixed size (Vorbis): there it is exact to that
        clock.

        Args:
          starts: beginnings of the windows, seconds from the first picture; in any order.
          seconds: length of a window as it is returned.
          rate: samples per second of the result; 0: those of the track.
          speed: how much faster each window is played, and so higher in pitch; None: as recorded. A window takes up
            `seconds · speed` of the file.

        Raises:
          ValueError: if `seconds`, `rate` or `speed` is not positive, or the reader is closed.
          VideoError: if the track fails while it is read, or reading takes longer than `timeout`.
        """
        rate = rate or self.rate
        speed = [1.0] * len(starts) if speed is None else [float(value) for value in speed]
        if not seconds >= 0 or rate < 0 or not all(value > 0 for value in speed):
            raise ValueError(f"seconds = {seconds!r}, rate = {rate!r}, speed = {speed!r}: must be positive")
        if self._engine.closed:
            raise ValueError(f"{self.path}: this reader is closed; open a new one")
        return self._engine.read([float(t) for t in starts], round(seconds * rate), rate, speed, self.timeout)

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._end()

    def __enter__(self) -> "SoundReader":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class _ThreadSound(InThread[SoundDecoder]):
    """A sound track opened in a thread."""

    def __init__(self, path: str, stream: int, timeout: float, content: bytes | None):
        super().__init__(path, timeout, lambda clock: SoundDecoder(path, stream, clock, content))
        self.facts = self.decoder.facts()

    def read(self, starts: list[float], count: int, rate: int, speed: list[float], timeout: float) -> np.ndarray:
        return self.run(lambda decoder: decoder.read(starts, count, rate, speed), timeout)
