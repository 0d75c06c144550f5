"""Encoding of videos for prepared data sets: as the bytes of the file or as JPEG frames."""

import io
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np

from vidjax.data.reading.clips import Segment, segment_frames
from vidjax.data.reading.open_video import ASSUMED_FPS, is_address, open_video
from vidjax.data.reading.sound import open_sound, to_int16
from vidjax.video import VideoError, VideoReader
from vidjax.video.byte_sources import read_bytes

_CHUNK = 64  # frames in memory at a time


@dataclass(frozen=True)
class Encoding:
    """Encoding in which videos are stored.

    Attributes:
      jpeg: whether to store JPEG frames (fast to read) instead of the original files (small and exact).
      short_side: shorter side of the JPEG frames, pixels; smaller videos keep their size; 0: all do.
      quality: quality of the JPEG frames, 1…100: 75 is libjpeg's default; 90 takes 1.6 times the space and 1.5 times as
        long to read.
      folder_fps: frame rate of videos stored as folders of images, frames per second.
      sound: whether to store the sound beside JPEG frames, losslessly, one channel; files contain it anyway.
    """

    jpeg: bool = False
    short_side: int = 256
    quality: int = 75
    folder_fps: float = ASSUMED_FPS
    sound: bool = False

    def settings(self) -> dict[str, Any]:
        """The fields, as they are kept with a data set."""
        own = asdict(self)
        return own if self.sound else {name: value for name, value in own.items() if name != "sound"}


def encode(path: str, encoding: Encoding, *, segment: Segment = (None, None), timeout: float = 60.0) -> dict[str, Any]:
    """Encode a video file or a folder of images.

    JPEG frames are only those of the part `segment`; a file is stored whole.

    Returns:
      Features `video` (bytes, or a list of JPEGs), `fps`, `num_frames` and, if asked for, `sound` (a FLAC file; empty:
      the video has none).

    Raises:
      VideoError: if the file is not a video or, for JPEG, if one of its frames cannot be decoded.
    """
    with open_video(path, timeout=timeout, folder_fps=encoding.folder_fps) as reader:
        if not encoding.jpeg:
            if not isinstance(reader, VideoReader) or is_address(path):
                raise VideoError(path, "is not a file that can be stored unchanged", "store JPEG frames")
            return {"video": read_bytes(path), "fps": reader.fps, "num_frames": len(reader)}
        first, count = segment_frames(reader.timestamps, segment)
        short = min(encoding.short_side or reader.height, reader.height, reader.width)
        frames = []
        for start in range(first, first + count, _CHUNK):
            numbers = range(start, min(start + _CHUNK, first + count))
            frames += [_jpeg(frame, encoding.quality) for frame in reader.read(list(numbers), resize=short)]
        made = {"video": frames, "fps": reader.fps, "num_frames": count}
        if not encoding.sound:
            return made
        begin = float(reader.timestamps[first])
        return made | {"sound": encode_sound(path, begin, count / reader.fps, timeout)}


def encode_sound(path: str, start: float, seconds: float, timeout: float = 60.0) -> bytes:
    """Encode a part of the sound of a video, one channel, as a FLAC file of 16 bits; empty if the sound cannot be read.

    Args:
      path: path of the video, or address of a stored one.
      start: beginning of the part, seconds from the first picture.
      seconds: length of the part; what lies outside of the track is silent.
      timeout: time limit of opening and of each minute that is read, seconds.
    """
    try:
        with open_sound(path, timeout=timeout) as reader, io.BytesIO() as file:
            with av.open(file, "w", format="flac") as container:
                stream = container.add_stream("flac", rate=reader.rate, layout="mono")
                stream.codec_context.format = "s16"
                at, total = 0, round(seconds * reader.rate)
                while at < total:
                    count = min(60 * reader.rate, total - at)
                    wave = reader.read(start + at / reader.rate, count / reader.rate)
                    frame = av.AudioFrame.from_ndarray(to_int16(wave)[None], format="s16", layout="mono")
                    frame.sample_rate, frame.pts, frame.time_base = reader.rate, at, Fraction(1, reader.rate)
                    container.mux(stream.encode(frame))
                    at += count
                container.mux(stream.encode(None))
            return file.getvalue()
    except VideoError:
        return b""


def _jpeg(frame: np.ndarray, quality: int) -> bytes:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()
