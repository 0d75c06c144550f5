"""Video files to frames and sound: `VideoReader` and `SoundReader` decode them, `VideoError` reports why one cannot be
read."""

from vidjax.video.errors import VideoError
from vidjax.video.reader import VideoReader
from vidjax.video.sound import SoundReader

__all__ = ["SoundReader", "VideoError", "VideoReader"]
