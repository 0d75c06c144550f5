"""Encoding of videos for prepared data sets: as the bytes of the file or as JPEG frames."""

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from vidjax.data.reading.clips import Segment, segment_frames
from vidjax.data.reading.open_video import ASSUMED_FPS, is_address, open_video
from vidjax.video import VideoError, VideoReader, flow
from vidjax.video.byte_sources import read_bytes

_CHUNK = 64  # frames in memory at a time
_FLOW_QUALITY = 95  # of JPEGs, as published tools write flow


@dataclass(frozen=True)
class Encoding:
    """Encoding in which videos are stored.

    Attributes:
      jpeg: whether to store JPEG frames (fast to read) instead of the original files (small and exact).
      short_side: shorter side of the JPEG frames, pixels; smaller videos keep their size; 0: all do.
      quality: quality of the JPEG frames, 1…100: 75 is libjpeg's default; 90 takes 1.6 times the space and 1.5 times as
        long to read.
      folder_fps: frame rate of videos stored as folders of images, frames per second.
      flow: name of the algorithm of optical flow that is stored beside the video, of frames of the same `short_side`,
        in 8 bits, rounded to the nearest; empty: none.
      flow_bound: motion that becomes 255, pixels.
    """

    jpeg: bool = False
    short_side: int = 256
    quality: int = 75
    folder_fps: float = ASSUMED_FPS
    flow: str = ""
    flow_bound: float = 20.0

    def settings(self) -> dict[str, Any]:
        """Fields by name, those of flow only if it is stored, so that data sets without it are recognised."""
        return {name: value for name, value in asdict(self).items() if self.flow or not name.startswith("flow")}


def encode(path: str, encoding: Encoding, *, segment: Segment = (None, None), timeout: float = 60.0) -> dict[str, Any]:
    """Encode a video file or a folder of images.

    JPEG frames are only those of the part `segment`; a file is stored whole.

    Returns:
      Features `video` (bytes, or a list of JPEGs), `fps` and `num_frames`; with flow also `flow`, a grey JPEG per field
      with motion down below motion to the right, `flow_method` and `flow_bound`.

    Raises:
      VideoError: if the file is not a video or, for JPEG, if one of its frames cannot be decoded.
    """
    with open_video(path, timeout=timeout, folder_fps=encoding.folder_fps) as reader:
        short = min(encoding.short_side or reader.height, reader.height, reader.width)
        first, count = segment_frames(reader.timestamps, segment) if encoding.jpeg else (0, len(reader))
        stored: dict[str, Any] = {"fps": reader.fps, "num_frames": count}
        if not encoding.jpeg:
            if not isinstance(reader, VideoReader) or is_address(path):
                raise VideoError(path, "is not a file that can be stored unchanged", "store JPEG frames")
            stored["video"] = read_bytes(path)
        frames, fields, last = [], [], np.empty((0, 0, 0, 3), np.uint8)
        for start in range(first, first + count if encoding.jpeg or encoding.flow else first, _CHUNK):
            numbers = range(start, min(start + _CHUNK, first + count))
            read = reader.read(list(numbers), resize=short)
            if encoding.jpeg:
                frames += [_jpeg(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), encoding.quality) for frame in read]
            if encoding.flow:
                joined = np.concatenate([last, read]) if len(last) else read
                fields += [_field(field, encoding.flow_bound) for field in flow.flow(joined, encoding.flow)]
                last = read[-1:]
        stored |= {"video": frames} if encoding.jpeg else {}
        about = {"flow": fields, "flow_method": encoding.flow, "flow_bound": encoding.flow_bound}
        return stored | (about if encoding.flow else {})


def _field(field: np.ndarray, bound: float) -> bytes:
    """One grey JPEG of a field, motion down below motion to the right."""
    return _jpeg(np.concatenate(np.split(flow.quantise(field, bound), 2, axis=2)), _FLOW_QUALITY)


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()
