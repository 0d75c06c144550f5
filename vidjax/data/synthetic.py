"""Moving shapes: a generated data set whose classes are directions of motion, invisible in single frames.

Three to five shapes of random form, colour, size and orientation all move in the same way, at a random speed, over a
random still background: left, right, up, down, or each about its own centre, clockwise or anticlockwise. Positions and
orientations are uniform on a picture whose borders wrap around, so single frames have the same distribution in all six
classes; and since each class is another one played backwards, no unordered set of frames distinguishes the two either.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from vidjax.config import DataConfig
from vidjax.errors import UserError
from vidjax.progress import progress_bar
from vidjax.video.write import VideoWriter

MOTION_CLASSES = ("anticlockwise", "clockwise", "down", "left", "right", "up")

# Pixels per frame to the right and down (times speed), and turns (times angular speed; y points down, so + is
# clockwise).
_STEPS = {
    "left": (-1, 0, 0),
    "right": (1, 0, 0),
    "up": (0, -1, 0),
    "down": (0, 1, 0),
    "clockwise": (0, 0, 1),
    "anticlockwise": (0, 0, -1),
}
# Outlines around (0, 0), about 1 across. None is so symmetric that a step of the rotation could be mistaken for its
# reverse.
_SHAPES = {
    "triangle": [(-0.5, 0.4), (0.5, 0.4), (0.0, -0.55)],
    "bar": [(-0.6, -0.18), (0.6, -0.18), (0.6, 0.18), (-0.6, 0.18)],
    "ell": [(-0.45, -0.5), (-0.1, -0.5), (-0.1, 0.15), (0.45, 0.15), (0.45, 0.5), (-0.45, 0.5)],
    "arrow": [(-0.55, -0.15), (0.1, -0.15), (0.1, -0.45), (0.6, 0.0), (0.1, 0.45), (0.1, 0.15), (-0.55, 0.15)],
    "square": [(-0.42, -0.42), (0.42, -0.42), (0.42, 0.42), (-0.42, 0.42)],
    "tee": [(-0.5, -0.45), (0.5, -0.45), (0.5, -0.12), (0.17, -0.12), (0.17, 0.5), (-0.17, 0.5), (-0.17, -0.12),
    (-0.5, -0.12)],
}  # fmt: skip
_FRACTION_BITS = 6  # of OpenCV's fixed-point coordinates
_VERSION = 1  # version of the generated videos


def motion_clip(label: str, rng: np.random.Generator, *, num_frames: int = 20, size: int = 64) -> np.ndarray:
    """Draw the frames of a video of shapes that move in one way.

    Args:
      label: class, one of `MOTION_CLASSES`.
      rng: generator of number, forms, colours, sizes, orientations, starts, speed and background.
      num_frames: T, number of frames.
      size: height and width, pixels.

    Returns:
      RGB frames, uint8 `(T, size, size, 3)`.

    Raises:
      UserError: if the label is unknown.
    """
    if label not in _STEPS:
        raise UserError(f"label = {label!r}: must be one of {', '.join(MOTION_CLASSES)}")
    right, down, turn = _STEPS[label]
    background = _background(rng, size)
    speed = rng.uniform(0.03, 0.05) * size  # pixels per frame
    angular_speed = np.deg2rad(rng.uniform(8, 14))
    frames = np.empty((num_frames, size, size, 3), np.uint8)
    frames[:] = background
    for _ in range(rng.integers(3, 6)):
        outline = np.array(_SHAPES[list(_SHAPES)[rng.integers(len(_SHAPES))]])
        outline = outline * rng.uniform(0.25, 0.4) * size
        colour = _contrasting_colour(rng, background)
        angle, start = rng.uniform(0, 2 * np.pi), rng.uniform(0, size, 2)
        for t, frame in enumerate(frames):
            a = angle + t * turn * angular_speed
            rotated = outline @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
            centre = (start + t * speed * np.array([right, down])) % size
            # Shapes that leave the picture on one side enter on the other.
            for dx in (-size, 0, size):
                for dy in (-size, 0, size):
                    points = np.rint((rotated + centre + (dx, dy)) * 2**_FRACTION_BITS).astype(np.int32)
                    cv2.fillPoly(frame, [points], colour, cv2.LINE_AA, _FRACTION_BITS)
    return frames


def write_asked(config: DataConfig, console: Console | None = None) -> None:
    """Write the generated data set of `config.synthetic` to the folder of `config.train`, unless it exists.

    Args:
      config: data settings, of which `synthetic` and `train` are used.
      console: console for a progress bar; None: no bar.
    """
    if config.synthetic == "motion":
        write_motion(Path(config.train).parent, console=console)


def write_motion(
    folder: str | Path,
    *,
    num_train: int = 1500,
    num_eval: int = 300,
    num_frames: int = 20,
    size: int = 64,
    seed: int = 0,
    console: Console | None = None,
) -> Path:
    """Write moving shapes as H.264 files with `train.csv` and `val.csv`, unless they already exist.

    An interrupted earlier call is completed: files get their names only when they are complete, the parameters
    (`motion.json`) first and the CSV files last.

    Args:
      folder: folder to write to, created if necessary.
      num_train, num_eval: numbers of videos, spread evenly over the six classes; the two sets share no draw.
      num_frames: frames per video, at 10 frames/s.
      size: height and width, pixels; even.
      seed: seed of all draws; equal seeds give equal frames.
      console: console for a progress bar; None: no bar.

    Returns:
      Path of the folder.

    Raises:
      UserError: if a parameter is out of range, or the folder holds such a data set, complete or not, with other
        parameters.
    """
    for name, value, least in (("num_train", num_train, 1), ("num_eval", num_eval, 1), ("num_frames", num_frames, 1),
                               ("size", size, 16)):  # fmt: skip
        if value < least or (name == "size" and value % 2):
            raise UserError(f"{name} = {value}: must be {'even and ' if name == 'size' else ''}{least} or more")
    folder = Path(folder)
    manifest = folder / "motion.json"
    wanted = {"version": _VERSION, "num_train": num_train, "num_eval": num_eval, "num_frames": num_frames,
              "size": size, "seed": seed}  # fmt: skip
    if manifest.exists():
        found = json.loads(manifest.read_text())
        if found != wanted:
            raise UserError(
                f"{folder} holds moving shapes made with {found}, not {wanted}; remove it or name another folder"
            )
        if all((folder / name).exists() for name in ("train.csv", "val.csv")):
            return folder
    folder.mkdir(parents=True, exist_ok=True)
    _write_text(manifest, json.dumps(wanted) + "\n")
    jobs, rows = [], {"train": [], "val": []}
    for split_number, (split, count) in enumerate((("train", num_train), ("val", num_eval))):
        (folder / split).mkdir(exist_ok=True)
        for i in range(count):
            label = MOTION_CLASSES[i % len(MOTION_CLASSES)]
            name = f"{split}/{i:04d}.mp4"
            rows[split].append((name, label))
            jobs.append((folder / name, label, (seed, split_number, i)))

    def write(job: tuple[Path, str, tuple[int, ...]]) -> None:
        path, label, key = job
        if not path.exists():
            _encode(path, motion_clip(label, np.random.default_rng(key), num_frames=num_frames, size=size))

    with progress_bar(console or Console(quiet=True)) as bar, ThreadPoolExecutor(os.cpu_count()) as threads:
        task = bar.add_task(f"writing {folder}", total=len(jobs), info="")
        for _ in threads.map(write, jobs):
            bar.advance(task)
    for split, lines in rows.items():
        _write_text(
            folder / f"{split}.csv", "".join(f"{path},{label}\n" for path, label in [("path", "label"), *lines])
        )
    return folder


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Background: plain, a gradient, or smooth noise; uint8 `(size, size, 3)`."""
    base = rng.uniform(30, 225, 3)
    kind = rng.integers(3)
    if kind == 0:
        picture = np.broadcast_to(base, (size, size, 3))
    elif kind == 1:
        direction = rng.uniform(0, 2 * np.pi)
        y, x = np.mgrid[:size, :size] / size - 0.5
        ramp = (x * np.cos(direction) + y * np.sin(direction))[..., None]
        picture = base + ramp * rng.uniform(-120, 120, 3)
    else:
        coarse = rng.normal(0, 35, (8, 8, 3)).astype(np.float32)
        picture = base + cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _contrasting_colour(rng: np.random.Generator, background: np.ndarray) -> tuple[int, int, int]:
    mean = background.mean(axis=(0, 1))
    while True:
        colour = rng.integers(0, 256, 3)
        if np.abs(colour - mean).sum() > 200:
            red, green, blue = (int(c) for c in colour)
            return red, green, blue


def _encode(path: Path, frames: np.ndarray) -> None:
    # One thread and no macroblock tree: x264's tree reads stale memory at such small sizes, and bytes would differ.
    with VideoWriter(path, fps=10, options={"crf": "16", "threads": "1", "x264-params": "mbtree=0"}) as out:
        for frame in frames:
            out.write(frame)


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_text(text, encoding="utf-8", newline="")
    temporary.replace(path)
