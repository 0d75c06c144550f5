"""Facts of a video beyond its pixels: size, frame rate, timestamps and orientation."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type


@dataclass(frozen=True)
class Facts:
    """Size, frame rate and timestamps of a video."""

    length: int  # frames
    height: int  # pixels, as shown
    width: int
    fps: float
    timestamps: np.ndarray  # float64 (N,), seconds from the first frame
    stated_duration: float | None  # seconds by the header


def rate_and_times(stream: Any, times: Sequence[int | None], length: int) -> tuple[float, np.ndarray]:
    """Average frames per second, and the time of each frame, float64 `(N,)` in seconds from the first.

    Args:
      stream: FFmpeg stream of the frames.
      times: presentation times of the frames, in ticks of the stream; None for a frame without one.
      length: N, number of frames. If there are fewer times, or they do not rise, the stated rate gives the times.
    """
    rates = [float(r) for r in (stream.average_rate, stream.guessed_rate) if r]
    stated = next((r for r in rates if 0 < r < 1000), 25.0)  # 25: FFmpeg's assumption if the file states none
    if None in times or len(times) < length or list(times) != sorted(times):
        return stated, np.arange(length) / stated
    ticks = np.asarray(times, np.float64)
    seconds = (ticks - ticks[0]) * float(stream.time_base)
    measured = (length - 1) / seconds[-1] if length > 1 else stated
    # Containers round times to their clock; a stated rate that agrees is the exact one.
    return (stated if abs(stated - measured) < 0.01 * measured else float(measured)), seconds


def stated_duration(stream: Any) -> float | None:
    """Duration of the pictures by the file's header, seconds; None if the header states none."""
    if stream.duration is not None and stream.time_base is not None:
        # FFmpeg guesses the duration of a torn AVI by its size, but hands on the number of frames.
        counted = stream.frames / stream.average_rate if stream.average_rate else 0
        return float(max(stream.duration * stream.time_base, counted))
    # Matroska keeps it in a tag; the file's own duration may be that of its sound.
    clock = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d*)?)", stream.metadata.get("DURATION", ""))
    hours, minutes, seconds = map(float, clock.groups()) if clock else (0, 0, 0)
    return 3600 * hours + 60 * minutes + seconds or None


def orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """Steps that turn a frame upright by its display matrix: transpose, then mirror left-right, then top-bottom."""
    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return False, False, False
    # x' = a·x + c·y, y' = b·x + d·y, in 16.16 fixed point; angles go to the nearest quarter turn.
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def tells_orientation(packet: bytes, codec: str, extradata: bytes) -> bool:
    """Whether a packet may state the orientation of its picture; if not, only the file can.

    Args:
      packet: first keyframe of an MP4 file.
      codec: name of the codec.
      extradata: the codec's extradata from the file.
    """
    if codec not in ("h264", "hevc") or len(extradata) < 23 or extradata[0] != 1:
        return True
    width = (extradata[4 if codec == "h264" else 21] & 3) + 1  # bytes of the length before each unit
    at = 0
    while at + width < len(packet):
        size = int.from_bytes(packet[at : at + width])
        unit = packet[at + width : at + width + size]
        at += width + size
        supplement = unit[:1] and (unit[0] & 31 == 6 if codec == "h264" else unit[0] >> 1 & 63 == 39)
        if supplement and _DISPLAY_ORIENTATION in _payloads(unit[1 if codec == "h264" else 2 :]):
            return True
    return False


_DISPLAY_ORIENTATION = 47


def _payloads(message: bytes) -> Iterator[int]:
    """The kinds of supplemental information in a unit."""
    message = message.replace(b"\0\0\3", b"\0\0")  # bytes inserted so that nothing looks like a start code
    at = 0
    while at < len(message) and message[at] != 0x80:
        numbers = []
        for _ in range(2):  # kind and size, each a byte, after any number of 255s to add
            number = 0
            while at < len(message) and message[at] == 255:
                number, at = number + 255, at + 1
            numbers.append(number + (message[at] if at < len(message) else 0))
            at += 1
        yield numbers[0]
        at += numbers[1]
