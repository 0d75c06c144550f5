"""Moving shapes: a generated data set whose classes are directions of motion, invisible in single frames.

Three to five shapes of random form, colour, size and orientation all move in the same way, at a random speed, over a
random still background: left, right, up, down, or each about its own centre, clockwise or anticlockwise. Positions and
orientations are uniform on a picture whose borders wrap around, so single frames have the same distribution in all six
classes; and since each class is another one played backwards, no unordered set of frames distinguishes the two either.
"""

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from vidjax.errors import UserError
from vidjax.progress import progress_bar
from vidjax.video.write import VideoWriter

MOTION_CLASSES = ("anticlockwise", "clockwise", "down", "left", "right", "up")

# Pixels per frame to the right and down (times speed), and turns (times angular speed; y points down, so + is
# clockwise).
MOTIONS = {
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
    if label not in MOTIONS:
        raise UserError(f"label = {label!r}: must be one of {', '.join(MOTION_CLASSES)}")
    right, down, turn = MOTIONS[label]
    scenery = background(rng, size)
    speed = rng.uniform(0.03, 0.05) * size  # pixels per frame
    angular_speed = np.deg2rad(rng.uniform(8, 14))
    frames = np.empty((num_frames, size, size, 3), np.uint8)
    frames[:] = scenery
    for _ in range(rng.integers(3, 6)):
        outline = draw_outline(rng) * rng.uniform(0.25, 0.4) * size
        colour = contrasting_colour(rng, scenery)
        angle, start = rng.uniform(0, 2 * np.pi), rng.uniform(0, size, 2)
        for t, frame in enumerate(frames):
            rotated = turned(outline, angle + t * turn * angular_speed)
            centre = (start + t * speed * np.array([right, down])) % size
            # Shapes that leave the picture on one side enter on the other.
            for dx in (-size, 0, size):
                for dy in (-size, 0, size):
                    fill(frame, rotated + centre + (dx, dy), colour)
    return frames


def draw_outline(rng: np.random.Generator) -> np.ndarray:
    """Draw one of the shapes: its outline around (0, 0), about 1 across, float64 `(N, 2)`."""
    return np.array(_SHAPES[list(_SHAPES)[rng.integers(len(_SHAPES))]])


def turned(outline: np.ndarray, angle: float) -> np.ndarray:
    """Turn an outline `(N, 2)` clockwise by an angle in radians; y points down."""
    return outline @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def fill(frame: np.ndarray, outline: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Fill an outline `(N, 2)`, x and y in pixels, in a frame `(H, W, 3)`, in place."""
    points = np.rint(outline * 2**_FRACTION_BITS).astype(np.int32)
    cv2.fillPoly(frame, [points], colour, cv2.LINE_AA, _FRACTION_BITS)


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
    """Write moving shapes as H.264 files with `train.csv` and `val.csv`, unless they already exist; see `write_set`.

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
    wanted = {"version": _VERSION, "num_train": num_train, "num_eval": num_eval, "num_frames": num_frames,
              "size": size, "seed": seed}  # fmt: skip
    check_sizes(wanted, num_train=1, num_eval=1, num_frames=1, size=16)
    videos: dict[str, Callable[[], np.ndarray]] = {}
    tables = {}
    for number, (split, count) in enumerate((("train", num_train), ("val", num_eval))):
        lines = ["path,label"]
        for i in range(count):
            label, name = MOTION_CLASSES[i % len(MOTION_CLASSES)], f"{split}/{i:04d}.mp4"
            rng = np.random.default_rng((seed, number, i))
            videos[name] = functools.partial(motion_clip, label, rng, num_frames=num_frames, size=size)
            lines.append(f"{name},{label}")
        tables[f"{split}.csv"] = lines
    return write_set(folder, "motion", "moving shapes", wanted, videos, tables, console)


def check_sizes(given: Mapping[str, int], **least: int) -> None:
    """Refuse numbers of a generated data set that are too small, and an odd `size`.

    Raises:
      UserError: if one is; names it.
    """
    for name, bound in least.items():
        if given[name] < bound or (name == "size" and given[name] % 2):
            raise UserError(f"{name} = {given[name]}: must be {'even and ' if name == 'size' else ''}{bound} or more")


def write_set(
    folder: str | Path,
    kind: str,
    title: str,
    wanted: Mapping[str, int],
    videos: Mapping[str, Callable[[], np.ndarray]],
    tables: Mapping[str, Sequence[str]],
    console: Console | None = None,
) -> Path:
    """Write a generated data set as H.264 files with its lists, unless it already exists.

    An interrupted earlier call is completed: files get their names only when they are complete, the parameters
    (`KIND.json`) first and the lists last.

    Args:
      folder: folder to write to, created if necessary.
      kind: name of the data set in `config.data.synthetic`.
      title: what the videos show, for messages.
      wanted: parameters from which everything follows.
      videos: functions that draw the frames of a video, uint8 `(T, H, W, 3)`, by its path in the folder.
      tables: lines of the lists, by file name.
      console: console for a progress bar; None: no bar.

    Returns:
      Path of the folder.

    Raises:
      UserError: if the folder holds such a data set, complete or not, with other parameters.
    """
    folder = Path(folder)
    manifest = folder / f"{kind}.json"
    if manifest.exists():
        found = json.loads(manifest.read_text())
        if found != wanted:
            raise UserError(f"{folder} holds {title} made with {found}, not {wanted}; remove it or name another folder")
        if all((folder / name).exists() for name in tables):
            return folder
    folder.mkdir(parents=True, exist_ok=True)
    _write_text(manifest, json.dumps(wanted) + "\n")
    for parent in {(folder / name).parent for name in videos}:
        parent.mkdir(parents=True, exist_ok=True)

    def write(name: str) -> None:
        if not (folder / name).exists():
            _encode(folder / name, videos[name]())

    with progress_bar(console or Console(quiet=True)) as bar, ThreadPoolExecutor(os.cpu_count()) as threads:
        task = bar.add_task(f"writing {folder}", total=len(videos), info="")
        for _ in threads.map(write, videos):
            bar.advance(task)
    for name, lines in tables.items():
        _write_text(folder / name, "".join(f"{line}\n" for line in lines))
    return folder


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a background: plain, a gradient, or smooth noise; uint8 `(size, size, 3)`."""
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


def contrasting_colour(rng: np.random.Generator, scenery: np.ndarray) -> tuple[int, int, int]:
    """Draw a colour that stands out from a background, `(H, W, 3)`."""
    mean = scenery.mean(axis=(0, 1))
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
