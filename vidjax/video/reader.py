"""Frames of a video file by number: `VideoReader("clip.mp4").read([0, 8, 16])`.

Reading is exact (every frame is the one that plain decoding from the start gives), sparing (see `decoder.py`) and never
hangs: FFmpeg works in a thread of the reader's own, and is given up when it has not answered in time.
"""

import numbers
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from vidjax.video.decoder import Decoder
from vidjax.video.errors import VideoError


class VideoReader:
    """A video file, open for reading frames by number.

    One reader serves one thread at a time; open one per thread, and open it in the process that reads.

    Args:
      path: of the file.
      timeout: seconds that opening, and each call of `read`, may take.
      stream: which video stream, by order (cover pictures of audio files are not counted).
      content: the bytes of the file, if they are in memory already; `path` then only names it. Frames are the same.

    Raises:
      VideoError: if there is no such file, it is no video, no frame decodes, or opening takes longer than `timeout`.
    """

    def __init__(
        self, path: str | os.PathLike, *, timeout: float = 60.0, stream: int = 0, content: bytes | None = None
    ):
        if not timeout > 0:
            raise ValueError(f"timeout = {timeout!r}: must be positive, in seconds")
        self.path = os.fspath(path)
        self.timeout = timeout
        self._clock = _Clock(self.path)
        self._worker = _Worker()
        # The thread ends with the reader, even if nobody calls close().
        self._end = weakref.finalize(self, self._worker.jobs.put, None)
        self._reformatter = VideoReformatter()
        file, clock = self.path, self._clock
        try:
            self._decoder: Decoder | None = self._run(lambda: Decoder(file, stream, clock.check, content))
        except BaseException:
            self._end()
            raise
        self._length = len(self._decoder)
        self._height, self._width, self._fps = self._decoder.height, self._decoder.width, self._decoder.fps
        self._timestamps = self._decoder.timestamps
        self._timestamps.flags.writeable = False

    def __len__(self) -> int:
        """Number of frames, as found in the file; never what its header claims."""
        return self._length

    @property
    def fps(self) -> float:
        """Frames per second on average."""
        return self._fps

    @property
    def height(self) -> int:
        """Pixels from top to bottom as shown, that is after rotation."""
        return self._height

    @property
    def width(self) -> int:
        """Pixels from left to right as shown, that is after rotation."""
        return self._width

    @property
    def timestamps(self) -> np.ndarray:
        """When each frame is shown, float64 `(N,)`, in seconds from the first frame."""
        return self._timestamps

    @property
    def duration(self) -> float:
        """Seconds from the first frame until the last one has been shown."""
        return float(self._timestamps[-1]) + 1 / self._fps

    def read(self, indices: Sequence[int], *, resize: int | tuple[int, int] | None = None) -> np.ndarray:
        """Frames by number.

        Args:
          indices: T frame numbers in 0…N-1, in any order; frames asked for twice are decoded once.
          resize: None, the short side in pixels (the aspect ratio is kept), or `(height, width)`. Bilinear, frame by
            frame as they come out.

        Returns:
          uint8 `(T, H, W, 3)`, RGB, in the order asked for. Where the size changes in mid-video, frames are scaled to
          that of the first.

        Raises:
          IndexError: for a number outside 0…N-1.
          VideoError: for a frame that does not decode, or if it takes longer than `timeout`.
        """
        wanted = np.asarray(indices)
        if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
            raise TypeError(f"indices must be whole numbers in one row, got {wanted.dtype} of shape {wanted.shape}")
        wanted = wanted.astype(np.int64)
        for i in wanted[(wanted < 0) | (wanted >= len(self))]:
            raise IndexError(f"{self.path}: there is no frame {i}; the range is 0…{len(self) - 1}")
        if self._decoder is None:
            raise ValueError(f"{self.path}: this reader is closed; open a new one")
        height, width = target_size(self.height, self.width, resize)
        out = np.empty((len(wanted), height, width, 3), np.uint8)
        slots: dict[int, list[int]] = {}
        for t, i in enumerate(wanted.tolist()):
            slots.setdefault(i, []).append(t)
        if slots:
            decoder, reformatter = self._decoder, self._reformatter
            self._run(lambda: _fill(out, slots, decoder, reformatter))
        return out

    def close(self) -> None:
        """Closes the file and ends the thread; may be called twice."""
        if self._decoder is None:
            return
        decoder, self._decoder = self._decoder, None
        self._end()
        self._worker.join(1.0)
        if not self._worker.is_alive():
            decoder.close()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"VideoReader({self.path!r}: {len(self)} frames, {self.height}x{self.width}, {self.fps:.3g} fps)"

    def _run(self, job: Callable[[], Any]) -> Any:
        self._clock.start(self.timeout)
        try:
            # A decoder that merely is slow stops by its own clock first, and the reader stays usable.
            return self._worker.call(job, self.timeout + 0.25)
        except TimeoutError:
            # The thread still holds the file and may be inside FFmpeg: leave it, and never touch the decoder again.
            self._decoder = None
            raise self._clock.error() from None


class _Clock:
    """Says when the time of a call is up."""

    def __init__(self, path: str):
        self.path = path

    def start(self, timeout: float) -> None:
        self.timeout, self._deadline = timeout, time.monotonic() + timeout

    def check(self) -> None:
        if time.monotonic() > self._deadline:
            raise self.error()

    def error(self) -> VideoError:
        mend = "look at the disk and the file, or allow more with timeout="
        return VideoError(self.path, f"reading stalled and was given up after {self.timeout:g} s", mend)


class _Worker(threading.Thread):
    """Does one job at a time for a caller that may stop waiting. A daemon: a stuck one cannot keep Python alive."""

    def __init__(self):
        super().__init__(name="vidjax-decode", daemon=True)
        self.jobs: queue.SimpleQueue = queue.SimpleQueue()
        self.start()

    def run(self) -> None:
        while (item := self.jobs.get()) is not None:
            job, reply = item
            try:
                reply.put((job(), None))
            except BaseException as error:
                reply.put((None, error))
            # Nothing of a job may live on while the thread waits for the next one.
            del item, job, reply

    def call(self, job: Callable[[], Any], timeout: float) -> Any:
        """The result of `job()`; TimeoutError if there is none in time, after which this worker takes no more."""
        reply: queue.SimpleQueue = queue.SimpleQueue()
        self.jobs.put((job, reply))
        try:
            result, error = reply.get(timeout=timeout)
        except queue.Empty:
            self.jobs.put(None)
            raise TimeoutError from None
        try:
            if error is not None:
                raise error
            return result
        finally:
            del error


def target_size(height: int, width: int, resize: int | tuple[int, int] | None) -> tuple[int, int]:
    """Height and width that frames of that size are resized to; `resize` as in `VideoReader.read`.

    Raises:
      ValueError: if `resize` is neither a number of pixels, nor a pair of them, nor None.
    """
    if resize is None:
        return height, width
    if isinstance(resize, numbers.Integral) and resize >= 1:
        short = min(height, width)
        return max(1, int(height * resize / short + 0.5)), max(1, int(width * resize / short + 0.5))
    pair = isinstance(resize, Sequence) and len(resize) == 2
    if pair and all(isinstance(r, numbers.Integral) and r >= 1 for r in resize):
        return int(resize[0]), int(resize[1])
    raise ValueError(f"resize = {resize!r}: give the short side in pixels, or (height, width), or None")


def _fill(out: np.ndarray, slots: dict[int, list[int]], decoder: Decoder, reformatter: VideoReformatter) -> None:
    """Decodes the frames `slots` names and writes each at its positions in `out`."""
    height, width = out.shape[1:3]
    for number, frame in decoder.frames(sorted(slots)):
        image = _rgb(frame, decoder.orientation, reformatter)
        first, *others = slots[number]
        if image.shape[:2] == (height, width):
            out[first] = image
        else:
            cv2.resize(np.ascontiguousarray(image), (width, height), dst=out[first], interpolation=cv2.INTER_LINEAR)
        for t in others:
            out[t] = out[first]


def _rgb(frame: Any, orientation: tuple[bool, bool, bool], reformatter: VideoReformatter) -> np.ndarray:
    """`(H, W, 3)` as shown, sharing memory with the converted frame."""
    frame = reformatter.reformat(frame, format="rgb24", interpolation=Interpolation.BILINEAR, threads=1)
    plane = frame.planes[0]
    image = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)[:, : 3 * frame.width]
    image = image.reshape(frame.height, frame.width, 3)
    transpose, mirror_x, mirror_y = orientation
    if transpose:
        image = image.transpose(1, 0, 2)
    return image[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1]
