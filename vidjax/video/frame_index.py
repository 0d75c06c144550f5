"""Index of a stream's packets and frames, from the file's tables or its packets, without decoding."""

import bisect
import itertools
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import av
import numpy as np

from vidjax.video.errors import VideoError
from vidjax.video.mp4 import read_tables

# Containers that store presentation times; times that rise in file order then mean that nothing is reordered.
_STORES_TIMES = {"mov", "matroska", "webm", "mpegts", "mpeg", "flv", "ogg"}
# 38 hours at 30 frames a second; a file that claims more is considered damaged.
_MAX_PACKETS = 1 << 22
# Codecs in which each packet holds one picture, and all are shown. For others, the tables say less than the packets.
_PLAIN = {"h264", "hevc", "av1", "libdav1d"}


class Index:
    """The packets of a stream, in file order ("place") and by presentation time.

    Attributes:
      pts, dts: presentation and decoding times by place, in ticks of the stream; None for a packet without one.
      keys: places of the keyframes.
      shown: whether a packet's picture is shown, by place.
      opening: packet of the first keyframe; None if the index is from tables and not yet compared with the packets.
      upright: whether, by the tables, pictures need no rotation or mirroring.
    """

    def __init__(
        self,
        pts: list,
        dts: list,
        keys: list[int],
        shown: list[bool],
        opening: av.Packet | None = None,
        *,
        upright: bool = False,
    ):
        self.pts, self.dts, self.keys, self.shown, self.opening = pts, dts, keys, shown, opening
        self.upright = upright

    def is_key(self, place: int) -> bool:
        """Whether the packet at `place` is a keyframe."""
        at = bisect.bisect_left(self.keys, place)
        return at < len(self.keys) and self.keys[at] == place

    def times_name_frames(self, container: Any, codec: Any) -> bool:
        """Whether times identify frames: each frame has a time of its own, and that time is true."""
        pts, shown, keys = self.pts, self.shown, self.keys
        times = pts if all(shown) else list(itertools.compress(pts, shown))
        if not keys or not times or None in pts or len(set(times)) < len(times):
            return False
        # Frames before the first keyframe (in decoding or display order) usually cannot be decoded.
        if any(shown[: keys[0]]) or (min(times) < pts[keys[0]] and shown[keys[0]]):
            return False
        stores_times = not _STORES_TIMES.isdisjoint(container.format.name.split(","))
        reorders = codec.has_b_frames and all(a < b for a, b in itertools.pairwise(times))
        return stores_times or not reorders

    def by_time(self) -> tuple[list[int], list[int], list[int]]:
        """Frames in display order: their times, their places, and the keyframes (positions in `keys`) to start from."""
        pts, places = np.array(self.pts), np.flatnonzero(self.shown)
        places = places[np.argsort(pts[places], kind="stable")]
        times = pts[places]
        # Pictures shown before the keyframe that they follow in the file (an open GOP) need the previous group, too.
        start = np.searchsorted(self.keys, places, side="right") - 1
        opens = pts[self.keys][start] > times
        return times.tolist(), places.tolist(), np.maximum(start - opens, 0).tolist()


def index_by_tables(stream: Any, file: Callable[[], BinaryIO], size: int) -> Index | None:
    """Index of an MP4 file from its tables, without reading a packet; None if the packets must be read.

    Args:
      stream: FFmpeg stream of the open container.
      file: function that opens the same file for reading.
      size: size of the file, bytes.
    """
    container = stream.container
    if "mp4" not in container.format.name.split(",") or stream.codec_context.name not in _PLAIN:
        return None
    if not 0 < len(stream.index_entries) == stream.frames <= _MAX_PACKETS:
        return None
    entries = [(e.timestamp, e.flags, e.pos, e.size) for e in stream.index_entries]
    dts, flags, positions, sizes = zip(*entries, strict=True)
    # Discarded or empty samples, and those beyond the end of a torn file, are for reading to judge.
    keyframe, discard = 1, 2
    if any(f & discard for f in flags) or min(sizes) <= 0 or max(map(sum, zip(positions, sizes, strict=True))) > size:
        return None
    with file() as content:
        tables = read_tables(content, stream.id, len(dts))
    if tables is None:
        return None
    pts = (np.array(dts, np.int64) + tables.offsets).tolist()
    keys = [place for place, f in enumerate(flags) if f & keyframe]
    return Index(pts, list(dts), keys, [True] * len(pts), upright=tables.upright) if keys else None


def index_by_reading(path: str, packets: Iterable[av.Packet], codec: Any) -> Index:
    """Index of a stream from all its packets.

    Raises:
      VideoError: if the file contains not one whole packet.
    """
    pts, dts, keys, shown, opening = [], [], [], [], None
    hides = codec.name == "vp8"
    torn = 0  # incomplete packets at the end of the file
    trouble = ""
    try:
        for packet in packets:
            if len(pts) >= _MAX_PACKETS:
                raise VideoError(path, f"claims more than {_MAX_PACKETS} packets")
            torn = torn + 1 if packet.is_corrupt else 0
            if packet.is_keyframe:
                keys.append(len(pts))
                opening = opening or packet
            pts.append(packet.pts)
            dts.append(packet.dts)
            # VP8 stores reference pictures that are never shown as packets of their own, marked by one bit.
            shown.append(not packet.is_discard and not (hides and not memoryview(packet)[0] & 0x10))
    except av.FFmpegError as error:
        trouble = error.strerror
    whole = len(pts) - torn
    if not whole:
        because = f" ({trouble})" if trouble else ""
        raise VideoError(path, f"has a video stream without a single whole frame{because}")
    return Index(pts[:whole], dts[:whole], [k for k in keys if k < whole], shown[:whole], opening)
