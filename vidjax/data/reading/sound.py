"""Reading of sound: beside the pictures of the same clips, or alone.

Sound follows the clips as they are shown. It lies about the middle of a clip's first and last frame, or begins with the
first one shown, as the network's `AudioInput.place` says; of a clip shown faster it is played faster, of a clip shown
backwards, backwards. So what is heard with a frame stays with it. Only `data.sound.shift` moves the two apart.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from vidjax.config import ConfigError, DataConfig, SoundConfig
from vidjax.config.sound_settings import SAMPLING
from vidjax.data.reading.open_video import is_address, stored
from vidjax.data.reading.transforms import draw_speed
from vidjax.data.records import Record
from vidjax.data.text import DataError
from vidjax.data.views import Views, whole
from vidjax.inputs import UNHEARD, AudioInput
from vidjax.video import VideoError
from vidjax.video.sound import SoundReader


def open_sound(path: str, *, isolate: bool = True, **limits: Any) -> SoundReader:
    """Open the sound of a video or sound file, local or remote, or of a stored video by its address.

    Args:
      path: path, URL or address.
      isolate: whether to decode in another process, see `SoundReader`.
      limits: `timeout`, `max_memory` and `patience`, see `SoundReader`.

    Raises:
      VideoError: if there is no sound, or it cannot be read.
      DataError: if the video is stored as frames in a data set that was prepared without sound.
    """
    if not is_address(path):
        return SoundReader(path, isolate=isolate, **limits)
    features, kind = stored(path)
    if kind != "file" and "sound" not in features:
        raise DataError(
            f"{path}: was prepared as JPEG frames, without sound; prepare the data set again with --sound, or as files"
        )
    (content,) = features["video" if kind == "file" else "sound"].bytes_list.value
    if not content:
        raise VideoError(path, "has no sound", "prepare the data set again from a video with a sound track")
    return SoundReader(path, content=content, isolate=isolate, **limits)


def to_int16(wave: np.ndarray) -> np.ndarray:
    """Round samples in -1…1 to int16, -32767 to 32767, and `UNHEARD` for NaN."""
    there = ~np.isnan(wave)
    rounded = np.rint(np.clip(np.where(there, wave, 0) * 32768, -32767, 32767)).astype(np.int16)
    return np.where(there, rounded, np.int16(UNHEARD))


@dataclass(frozen=True)
class _Windows:
    """Windows of the sound of one file."""

    starts: np.ndarray  # float64 (V,), seconds
    speed: np.ndarray  # float64 (V,)
    reversed: np.ndarray  # bool (V,)

    def read(self, reader: SoundReader, input: AudioInput, gain: np.ndarray | None = None) -> np.ndarray:
        """Read the windows in one pass, each distinct one once, int16 `(V, samples)`."""
        distinct, which = np.unique(np.stack([self.starts, self.speed], axis=1), axis=0, return_inverse=True)
        waves = reader.windows(distinct[:, 0].tolist(), input.seconds, input.rate, distinct[:, 1].tolist())
        waves = waves[which.reshape(-1)]
        waves = np.where(self.reversed[:, None], waves[:, ::-1], waves)
        return to_int16(waves if gain is None else waves * gain[:, None].astype(np.float32))


def windows_of(views: Views, input: AudioInput) -> _Windows:
    """Place the sound of each view; the rules are stated in this module's docstring."""
    first, last = np.nanmin(views.times, axis=1), np.nanmax(views.times, axis=1)
    speed = np.ones(len(views)) if views.speed is None else views.speed
    backwards = views.times[:, 0] > views.times[:, -1]
    length = input.seconds * speed
    starts = np.where(backwards, last - length, first) if input.place == "start" else (first + last - length) / 2
    return _Windows(starts, speed, backwards)


@dataclass(frozen=True)
class _Changes:
    """Augmentation of the sound of a training example, drawn for each view."""

    shift: np.ndarray  # float64 (V,), seconds
    gain: np.ndarray  # float64 (V,), factor
    dropped: np.ndarray  # bool (V,)

    @classmethod
    def draw(cls, config: SoundConfig, count: int, rng: np.random.Generator) -> "_Changes":
        shift, loudness, chance = rng.random((3, count))
        gain = 10 ** ((2 * loudness - 1) * config.gain / 20)
        return cls((2 * shift - 1) * config.shift, gain, chance < config.drop)


@dataclass(frozen=True)
class SoundFollower:
    """Reader of the sound of clips whose pictures have been read.

    Attributes:
      input: the sound that the network takes.
      config: settings, of which `sound` and `reading` are used.
    """

    input: AudioInput
    config: DataConfig

    def blank(self, count: int) -> np.ndarray:
        """Sound of `count` views of a video whose sound cannot be read, int16 `(count, samples)`."""
        return np.full((count, self.input.samples), UNHEARD, np.int16)

    def of(self, record: Record, views: Views, rng: np.random.Generator | None = None) -> np.ndarray:
        """Read the sound of each view, int16 `(V, samples)`, `UNHEARD` outside of the track.

        Args:
          record: record whose file has the sound.
          views: views of its pictures.
          rng: generator of augmentation, for training; None: there is none.

        Raises:
          VideoError: if the file has no sound, or it cannot be read.
          DataError: if the video is stored as frames in a data set that was prepared without sound.
        """
        windows, how = windows_of(views, self.input), self.config.reading
        changes = None if rng is None else _Changes.draw(self.config.sound, len(views), rng)
        if changes is not None:
            windows = _Windows(windows.starts + changes.shift, windows.speed, windows.reversed)
        with open_sound(record.path, **how.sound_limits) as reader:
            samples = windows.read(reader, self.input, None if changes is None else changes.gain)
        if changes is not None:
            samples[changes.dropped] = UNHEARD
        return samples


@dataclass(frozen=True)
class SoundClips:
    """Reader of clips of sound alone, from sound files or from videos.

    Training clips begin anywhere, evaluation clips are spread from end to end; a file that is shorter than a clip is
    read from its beginning. Views have the beginning and the end of each clip as times.

    Attributes:
      input: the sound that the network takes.
      config: settings, of which `sampling`, `sound` and `reading` are used.

    Raises:
      ConfigError: if a sampling rule is set that is for frames.
    """

    input: AudioInput
    config: DataConfig

    def __post_init__(self):
        for name, only in SAMPLING.items():
            if (value := getattr(self.config.sampling, name)) != only:
                raise ConfigError(
                    f"config.data.sampling.{name} = {value!r}: is for frames, and this network only hears; leave it out"
                )

    def train(self, record: Record, rng: np.random.Generator, *, mirror: bool = True) -> tuple[np.ndarray, Views]:
        """Read random clips, int16 `(V, samples)` with V = `config.sampling.views`; nothing is mirrored.

        Raises:
          VideoError: if the file has no sound, or it cannot be read.
        """
        del mirror
        sampling = self.config.sampling
        count = sampling.views
        speed = np.array([draw_speed(sampling.speed, rng) for _ in range(count)])
        place, chance = rng.random((2, count))
        changes = _Changes.draw(self.config.sound, count, rng)
        with self._open(record) as reader:
            first, last = _part(record, reader)
            starts = first + place * np.maximum(last - first - self.input.seconds * speed, 0) + changes.shift
            windows = _Windows(starts, speed, chance < sampling.reverse)
            samples = windows.read(reader, self.input, changes.gain)
        samples[changes.dropped] = UNHEARD
        return samples, self._views(windows)

    def evaluate(self, record: Record, num_clips: int, num_crops: int) -> tuple[np.ndarray, Views]:
        """Read clips spread over the file, int16 `(num_clips · num_crops, samples)`; crops are equal. One clip is the
        middle of the file.

        Raises:
          VideoError: if the file has no sound, or it cannot be read.
        """
        with self._open(record) as reader:
            first, last = _part(record, reader)
            room = max(last - first - self.input.seconds, 0)
            places = np.linspace(0, 1, num_clips) if num_clips > 1 else np.array([0.5])
            starts = (first + places * room).repeat(num_crops)
            windows = _Windows(starts, np.ones(len(starts)), np.zeros(len(starts), bool))
            return windows.read(reader, self.input), self._views(windows)

    def _open(self, record: Record) -> SoundReader:
        return open_sound(record.path, **self.config.reading.sound_limits)

    def _views(self, windows: _Windows) -> Views:
        times = windows.starts[:, None] + np.array([0, self.input.seconds]) * windows.speed[:, None]
        times = np.where(windows.reversed[:, None], times[:, ::-1], times)
        blank = whole(len(times), 2)
        return Views(blank.frames, times, blank.mirrored, blank.affine, windows.speed)


def _part(record: Record, reader: SoundReader) -> tuple[float, float]:
    """Beginning and end of the record's part of a file, seconds."""
    first = reader.start if record.start is None else record.start
    return first, reader.start + reader.duration if record.end is None else record.end
