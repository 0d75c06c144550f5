"""Long videos of moving shapes: actions with known beginnings and ends, among background, for localisation.

The same shapes stay in view through a whole video and change only how they move. Four or five of them act together:
one of six motions for a while, then another, often without a pause, or nothing in particular: they rest, or each goes
its own way. Another shape takes no part and changes its motion at any time. So no frame tells an action, and
neither does the motion of a single shape.
"""

import functools
from pathlib import Path

import numpy as np
from rich.console import Console

from vidjax.data.moving_shapes import (
    RATE,
    STEPS,
    SetSize,
    contrasting_colour,
    draw_background,
    draw_outline,
    draw_shape,
    write_set,
)

Span = tuple[int, int, str]  # first frame, frame after the last, class
_VERSION = 1  # version of the generated videos
_ACTION = (14, 48)  # bounds of the length of an action, frames
_PAUSE = (8, 32)  # and of background between actions
_WHIM = (6, 24)  # and of one motion of a shape that takes no part
_NO_PAUSE = 0.45  # probability that an action follows another at once


def long_plan(rng: np.random.Generator, num_frames: int) -> list[Span]:
    """Draw the actions of a video: their frames and classes, in order, never the same class twice without a pause.

    Args:
      rng: generator of all draws.
      num_frames: T, frames of the video; it begins and ends with background.
    """
    spans: list[Span] = []
    at, last, names = int(rng.integers(*_PAUSE)), "", list(STEPS)
    while True:
        length = int(rng.integers(*_ACTION))
        if at + length > num_frames - _PAUSE[0]:
            return spans
        label = names[rng.integers(len(names))]
        while label == last:
            label = names[rng.integers(len(names))]
        spans.append((at, at + length, label))
        pause = 0 if rng.random() < _NO_PAUSE else int(rng.integers(*_PAUSE))
        at, last = at + length + pause, label if not pause else ""


def long_video(rng: np.random.Generator, *, num_frames: int = 300, size: int = 64) -> tuple[np.ndarray, list[Span]]:
    """Draw a long video.

    Args:
      rng: generator of actions, shapes, motions and background.
      num_frames: T, number of frames.
      size: height and width, pixels.

    Returns:
      RGB frames, uint8 `(T, size, size, 3)`, and the actions.
    """
    spans, background = long_plan(rng, num_frames), draw_background(rng, size)
    frames = np.empty((num_frames, size, size, 3), np.uint8)
    frames[:] = background
    together, alone = int(rng.integers(4, 6)), 1
    common = _common_steps(rng, spans, num_frames, size)
    for number in range(together + alone):
        outline, colour = draw_outline(rng, size), contrasting_colour(rng, background)
        own = _own_steps(rng, num_frames, size)
        steps = own if number >= together else np.where(np.isnan(common), _idle(own, common), common)
        start = np.array([*rng.uniform(0, size, 2), rng.uniform(0, 2 * np.pi)])
        places = start + np.concatenate([np.zeros((1, 3)), np.cumsum(steps[:-1], axis=0)])
        for frame, (x, y, angle) in zip(frames, places, strict=True):
            draw_shape(frame, outline, np.array([x, y]) % size, angle, colour)
    return frames, spans


def _motion(rng: np.random.Generator, label: str, size: int) -> np.ndarray:
    """Change of place and orientation per frame in a motion of drawn speed: pixels right and down, radians."""
    right, down, turn = STEPS[label]
    speed, angular = rng.uniform(0.03, 0.05) * size, np.deg2rad(rng.uniform(11, 14))
    return np.array([right * speed, down * speed, turn * angular])


def _common_steps(rng: np.random.Generator, spans: list[Span], num_frames: int, size: int) -> np.ndarray:
    """Changes per frame of the shapes that act together `(T, 3)`; NaN where there is no action."""
    steps = np.full((num_frames, 3), np.nan)
    for first, after, label in spans:
        steps[first:after] = _motion(rng, label, size)
    return steps


def _own_steps(rng: np.random.Generator, num_frames: int, size: int) -> np.ndarray:
    """Changes per frame of a shape by itself `(T, 3)`: one motion after another, or rest."""
    steps, names, at = np.zeros((num_frames, 3)), list(STEPS), 0
    while at < num_frames:
        length = int(rng.integers(*_WHIM))
        if rng.random() < 0.75:
            steps[at : at + length] = _motion(rng, names[rng.integers(len(names))], size)
        at += length
    return steps


def _idle(own: np.ndarray, common: np.ndarray) -> np.ndarray:
    """Changes per frame without action: a pause in which all shapes rest, or each has its own motion."""
    steps = own.copy()
    idle = np.isnan(common[:, 0])
    # Every other pause is one of rest, the same for all shapes.
    number = np.cumsum(np.diff(np.concatenate([[False], idle]).astype(np.int8)) == 1)
    steps[idle & (number % 2 == 0)] = 0
    return steps


def write_long(
    folder: str | Path,
    *,
    num_train: int = 140,
    num_eval: int = 40,
    num_frames: int = 300,
    size: int = 64,
    seed: int = 0,
    console: Console | None = None,
) -> Path:
    """Write long videos of moving shapes with `train.csv` and `val.csv` of their segments, unless they already exist.

    Args:
      folder: folder to write to, created if necessary; an interrupted earlier call is completed.
      num_train, num_eval: numbers of videos; the two sets share no draw.
      num_frames: frames per video, at 10 frames/s.
      size: height and width, pixels; even.
      seed: seed of all draws; equal seeds give equal frames.
      console: console for a progress bar; None: no bar.

    Returns:
      Path of the folder.

    Raises:
      UserError: if a parameter is out of range, or the folder holds such a set with other parameters.
    """
    least = sum((_PAUSE[1], _ACTION[1], _PAUSE[0]))
    drawn = SetSize(num_train, num_eval, num_frames, size, seed).checked(frames=least)
    videos, lists = {}, {}
    for split_number, split, count in drawn.splits:
        lines = ["path,start,end,label,duration,fps"]
        for i in range(count):
            name, key = f"{split}/{split}_{i:04d}.mp4", (seed, split_number, i)
            videos[name] = functools.partial(_frames, key, num_frames, size)
            for first, after, label in long_plan(np.random.default_rng(key), num_frames):
                lines.append(f"{name},{first / RATE:g},{after / RATE:g},{label},{num_frames / RATE:g},{RATE}")
        lists[f"{split}.csv"] = "".join(f"{line}\n" for line in lines)
    return write_set(Path(folder), "long.json", drawn.stored(_VERSION), videos, lists, console)


def _frames(key: tuple[int, ...], num_frames: int, size: int) -> np.ndarray:
    return long_video(np.random.default_rng(key), num_frames=num_frames, size=size)[0]
