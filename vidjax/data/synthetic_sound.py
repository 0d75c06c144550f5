"""Moving shapes with sound: generated data sets whose classes neither pictures nor sound alone can tell.

- joint: shapes move left or right, and tones rise or fall, independently. The class is both: a network of one stream is
  right half of the time, one of both always.
- agree: the same videos, and two classes: "same" if the shapes move right and the tones rise, or left and fall, else
  "different". Either stream alone, and any sum of their scores, is at chance.
- turns: shapes move to and fro, and clicks are heard at their turns, "together", or half a second after, "apart". Turns
  and clicks come once a second from a random time on, so that neither tells anything without the other.
"""

import functools
from pathlib import Path

import numpy as np
from rich.console import Console

from vidjax.data.moving_shapes import (
    RATE,
    SetSize,
    contrasting_colour,
    draw_background,
    draw_outline,
    draw_shape,
    motion_clip,
    write_set,
)
from vidjax.errors import UserError

SOUND_RATE = 16_000  # samples per second
WAYS, TONES = ("left", "right"), ("falling", "rising")
LESSONS = {
    "joint": tuple(f"{way}_{tones}" for way in WAYS for tones in TONES),
    "agree": ("different", "same"),
    "turns": ("apart", "together"),
}
_VERSION = 1  # version of the generated videos
_TONE = 0.1  # seconds of a tone
_LADDER = 5  # tones from the lowest to the highest
PERIOD = 1.0  # seconds from one turn, or click, to the next


def tones(pattern: str, rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Tones that rise or fall, again and again, from a random place on, over quiet noise.

    Rising and falling tones are the same tones in opposite order, so that no single moment tells them apart.

    Args:
      pattern: "rising" or "falling".
      rng: generator of pitch, timbre, loudness, first tone and noise.
      seconds: length.

    Returns:
      Samples of one channel at `SOUND_RATE`, float32, within -1…1.

    Raises:
      UserError: if the pattern is unknown.
    """
    if pattern not in TONES:
        raise UserError(f"pattern = {pattern!r}: must be one of {', '.join(TONES)}")
    time = np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE
    step = np.floor(time / _TONE + rng.uniform(0, _LADDER)).astype(int)
    place = (step if pattern == "rising" else -step) % _LADDER
    pitch = rng.uniform(300, 900) * 2 ** (place / _LADDER * rng.uniform(0.8, 1.6))
    phase = 2 * np.pi * np.cumsum(pitch) / SOUND_RATE
    wave = np.sin(phase) + rng.uniform(0, 0.5) * np.sin(2 * phase)
    return _noisy(rng.uniform(0.1, 0.4) * wave, rng)


def clicks(times: np.ndarray, rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Short bursts of noise at given times, in seconds, over quiet noise; samples as for `tones`."""
    wave, length = np.zeros(round(seconds * SOUND_RATE)), round(0.02 * SOUND_RATE)
    fading = np.exp(-np.arange(length) / (0.2 * length)) * rng.uniform(0.3, 0.9)
    for time in times:
        first = round(float(time) * SOUND_RATE)
        burst = (fading * rng.uniform(-1, 1, length))[max(0, -first) :]
        part = wave[max(0, first) : max(0, first) + len(burst)]
        part += burst[: len(part)]
    return _noisy(wave, rng)


def _noisy(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.uniform(0.001, 0.02) * rng.standard_normal(len(wave))
    return np.clip(wave + noise, -1, 1).astype(np.float32)


def turning_clip(phase: float, rng: np.random.Generator, *, num_frames: int = 20, size: int = 64) -> np.ndarray:
    """Draw shapes that move to and fro along one line.

    Args:
      phase: time of a turn, seconds; there is another one `PERIOD` before and after each.
      rng: generator of number, forms, colours, sizes, orientations, places, direction, speed and background.
      num_frames: T, number of frames.
      size: height and width, pixels.

    Returns:
      RGB frames, uint8 `(T, size, size, 3)`.
    """
    background, way = draw_background(rng, size), rng.uniform(0, 2 * np.pi)
    reach = rng.uniform(0.3, 0.5) * size * np.array([np.cos(way), np.sin(way)])
    # From 0 to 1 and back, in two periods; 0 and 1 are the turns.
    along = np.abs((np.arange(num_frames) / RATE - phase) / PERIOD % 2 - 1)
    frames = np.empty((num_frames, size, size, 3), np.uint8)
    frames[:] = background
    for _ in range(rng.integers(3, 6)):
        outline, colour = draw_outline(rng, size), contrasting_colour(rng, background)
        angle, start = rng.uniform(0, 2 * np.pi), rng.uniform(0, size, 2)
        for frame, share in zip(frames, along, strict=True):
            draw_shape(frame, outline, (start + share * reach) % size, angle, colour)
    return frames


def sound_clip(
    lesson: str, label: str, rng: np.random.Generator, *, num_frames: int = 20, size: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the frames and the sound of a video of a class.

    Args:
      lesson: name of the set, a key of `LESSONS`.
      label: class, one of the lesson's.
      rng: generator of everything else.
      num_frames: T, number of frames, at 10 frames/s.
      size: height and width, pixels.

    Returns:
      RGB frames, uint8 `(T, size, size, 3)`, and samples of the same length, float32, at `SOUND_RATE`.

    Raises:
      UserError: if the lesson or the label is unknown.
    """
    if label not in LESSONS.get(lesson, ()):
        told = "; ".join(f"{name}: {', '.join(labels)}" for name, labels in LESSONS.items())
        raise UserError(f"lesson = {lesson!r}, label = {label!r}: must be one of {told}")
    seconds = num_frames / RATE
    if lesson == "turns":
        phase = rng.uniform(0, PERIOD)
        first = phase + (0 if label == "together" else PERIOD / 2)
        times = first + PERIOD * np.arange(-1, np.ceil(seconds / PERIOD))
        return turning_clip(phase, rng, num_frames=num_frames, size=size), clicks(times, rng, seconds)
    if lesson == "joint":
        way, pattern = label.split("_")
    else:
        number = int(rng.integers(2))
        way, pattern = WAYS[number], TONES[number if label == "same" else 1 - number]
    return motion_clip(way, rng, num_frames=num_frames, size=size), tones(pattern, rng, seconds)


def write_with_sound(
    folder: str | Path,
    *,
    lesson: str,
    num_train: int = 1200,
    num_eval: int = 300,
    num_frames: int = 20,
    size: int = 64,
    seed: int = 0,
    console: Console | None = None,
) -> Path:
    """Write moving shapes with sound as MP4 files (H.264, AAC) with `train.csv` and `val.csv`, unless they exist.

    Args:
      folder: folder to write to, created if necessary; an interrupted earlier call is completed.
      lesson: name of the set, a key of `LESSONS`.
      num_train, num_eval: numbers of videos, spread evenly over the classes; the two sets share no draw.
      num_frames: frames per video, at 10 frames/s.
      size: height and width, pixels; even.
      seed: seed of all draws.
      console: console for a progress bar; None: no bar.

    Returns:
      Path of the folder.

    Raises:
      UserError: if the lesson is unknown, a parameter is out of range, or the folder holds such a set with other
        parameters.
    """
    if lesson not in LESSONS:
        raise UserError(f"lesson = {lesson!r}: must be one of {', '.join(LESSONS)}")
    drawn = SetSize(num_train, num_eval, num_frames, size, seed).checked()
    videos, lists, classes = {}, {}, LESSONS[lesson]
    for split_number, split, count in drawn.splits:
        lines = ["path,label"]
        for i in range(count):
            name, label = f"{split}/{i:04d}.mp4", classes[i % len(classes)]
            lines.append(f"{name},{label}")
            videos[name] = functools.partial(_drawn, lesson, label, (seed, split_number, i), num_frames, size)
        lists[f"{split}.csv"] = "".join(f"{line}\n" for line in lines)
    return write_set(
        Path(folder), "sound.json", drawn.stored(_VERSION, lesson=lesson), videos, lists, console, sound_rate=SOUND_RATE
    )


def _drawn(lesson: str, label: str, key: tuple[int, ...], num_frames: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    return sound_clip(lesson, label, np.random.default_rng(key), num_frames=num_frames, size=size)
