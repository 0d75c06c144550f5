"""Exact decoding of frames by number, through FFmpeg.

A file is indexed once without decoding, from its own tables where they are unambiguous, or else by reading it through;
from then on frames are identified by their presentation timestamp. Three savings make picking frames cheap, none of
which changes a pixel: decoding starts at the keyframe before the frame, pictures that no other refers to are not
decoded unless asked for, and the decoder is drained as soon as it holds the last frame wanted. Files of containers that
store no presentation times (AVI with B-frames) are decoded once to count their frames.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import av
from av.stream import Discard, Disposition
from av.video.frame import PictureType

from vidjax.video.byte_sources import BUFFER, Source, find_source
from vidjax.video.deadline import Clock
from vidjax.video.errors import VideoError
from vidjax.video.facts import Facts, orientation, rate_and_times, stated_duration, tells_orientation
from vidjax.video.frame_index import Index, index_by_reading, index_by_tables

# The accepted formats: each keeps its pictures in the file itself. Playlists and scripts (concat, hls, dash, sdp,
# image2 …) are missing on purpose: their author could make this machine open any of its files.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,ivf,obu,flv,asf,ogg,gif,mxf,nut,dv,"
    "yuv4mpegpipe,mp3,wav,flac,aac"  # the last four have sound only
)
_MOST_PIXELS = 1 << 27  # per frame: 16384×8192. A header may claim more, and with it the memory
# A title that is not UTF-8 is no reason to refuse a video; PyAV ignores such titles from 19 on.
_METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


class _Misled(Exception):
    """A packet or a frame contradicts the tables of the file."""


def open_container(path: str, source: Source, clock: Clock) -> Any:
    """Open a file with FFmpeg: one that keeps its content in itself, and only that one.

    Args:
      path: path of the file, for messages.
      source: bytes of the file.
      clock: deadline of the opening.

    Raises:
      VideoError: if it is of no supported format, or the deadline passes.
      FFmpegError: if FFmpeg finds another fault.
    """
    # The whitelists keep FFmpeg from opening any other file; the timeout ends calls that read endlessly.
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
    try:
        return av.open(source.for_ffmpeg(), options=options, **_METADATA, buffer_size=BUFFER, timeout=clock.left())
    except av.ArgumentError:
        clock.check()
        reason = "does not open as a video (it is text, a playlist, a picture or another unsupported format)"
        mend = "give MP4, MOV, MKV, WebM, AVI, MPEG, FLV, WMV, OGG, MXF or GIF, or leave it out"
        raise VideoError(path, reason, mend) from None


def pictures(container: Any) -> list[Any]:
    """Video streams of an open file, without cover pictures."""
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def only(path: str, container: Any, streams: Sequence[Any], number: int, kind: str) -> Any:
    """Stream `number` of those of one kind; packets of all others are left out while reading.

    Raises:
      VideoError: if there are fewer; names the `kind`.
    """
    if not 0 <= number < len(streams):
        raise VideoError(path, f"has no {kind} {number}", f"give stream = 0…{len(streams) - 1}")
    for other in container.streams:
        if other.index != streams[number].index:
            other.discard = Discard.all
    return streams[number]


def kinds_of_streams(container: Any) -> str:
    """Kinds of an open file's streams, for messages."""
    kinds = {"cover picture" if s.disposition & Disposition.attached_pic else s.type for s in container.streams}
    return ", ".join(sorted(kinds)) or "nothing"


class Decoder:
    """One open video stream: its index, and its frames by number.

    Args:
      path: path of a regular file, or an address: see `byte_sources.py`.
      stream: number of the video stream, in the order of the file; cover pictures of audio files are not counted.
      clock: deadline, checked between packets and between pieces of the file.
      content: bytes of the file if they are in memory; `path` then only gives FFmpeg a hint at the format.

    Raises:
      VideoError: if the file cannot be opened, has no such stream, or none of its frames decodes.
    """

    def __init__(self, path: str, stream: int, clock: Clock, content: bytes | None = None):
        self.path, self._number, self._clock, self._check = path, stream, clock, clock.check
        self._container = None
        self._sequence: Iterator[av.VideoFrame] | None = None  # decoding by count: the remaining frames …
        self._position = 0  # … and the number of the first of them
        self._next_read = -1  # the first frame after the last read
        self._trouble = ""  # FFmpeg's last error
        try:
            self._source = find_source(path, clock, content)
            self._open()
            index = index_by_tables(self._stream, self._source.open, self._source.size)
            try:
                self._prepare(index or index_by_reading(path, self._demux(), self._codec))
            except _Misled:
                self._read_through()
        except av.FFmpegError as error:
            self.close()
            self._check()  # the deadline may be what stopped FFmpeg
            raise VideoError(path, f"does not open as a video ({error.strerror})") from error
        except BaseException:
            self.close()
            raise
        self.fps, self.timestamps = rate_and_times(self._stream, list(self._display), len(self))

    def __len__(self) -> int:
        return self._length

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container = None

    def facts(self) -> Facts:
        """Size, frame rate and timestamps of the video."""
        shape = (self.height, self.width)
        return Facts(len(self), *shape, self.fps, self.timestamps, stated_duration(self._stream))

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode the frames `wanted` (distinct, sorted) and yield pairs of number and frame in decoding order.

        Raises:
          VideoError: if a frame does not decode; it names the first of them.
        """
        missing, self._trouble = set(wanted), ""
        try:
            try:
                yield from self._frames(missing)
            except _Misled:
                before, missing = (len(self), self.width, self.height), set(wanted)
                self._read_through()
                if before != (found := (len(self), self.width, self.height)):
                    reason = "has {} frames of {}×{}".format(*found) + ", {} of {}×{} by its tables".format(*before)
                    raise VideoError(self.path, reason, "encode it again, or leave it out") from None
                yield from self._frames(missing)
        except BaseException:
            self._sent = self._sequence = None  # stopped halfway: the next read begins afresh
            raise
        if missing:
            because = f" ({self._trouble})" if self._trouble else ""
            reason = f"frame {min(missing)} of {len(self)} does not decode{because}"
            raise VideoError(self.path, reason, "the file is damaged there: fetch or encode it again, or leave it out")

    # Opening

    def _open(self) -> None:
        self.close()
        self._container = open_container(self.path, self._source, self._clock)
        streams = pictures(self._container)
        if not streams:
            kinds = kinds_of_streams(self._container)
            raise VideoError(self.path, f"has no video stream (only {kinds})", "give a file with pictures")
        self._stream = only(self.path, self._container, streams, self._number, "video stream")
        self._codec = self._stream.codec_context
        if self._codec is None:
            raise VideoError(self.path, "uses a codec that this FFmpeg cannot decode", "encode it as H.264")
        if self._codec.width * self._codec.height > _MOST_PIXELS:
            reason = (
                f"has frames of {self._codec.width}×{self._codec.height} by its header, {_MOST_PIXELS:,} pixels at most"
            )
            raise VideoError(self.path, f"{reason} are decoded", "scale it down, or leave it out")
        self._codec.options = {"max_pixels": str(_MOST_PIXELS)}  # also if the size changes later
        # Measured per CPU-second, one thread is never slower; loaders run many readers side by side instead.
        self._codec.thread_count = 1
        self._packets: Iterator[av.Packet] = iter(())
        self._sent: int | None = None  # decoding by time: place of the last packet sent, None if a seek is needed
        self._entry: int | None = None  # time of the keyframe where decoding began, None for the first
        self._entered = False  # whether that keyframe has come out, and as an intra picture
        self._in_decoder: set[int] = set()  # frames sent to the decoder but not yet returned
        self._spare: dict[int, av.VideoFrame] = {}  # frames returned early, for a read that continues from here

    def _demux(self) -> Iterator[av.Packet]:
        """The packets of the stream from the current position on, without empty ones (which would end decoding)."""
        try:
            for packet in self._container.demux(self._stream):
                self._check()
                if packet.size and packet.stream_index == self._stream.index:
                    yield packet
        except IndexError:
            return  # raised by PyAV where a damaged file seems to gain streams on the way

    def _prepare(self, index: Index) -> None:
        """Order frames by an index, and find their size and orientation."""
        self._index, self._pts, self._keys = index, index.pts, index.keys
        self._by_tables = index.opening is None and bool(index.keys)
        self._sure = True  # whether size and orientation are known
        self._by_count, first = not index.times_name_frames(self._container, self._codec), None
        if self._by_tables and self._by_count:
            raise _Misled
        if not self._by_count:
            times, self._place, self._start = index.by_time()
            self._length = len(times)
            self._display = {p: i for i, p in enumerate(times)}
            self._place_at = {p: place for place, p in enumerate(index.pts)}
            opening = self._opening()
            if index.upright and not tells_orientation(bytes(opening), self._codec.name, self._codec.extradata or b""):
                self._sure = False
                self.orientation = (False, False, False)
                self.height, self.width = self._codec.height, self._codec.width
                return
            first = self._decode_one(opening)
        # If no packet has the time of the first frame, times do not identify the frames of this file.
        if first is None or first.pts not in self._display:
            first = self._count()
        self.orientation = orientation(first)
        swap = self.orientation[0]
        self.height, self.width = (first.width, first.height) if swap else (first.height, first.width)

    def _read_through(self) -> None:
        """Index the file again by reading it through, since its tables are wrong."""
        self._open()
        self._prepare(index_by_reading(self.path, self._demux(), self._codec))

    def _opening(self) -> av.Packet:
        """The packet of the first keyframe."""
        opening, self._index.opening = self._index.opening, None
        if self._by_tables:
            if not self._land(self._keys[0]):
                raise _Misled
            opening = next(self._packets)
            self._sent = None
        return opening

    def _decode_one(self, opening: av.Packet) -> av.VideoFrame | None:
        try:
            frames = self._codec.decode(opening) + self._codec.decode(None)
        except av.FFmpegError as error:
            raise VideoError(self.path, f"its first frame does not decode ({error.strerror})") from error
        return frames[0] if frames else None

    def _count(self) -> av.VideoFrame:
        """Decode everything once to count the frames; returns the first of them."""
        self._by_count, first, times = True, None, []
        try:
            for frame in self._decode_all():
                first = first or frame
                times.append(frame.pts)
        except av.FFmpegError as error:
            self._trouble = error.strerror
        if first is None:
            raise VideoError(self.path, f"not one frame decodes ({self._trouble or 'no picture was decoded'})")
        self._length = len(times)
        self._display = {p: i for i, p in enumerate(times)}
        return first

    def _frames(self, missing: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        return self._frames_by_count(missing) if self._by_count else self._frames_by_time(missing)

    # Decoding by number

    def _decode_all(self) -> Iterator[av.VideoFrame]:
        self._open()
        for packet in self._demux():
            yield from self._codec.decode(packet)
        yield from self._codec.decode(None)

    def _frames_by_count(self, missing: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        if self._sequence is None or self._position > min(missing):
            self._sequence, self._position = self._decode_all(), 0
        last = max(missing)
        while self._position <= last:
            try:
                frame = next(self._sequence, None)
            except av.FFmpegError as error:
                frame, self._trouble = None, error.strerror
            if frame is None:
                self._sequence = None
                return
            number, self._position = self._position, self._position + 1
            if number in missing:
                missing.remove(number)
                yield number, frame

    # Decoding by time

    def _frames_by_time(self, missing: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        # Reads that move forward through a file keep the decoder running; others drain it, which is faster.
        onward = 0 <= self._next_read <= min(missing)
        self._next_read = max(missing) + 1
        for number in sorted(missing & self._spare.keys()):
            missing.remove(number)
            yield number, self._spare.pop(number)
        # If a frame is not decoded after a seek, earlier keyframes are tried, and finally the beginning of the file.
        for back in (0, 1, 4):
            groups: dict[int, set[int]] = {}
            for number in sorted(missing):
                groups.setdefault(max(0, self._start[number] - back), set()).add(number)
            for (key, group), following in itertools.zip_longest(groups.items(), list(groups)[1:]):
                last = max(self._place[i] for i in group)
                linger = onward if following is None else self._keys[following] - last <= 2
                yield from self._run(key, group, missing, linger, onward)
            if not missing or set(groups) == {0}:
                break
        if missing:
            yield from self._from_the_beginning(missing)

    def _run(self, key: int, group: set, missing: set, linger: bool, keep: bool) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode from a keyframe on until all frames of `group` are out; they are removed from `missing`."""
        group = group & missing  # an earlier group may have yielded some of them
        if not group:
            return
        begin, last = self._keys[key], max(self._place[i] for i in group)
        # Decoding on is cheaper than a seek within a group of pictures, and up to the edge of the next.
        if self._sent is None or begin - self._sent > 2 or not all(map(self._ahead, group)):
            self._seek(key)
        if self._sent is None:
            return
        beyond = max(missing)
        while not group.isdisjoint(missing):
            self._check()
            packet = self._next_packet() if self._sent < last or linger else None
            frames, alive = self._send(packet, missing, beyond if keep else self._length)
            for frame in frames:
                number = self._display.get(frame.pts)
                self._in_decoder.discard(number)
                if not self._sound(frame):
                    alive = alive and self._sent is not None
                    continue
                if not self._sure:
                    if (frame.height, frame.width, orientation(frame)) != (self.height, self.width, self.orientation):
                        raise _Misled
                    self._sure = True
                if number in missing:
                    missing.remove(number)
                    yield number, frame
                elif keep and number is not None and number > beyond:
                    self._spare[number] = frame
            if not alive:
                return

    def _sound(self, frame: av.VideoFrame) -> bool:
        """Whether a frame is certain to equal the one that decoding from the start gives.

        Pictures shown before the keyframe where decoding began may depend on earlier ones. So may all pictures if that
        keyframe is not a true one (H.264 with gradual refresh marks the points where a refresh begins).
        """
        if self._entry is None:  # decoding began with the file: its content, damaged or not
            return True
        if frame.is_corrupt or frame.pts is None or frame.pts < self._entry:
            return False
        if not self._entered:
            self._entered = frame.pts == self._entry and frame.pict_type not in (PictureType.P, PictureType.B)
            if not self._entered:
                self._start, self._sent = [0] * len(self), None
        return self._entered

    def _ahead(self, number: int) -> bool:
        """Whether the decoder will still return a frame if decoding continues."""
        return self._place[number] > self._sent or number in self._in_decoder

    def _next_packet(self) -> av.Packet | None:
        try:
            return next(self._packets, None)
        except av.FFmpegError as error:
            self._trouble = error.strerror
            return None

    def _send(self, packet: av.Packet | None, missing: set, beyond: int) -> tuple[list[av.VideoFrame], bool]:
        """Decode a packet (None: drain the decoder) and return its frames, and whether the decoder accepts more."""
        frames, alive = [], packet is not None
        try:
            if packet is not None:
                number = self._display.get(packet.pts)
                asked = number is not None and (number in missing or number > beyond)
                self._codec.skip_frame = "DEFAULT" if asked else "NONREF"
                if asked:
                    self._in_decoder.add(number)
                self._sent = max(self._sent, self._place_at.get(packet.pts, -1))
                frames += self._codec.decode(packet)
        except av.FFmpegError as error:
            self._trouble, alive = error.strerror, False
        if not alive:
            self._sent = None
            try:
                frames += self._codec.decode(None)
            except av.FFmpegError as error:
                self._trouble = self._trouble or error.strerror
        return frames, alive

    def _seek(self, key: int) -> None:
        """Seek to a keyframe or an earlier one, so that its packets come next."""
        self._in_decoder.clear()
        self._spare.clear()
        goal = self._keys[key]
        # Some containers seek by presentation time, some by decoding time, and either may land too late.
        for stamp in (self._pts[goal], self._index.dts[goal]):
            if stamp is None:
                continue
            try:
                self._container.seek(stamp, stream=self._stream)
                if self._land(goal):
                    return
            except av.FFmpegError:
                continue
        self._open()
        self._land(goal)

    def _land(self, goal: int) -> bool:
        packets = self._demux()
        for packet in packets:
            if packet.is_keyframe:
                place = self._place_at.get(packet.pts, goal + 1)
                if self._by_tables:
                    if packet.pts not in self._place_at or not self._index.is_key(place):
                        raise _Misled
                    packets = self._compared(packets, place + 1)
                self._packets, self._sent = itertools.chain([packet], packets), place - 1
                self._entry, self._entered = packet.pts if place else None, False
                return place <= goal
        return False

    def _compared(self, packets: Iterator[av.Packet], place: int) -> Iterator[av.Packet]:
        """The packets from `place` on, each checked against the tables."""
        for at, packet in enumerate(packets, place):
            if at >= len(self._pts) or packet.pts != self._pts[at]:
                raise _Misled
            yield packet

    def _from_the_beginning(self, missing: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Last resort: plain decoding; frames are identified by time, or by number if the times are wrong."""
        try:
            for number, frame in enumerate(self._decode_all()):
                number = self._display.get(frame.pts, number)
                if number in missing:
                    missing.remove(number)
                    yield number, frame
                    if not missing:
                        break
        except av.FFmpegError as error:
            self._trouble = error.strerror
        self._open()
