"""Files to frames: `VideoReader` decodes, `VideoError` says why it could not."""

from vidjax.video.errors import VideoError
from vidjax.video.reader import VideoReader

__all__ = ["VideoError", "VideoReader"]
