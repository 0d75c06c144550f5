"""Windows of a sound track, exact to the sample, through FFmpeg.

Where a sample lies is decided by the presentation times of the track, to which the count of samples is added as long as
the two agree: tracks begin earlier or later than the pictures, have gaps, and end early. A codec's first sounds after a
seek are wrong, so that decoding begins some time before a window, which is dropped. Windows are resampled on the grid
of the whole track: each is the slice of the whole, resampled.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from vidjax.video.byte_sources import find_source
from vidjax.video.deadline import Clock
from vidjax.video.decoder import kinds_of_streams, only, open_container, pictures
from vidjax.video.errors import VideoError

_PREROLL = 0.6  # most seconds decoded before a window and dropped; Opus needs half a second, 8 kHz AAC a quarter
_WARM = 8  # frames that suffice instead, for codecs that remember only a few
_REMEMBERING = frozenset(("opus", "vorbis"))
_ONWARD = 2.0  # seconds to the next window up to which decoding goes on, instead of seeking
_TOGETHER = 60.0  # longest stretch decoded at a time, seconds, unless a window is longer
_FASTEST = 1_000_000  # samples per second; a header may claim more, and with it the memory
_TAPS = 64  # samples on each side that a resampled one may depend on, at the lower of the two rates
_MEND = "encode the sound again, or leave the file out"


@dataclass(frozen=True)
class SoundFacts:
    """Rate, channels and times of a sound track."""

    rate: int  # samples per second
    channels: int
    start: float  # time of the first sample, seconds from the first picture (sound alone: 0)
    duration: float  # seconds, by the header or, if it states none, by the times of its packets


class SoundDecoder:
    """One open sound track.

    Args:
      path: path of a regular file, or an address: see `byte_sources.py`.
      stream: number of the sound track, in the order of the file.
      clock: deadline, checked between packets.
      content: bytes of the file if they are in memory.

    Raises:
      VideoError: if the file cannot be opened, has no such track, or nothing of it decodes.
    """

    def __init__(self, path: str, stream: int, clock: Clock, content: bytes | None = None):
        self.path, self._number, self._clock = path, stream, clock
        self._container: Any = None
        try:
            self._source = find_source(path, clock, content)
            self._open()
            first = self._first()
        except av.FFmpegError as error:
            self.close()
            clock.check()  # the deadline may be what stopped FFmpeg
            raise VideoError(path, f"its sound does not open ({error.strerror})", _MEND) from error
        except BaseException:
            self.close()
            raise
        self._rate, self._channels = first.sample_rate, first.layout.nb_channels
        self._format, self._kind = first.format.name, _kind(first)
        if not 0 < self._rate <= _FASTEST:
            self.close()
            raise VideoError(path, f"has {self._rate:,} samples per second of sound, {_FASTEST:,} at most", _MEND)
        self._begin = first.time or 0.0  # time of the first sample by the file's clock, seconds
        self._tick = tick = float(first.time_base or self._stream.time_base or 0)
        self._slack = 2 + 1.5 * tick * self._rate  # samples by which times and counts may differ
        # Samples of the first frame, which may be trimmed, and of those after it: where the clock of a file is coarser
        # than the samples, they tell the exact place after a seek.
        self._grid = (first.samples, self._kept[-1].samples if tick * self._rate > 1 else 0)
        warm = _PREROLL if self._codec.name in _REMEMBERING else _WARM * self._kept[-1].samples / self._rate
        self._preroll = min(_PREROLL, warm)
        clear = [s for s in pictures(self._container) if s.start_time is not None and s.time_base is not None]
        self._origin = float(clear[0].start_time * clear[0].time_base) if clear else self._begin

    def facts(self) -> SoundFacts:
        """Rate, channels and times of the track."""
        stream, container = self._stream, self._container
        if stream.duration is not None and stream.time_base is not None:
            duration = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            duration = container.duration / av.time_base
        else:
            duration = self._measured()
        return SoundFacts(self._rate, self._channels, self._begin - self._origin, duration)

    def _measured(self) -> float:
        """Duration by the times of all packets, which are read through."""
        self._open()
        last = 0.0
        for packet in self._packets():
            if packet.pts is not None and packet.time_base is not None:
                last = max(last, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        self._open()
        return max(last - self._begin, 0.0)

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()
        self._container = None

    def read(self, starts: Sequence[float], count: int, rate: int, speed: Sequence[float]) -> np.ndarray:
        """Read K windows in one pass, one channel (the mean of all), float32 `(K, count)`: NaN outside of the track.

        Args:
          starts: beginnings of the windows, seconds from the first picture; in any order.
          count: samples of a window.
          rate: samples per second of the result.
          speed: how much faster each window is played: it spans `count · speed / rate` seconds of the file.

        Raises:
          VideoError: if the file fails while it is read.
        """
        windows = [
            _Window.of(t + self._origin - self._begin, count, self._rate, rate, s)
            for t, s in zip(starts, speed, strict=True)
        ]
        out = np.full((len(windows), count), np.nan, np.float32)
        order = sorted(range(len(windows)), key=lambda k: windows[k].first)
        while order:
            low, together = windows[order[0]].first, [order[0]]
            high = windows[order[0]].last
            for k in order[1:]:
                near = windows[k].first - high < _ONWARD * self._rate
                if not near or windows[k].last - low > _TOGETHER * self._rate:
                    break
                together.append(k)
                high = max(high, windows[k].last)
            order = order[len(together) :]
            if high <= low:
                continue
            sound, there = self._stretch(low, high)
            for k in together:
                part = slice(windows[k].first - low, windows[k].last - low)
                out[k] = windows[k].of_track(sound[part], there[part])
        return out

    def _open(self) -> None:
        self.close()
        self._container = open_container(self.path, self._source, self._clock)
        tracks = list(self._container.streams.audio)
        if not tracks:
            kinds = kinds_of_streams(self._container)
            raise VideoError(self.path, f"has no sound (only {kinds})", "give a file with a sound track")
        self._stream = only(self.path, self._container, tracks, self._number, "sound track")
        self._codec = self._stream.codec_context
        if self._codec is None:
            raise VideoError(self.path, "has sound of a codec that this FFmpeg cannot decode", "encode it as AAC")
        self._codec.thread_count = 1
        self._frames: Iterator[av.AudioFrame] = self._decoded()
        self._kept: list[av.AudioFrame] = []  # the next frames, taken already
        self._next: int | None = 0  # place of the next sample, from the first one; None: only its time tells

    def _first(self) -> av.AudioFrame:
        self._kept = list(itertools.islice(self._frames, 2))
        if not self._kept:
            raise VideoError(self.path, "has a sound track of which nothing decodes", _MEND)
        return self._kept[0]

    def _packets(self) -> Iterator[av.Packet]:
        """Packets of the track from the current place on, without empty ones, which would end decoding."""
        packets = self._container.demux(self._stream)
        while True:
            self._clock.check()
            try:
                packet = next(packets)
            except (StopIteration, IndexError, av.FFmpegError):  # IndexError: streams that appear in a damaged file
                return
            if packet.size:
                yield packet

    def _decoded(self) -> Iterator[av.AudioFrame]:
        """Frames from the current place on; damaged ones are left out."""
        for packet in itertools.chain(self._packets(), [None]):
            try:
                frames = self._codec.decode(packet)
            except av.FFmpegError:
                continue
            yield from (frame for frame in frames if frame.samples)

    def _stretch(self, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples `low` to `high` from the first one, float32, and whether the track has each, bool."""
        sound, there = np.zeros(high - low, np.float32), np.zeros(high - low, bool)
        for place, samples in self._from(low):
            begin, end = max(place, low), min(place + len(samples), high)
            if begin < end:
                sound[begin - low : end - low] = samples[begin - place : end - place]
                there[begin - low : end - low] = True
            if place + len(samples) >= high:
                break
        if not np.isfinite(sound.sum()):  # a float track may hold anything; what is no number is silent
            np.nan_to_num(sound, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        return sound, there

    def _from(self, low: int) -> Iterator[tuple[int, np.ndarray]]:
        """Pieces of the track with their places, in order, the first at or before `low`."""
        ahead = self._next is not None and 0 <= low - self._next < _ONWARD * self._rate
        if not ahead and not (low > self._preroll * self._rate and self._seek(low)) and self._next != 0:
            self._open()
        while True:
            frame = self._kept.pop(0) if self._kept else next(self._frames, None)
            if frame is None:
                self._next = None  # the end: nothing more comes without a seek
                return
            if frame.sample_rate != self._rate:
                reason = f"changes from {self._rate} to {frame.sample_rate} samples per second of sound"
                raise VideoError(self.path, reason, _MEND)
            place = self._place(frame)
            self._next = place + frame.samples
            if frame.format.name != self._format or frame.layout.nb_channels != self._kind[1]:  # from here on
                self._format, self._kind = frame.format.name, _kind(frame)
            yield place, _one_channel(frame, self._kind)

    def _place(self, frame: av.AudioFrame) -> int:
        if frame.pts is None:
            return self._next or 0
        by_time = round((frame.pts * self._tick - self._begin) * self._rate)
        first, size = self._grid
        if self._next is None and size == frame.samples > 2 * self._slack:
            snapped = first + round((by_time - first) / size) * size
            by_time = snapped if abs(snapped - by_time) < self._slack else by_time
        return by_time if self._next is None or abs(by_time - self._next) > self._slack else self._next

    def _seek(self, low: int) -> bool:
        """Seek to some time before `low`; returns whether that is where the next frame is."""
        goal = low / self._rate - self._preroll + self._begin
        try:
            self._container.seek(math.floor(goal / self._stream.time_base), stream=self._stream)
            self._frames, self._next = self._decoded(), None
            self._kept = list(itertools.islice(self._frames, 1))
        except av.FFmpegError:
            self._kept, self._next = [], None
            return False
        if not self._kept or self._kept[0].pts is None:
            return False
        return self._place(self._kept[0]) <= low - 0.8 * self._preroll * self._rate


@dataclass(frozen=True)
class _Window:
    """A window on the grid of the resampled track, and the samples of the track that it is made from."""

    first: int  # sample of the track, from its first one
    last: int  # the one after the last
    skipped: int  # resampled samples before the window
    count: int
    rates: tuple[int, int]  # of the track, and of the window

    @classmethod
    def of(cls, start: float, count: int, own: int, rate: int, speed: float) -> "_Window":
        own = round(own * speed)  # played faster, it has as many samples in less time
        begin = round(start / speed * rate)
        if own == rate:
            return cls(max(begin, 0), max(begin + count, 0), min(begin, 0), count, (own, rate))
        # A window begins where both grids meet, so that the filter has the same phases as in the whole track.
        step = math.gcd(own, rate)
        reach = math.ceil(_TAPS * max(1, own / rate))
        units = max(0, math.floor((begin * own / rate - reach) / (own // step)))
        first, last = units * (own // step), math.ceil((begin + count) * own / rate) + reach
        return cls(first, max(last, first), begin - units * (rate // step), count, (own, rate))

    def of_track(self, sound: np.ndarray, there: np.ndarray) -> np.ndarray:
        """The window, float32 `(count,)`, NaN where the track has nothing."""
        own, rate = self.rates
        out = np.full(self.count, np.nan, np.float32)
        length = len(there) - int(there[::-1].argmax()) if there.any() else 0  # up to the end of the track
        if not length:
            return out
        made = sound[:length] if own == rate else _resampled(sound[:length], own, rate)
        first, last = max(self.skipped, 0), min(self.skipped + self.count, len(made))
        if first < last:
            out[first - self.skipped : last - self.skipped] = made[first:last]
        if not there[:length].all():
            place = np.floor(np.arange(self.skipped, self.skipped + self.count) * (own / rate)).astype(np.int64)
            out[~there[np.clip(place, 0, length - 1)]] = np.nan
        return out


def _resampled(sound: np.ndarray, own: int, rate: int) -> np.ndarray:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None]), format="flt", layout="mono")
    frame.sample_rate = own
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    parts = [part.to_ndarray()[0] for part in frames]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _one_channel(frame: av.AudioFrame, kind: tuple[bool, int, np.dtype]) -> np.ndarray:
    """Mean of a frame's channels, float32, full scale at 1; `kind` is from `_kind`."""
    planar, channels, dtype = kind
    count = frame.samples if planar else frame.samples * channels
    # As `to_ndarray` does, which takes longer than decoding.
    planes: Any = frame.planes
    parts = [np.frombuffer(plane, dtype, count) for plane in planes]
    array = np.stack(parts) if planar and channels > 1 else parts[0].reshape(frame.samples, -1).T
    if dtype == np.uint8:
        array = (array.astype(np.float32) - 128) / 128
    elif dtype.kind == "i":
        array = array.astype(np.float32) / np.float32(-float(np.iinfo(dtype).min))
    array = array.astype(np.float32, copy=False)
    return array[0] if len(array) == 1 else array.mean(axis=0, dtype=np.float32)


def _kind(frame: av.AudioFrame) -> tuple[bool, int, np.dtype]:
    """Whether channels lie in planes of their own, their number, and the type of samples."""
    return frame.format.is_planar, frame.layout.nb_channels, frame.to_ndarray().dtype
