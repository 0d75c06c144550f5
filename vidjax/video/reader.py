"""Frames of a video file by number: `VideoReader("clip.mp4").read([0, 8, 16])`.

Reading is exact (every frame is the one that plain decoding from the start gives), frugal (see `decoder.py`) and never
hangs. FFmpeg runs in a thread of the reader, which stops by itself at the deadline, be it between packets, inside
FFmpeg or waiting for a network; or, if asked for, in a process of its own, which is killed if it does not stop.
"""

import os
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter

from vidjax.video.byte_sources import in_this_process
from vidjax.video.decoder import Decoder
from vidjax.video.errors import VideoError
from vidjax.video.frame_buffers import Pool
from vidjax.video.isolated import IsolatedDecoder, check_limits
from vidjax.video.pixels import Box, check_crop, target_size, write_frames
from vidjax.video.worker import InThread

_memory = Pool()


class VideoReader:
    """A video file, open for reading frames by number.

    One reader serves one thread at a time; open one per thread, and open it in the process that reads.

    Args:
      path: path of the file, or an address that fsspec reads: http(s)://, gs://, s3://, memory:// and others, from
        which only the necessary parts are fetched.
      timeout: time limit for opening and for each call of `read`, seconds.
      stream: number of the video stream, in the order of the file (cover pictures of audio files are not counted).
      content: bytes of the file, if they are in memory already; `path` then only names it. Frames are the same.
      isolate: decode in another process (started at the first use, then reused), so that a decoder that never returns
        is killed, and one that crashes takes nothing else with it. Otherwise the thread of such a decoder lives on.
        Files that only this process can see (memory://) are decoded here in any case.
      max_pixels: most pixels that one call of `read` may decode: width × height × distinct frames asked for. The
        default, 2³⁶, is 33 000 frames of 1080p; a server that reads videos of strangers should set a lower one.
      max_memory: most bytes that decoding may take, with `isolate`: the other process gets no more, and ends. None: 4
        GiB. What is given back, `read`'s result, does not count.
      patience: seconds of one call after which decoding gives way to all other work on the machine (on Linux), with
        `isolate`; None: never.

    Raises:
      VideoError: if there is no such file, it is not a video, no frame decodes, a frame has more than 2²⁷ pixels, or
        opening takes longer than `timeout` or more than `max_memory`. Playlists and scripts that name other files
        (ffconcat, HLS, DASH …) are refused, whatever their file names.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        timeout: float = 60.0,
        stream: int = 0,
        content: bytes | None = None,
        isolate: bool = False,
        max_pixels: int = 1 << 36,
        max_memory: int | None = None,
        patience: float | None = None,
    ):
        if not timeout > 0:
            raise ValueError(f"timeout = {timeout!r}: must be positive, in seconds")
        if not max_pixels > 0:
            raise ValueError(f"max_pixels = {max_pixels!r}: must be positive, in pixels of one call of read")
        check_limits(isolate, max_memory=max_memory, patience=patience)
        self._max_pixels = max_pixels
        self.path = os.fspath(path)
        self.timeout = timeout
        self._engine: IsolatedDecoder | _ThreadDecoder
        if isolate and not (content is None and in_this_process(self.path)):
            self._engine = IsolatedDecoder(self.path, stream, timeout, content, memory=max_memory, patience=patience)
        else:
            self._engine = _ThreadDecoder(self.path, stream, timeout, content)
        facts = self._engine.facts
        self._length, self._height, self._width, self._fps = facts.length, facts.height, facts.width, facts.fps
        self._timestamps = facts.timestamps
        self._timestamps.flags.writeable = False
        self._stated_duration = facts.stated_duration
        # The thread ends with the reader, and the process is freed, even if nobody calls close().
        self._end = weakref.finalize(self, self._engine.close)

    def __len__(self) -> int:
        """Number of frames found in the file, whatever its header claims."""
        return self._length

    @property
    def fps(self) -> float:
        """Average frames per second."""
        return self._fps

    @property
    def height(self) -> int:
        """Height of the frames as shown, after rotation, in pixels."""
        return self._height

    @property
    def width(self) -> int:
        """Width of the frames as shown, after rotation, in pixels."""
        return self._width

    @property
    def timestamps(self) -> np.ndarray:
        """Presentation time of each frame, float64 `(N,)`, in seconds from the first frame."""
        return self._timestamps

    @property
    def duration(self) -> float:
        """Duration in seconds, from the beginning of the first frame to the end of the last."""
        return float(self._timestamps[-1]) + 1 / self._fps

    @property
    def stated_duration(self) -> float | None:
        """Duration of the pictures by the file's header, seconds; it may be wrong, and is None if none is stated."""
        return self._stated_duration

    def read(
        self,
        indices: Sequence[int] | np.ndarray,
        *,
        crop: Box | None = None,
        resize: int | tuple[int, int] | None = None,
    ) -> np.ndarray:
        """Read frames by number.

        Args:
          indices: T frame numbers in 0…N-1, in any order; frames asked for twice are decoded once.
          crop: `(top, left, height, width)` of the part to read, in pixels; None: whole frames.
          resize: size of the output, after `crop`: the short side in pixels (the aspect ratio is kept), or `(height,
            width)`; None: not resized. Bilinear, frame by frame during decoding.

        Returns:
          uint8 `(T, H, W, 3)`, RGB, in the order of `indices`. If the size changes in mid-video, frames are scaled to
          that of the first.

        Raises:
          IndexError: if a number lies outside 0…N-1.
          ValueError: if the crop is empty or reaches beyond the frames, or the reader is closed.
          VideoError: if a frame does not decode, reading takes longer than `timeout` or more than `max_memory`, or the
            frames together have more than `max_pixels`.
        """
        wanted = np.asarray(indices)
        if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
            raise TypeError(f"indices must be whole numbers in one row, got {wanted.dtype} of shape {wanted.shape}")
        wanted = wanted.astype(np.int64)
        for i in wanted[(wanted < 0) | (wanted >= len(self))]:
            raise IndexError(f"{self.path}: there is no frame {i}; the range is 0…{len(self) - 1}")
        if self._engine.closed:
            raise ValueError(f"{self.path}: this reader is closed; open a new one")
        if crop is not None:
            check_crop(crop, self.height, self.width)
        height, width = target_size(*(crop[2:] if crop else (self.height, self.width)), resize)
        if not len(wanted):
            return np.empty((0, height, width, 3), np.uint8)
        self._check_pixels(len(np.unique(wanted)))
        return self._engine.read(wanted.tolist(), height, width, self.timeout, crop)

    def _check_pixels(self, count: int) -> None:
        if (pixels := self.height * self.width * count) > self._max_pixels:
            frames = f"{count} frames of {self.width}×{self.height}"
            reason = f"{frames} are {pixels:,} pixels, more than {self._max_pixels:,}"
            raise VideoError(self.path, reason, "ask for fewer frames at a time, or set a larger max_pixels")

    def close(self) -> None:
        """Close the file and end the thread, or free the process; may be called twice."""
        self._end()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"VideoReader({self.path!r}: {len(self)} frames, {self.height}x{self.width}, {self.fps:.3g} fps)"


class _ThreadDecoder(InThread[Decoder]):
    """A video opened in a thread."""

    def __init__(self, path: str, stream: int, timeout: float, content: bytes | None):
        super().__init__(path, timeout, lambda clock: Decoder(path, stream, clock, content))
        self._reformatter = VideoReformatter()
        self.facts = self.decoder.facts()

    def read(self, numbers: list[int], height: int, width: int, timeout: float, crop: Box | None = None) -> np.ndarray:
        reformatter = self._reformatter
        out = _memory.empty((len(numbers), height, width, 3))
        self.run(lambda decoder: write_frames(out, numbers, decoder, reformatter, crop), timeout)
        return out
