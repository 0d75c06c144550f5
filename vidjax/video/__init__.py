"""Video files to frames: `VideoReader` decodes them, `VideoError` reports why one cannot be read."""

from vidjax.video.errors import VideoError
from vidjax.video.reader import VideoReader

__all__ = ["VideoError", "VideoReader"]
