"""Frames of a live source as they come: a camera, an rtsp:// address, or a file played at its own pace.

A reader that is too slow gets the newest frames: a few wait for it, older ones are dropped and counted, so that it
never lags behind by more than those. Decoding runs in a thread of this process; a source is the choice of whoever
starts it.
"""

import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from vidjax.video.byte_sources import find_source
from vidjax.video.deadline import Clock
from vidjax.video.decoder import kinds_of_streams, open_container, pictures
from vidjax.video.errors import VideoError

_CAMERA = re.compile(r"/dev/video\d+")
# What FFmpeg may open for an address of each kind, and nothing else.
_PROTOCOLS = {"rtsp://": "rtsp,rtp,udp,tcp", "rtsps://": "rtsp,rtp,udp,tcp,tls"}
_SOON = {"analyzeduration": "1000000"}  # microseconds of a stream that are looked at before it begins
_MEND = "look at the camera, the address, the network or the file"
_STALL = 10.0  # seconds without a frame after which a source is given up


@dataclass(frozen=True)
class LiveFrame:
    """Frame of a live source.

    Attributes:
      picture: RGB, uint8 `(H, W, 3)`.
      seconds: time of the frame in its source, from the first frame.
      came: time at which it was there, by `time.monotonic`.
    """

    picture: np.ndarray
    seconds: float
    came: float


class LiveSource:
    """Frames of a live source: `with LiveSource("/dev/video0") as source: for frame in source: …`.

    Args:
      source: path of a camera (/dev/video0), an address rtsp://… or rtsps://…, or the path of a file.
      rate: frames per second to take at most; 0: all.
      waiting: most frames that wait for the reader.
      paced: whether a file is played at its own pace; else it waits for the reader, and no frame is dropped.

    Attributes:
      fps: frames per second that the source states; those that come are at most `rate` of them.
      dropped: number of frames that the reader was too slow for.

    Raises:
      VideoError: if the source cannot be opened, or, while it is read, fails or stalls.
    """

    def __init__(self, source: str, *, rate: float = 0.0, waiting: int = 2, paced: bool = True):
        self.path, self._rate, self._waiting = source, rate, waiting
        self._live = source.startswith(tuple(_PROTOCOLS)) or _CAMERA.fullmatch(source) is not None
        self._drops = self._live or paced
        self._container = self._open()
        streams = pictures(self._container)
        if not streams:
            kinds = kinds_of_streams(self._container)
            self._container.close()
            raise VideoError(source, f"has no video stream (only {kinds})", "give a source with pictures")
        self._stream = streams[0]
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or 25)
        self.dropped = 0
        self._frames: deque[LiveFrame] = deque()
        self._changed = threading.Condition()
        self._over = False
        self._error: VideoError | None = None
        self._thread = threading.Thread(target=self._read, name="vidjax-live", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[LiveFrame]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._frames or self._over, None if not self._live else 2 * _STALL)
                if not self._frames:
                    if self._error is not None:
                        raise self._error
                    if not self._over:
                        raise VideoError(
                            self.path, f"gave no frame for {2 * _STALL:g} s", "look at the camera or the network"
                        )
                    return
                frame = self._frames.popleft()
                self._changed.notify_all()
            yield frame

    def close(self) -> None:
        """Stop reading, and close the source."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join(2 * _STALL)

    def __enter__(self) -> "LiveSource":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _open(self) -> Any:
        if not self._live:
            clock = Clock(self.path)
            clock.start(60.0)
            return open_container(self.path, find_source(self.path, clock), clock)
        scheme = next((scheme for scheme in _PROTOCOLS if self.path.startswith(scheme)), "")
        try:
            if scheme:
                options = {"protocol_whitelist": _PROTOCOLS[scheme], "rtsp_transport": "tcp"} | _SOON
                return av.open(self.path, format="rtsp", options=options, timeout=_STALL)
            return av.open(self.path, format="v4l2", options={"protocol_whitelist": "file"}, timeout=_STALL)
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise VideoError(
                self.path, f"does not open ({reason})", "look at the camera, the address or the network"
            ) from None

    def _read(self) -> None:
        """Decode frames until the source ends; in a thread."""
        begin, first, due, number = time.monotonic(), None, 0.0, 0
        try:
            for frame in self._container.decode(self._stream):
                stamp = frame.time if frame.time is not None else number / self.fps
                number += 1
                first = stamp if first is None else first
                seconds = stamp - first
                if self._rate:
                    if seconds < due - 0.5 / self.fps:
                        continue
                    due = max(due + 1 / self._rate, seconds)
                if self._drops and not self._live:  # as if it came from a camera
                    self._pause(begin + seconds)
                picture = frame.to_ndarray(format="rgb24")
                if not self._put(LiveFrame(picture, seconds, time.monotonic())):
                    break
        except av.FFmpegError as error:
            self._error = VideoError(self.path, f"fails while it is read ({error.strerror})", _MEND)
        finally:
            self._container.close()
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _pause(self, until: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._over, max(0.0, until - time.monotonic()))

    def _put(self, frame: LiveFrame) -> bool:
        """Hand over a frame; returns whether more are wanted."""
        with self._changed:
            if self._drops:
                while len(self._frames) >= self._waiting:
                    self._frames.popleft()
                    self.dropped += 1
            else:
                self._changed.wait_for(lambda: len(self._frames) < self._waiting or self._over)
            if self._over:
                return False
            self._frames.append(frame)
            self._changed.notify_all()
            return True
