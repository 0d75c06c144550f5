"""Which packet of a stream holds which frame: by the tables of the file, or by reading its packets, decoding none."""

import bisect
import itertools
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import av
import numpy as np

from vidjax.video.errors import VideoError
from vidjax.video.mp4 import read_tables

# Containers that store presentation times, so that times rising in file order just mean that nothing is reordered.
_STORES_TIMES = {"mov", "matroska", "webm", "mpegts", "mpeg", "flv", "ogg"}
# 38 hours at 30 frames a second; whatever claims more is taken for damage.
_MAX_PACKETS = 1 << 22
# Codecs whose packets hold a picture each, all shown: of others, tables do not tell what reading does.
_PLAIN = {"h264", "hevc", "av1", "libdav1d"}


class Index:
    """The packets of a stream, in file order ("place") and by presentation time.

    Attributes:
      pts, dts: times of the packets by place, in ticks of the stream; None where there is none.
      keys: places of the keyframes.
      shown: whether a packet's picture is shown, by place.
      opening: the packet of the first keyframe; None if the index is made from tables, and packets are yet to be
        compared with it.
      upright: whether tables say that pictures are shown as they are.
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
        """Whether frames can be told by their times: each has one of its own, and one that is true."""
        pts, shown, keys = self.pts, self.shown, self.keys
        times = pts if all(shown) else list(itertools.compress(pts, shown))
        if not keys or not times or None in pts or len(set(times)) < len(times):
            return False
        # What comes before the first keyframe, in the file or on the screen, usually does not decode.
        if any(shown[: keys[0]]) or (min(times) < pts[keys[0]] and shown[keys[0]]):
            return False
        stores_times = not _STORES_TIMES.isdisjoint(container.format.name.split(","))
        reorders = codec.has_b_frames and all(a < b for a, b in itertools.pairwise(times))
        return stores_times or not reorders

    def by_time(self) -> tuple[list[int], list[int], list[int]]:
        """Of the frames in the order of showing: their times, their places, and for each the keyframe to start from, as
        a position in `keys`."""
        pts, places = np.array(self.pts), np.flatnonzero(self.shown)
        places = places[np.argsort(pts[places], kind="stable")]
        times = pts[places]
        # Pictures shown before the keyframe that they follow in the file (an open GOP) lean on the group before too.
        start = np.searchsorted(self.keys, places, side="right") - 1
        opens = pts[self.keys][start] > times
        return times.tolist(), places.tolist(), np.maximum(start - opens, 0).tolist()


def index_by_tables(stream: Any, file: Callable[[], BinaryIO], size: int) -> Index | None:
    """The index of an MP4 file without reading a packet; None where only reading can tell.

    Args:
      stream: of the open container.
      file: opens the same file for reading.
      size: of it, bytes.
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
    """The index of a stream from all its packets.

    Raises:
      VideoError: if the file does not hold one packet whole.
    """
    pts, dts, keys, shown, opening = [], [], [], [], None
    hides = codec.name == "vp8"
    torn = 0  # packets at the end that the file does not hold whole
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
            # VP8 stores pictures that are only referred to as packets of their own, told by one bit.
            shown.append(not packet.is_discard and not (hides and not memoryview(packet)[0] & 0x10))
    except av.FFmpegError as error:
        trouble = error.strerror
    whole = len(pts) - torn
    if not whole:
        because = f" ({trouble})" if trouble else ""
        raise VideoError(path, f"has a video stream without a single whole frame{because}")
    return Index(pts[:whole], dts[:whole], [k for k in keys if k < whole], shown[:whole], opening)
