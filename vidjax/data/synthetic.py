"""Moving shapes: a generated data set whose classes are directions of motion, invisible in single frames.

Three to five shapes of random form, colour, size and orientation all move in the same way, at a random speed, over a
random still background: left, right, up, down, or each about its own centre, clockwise or anticlockwise. Positions and
orientations are uniform on a picture whose borders wrap around, so single frames have the same distribution in all six
classes; and since each class is another one played backwards, no unordered set of frames distinguishes the two either.
"""

import functools
from pathlib import Path

import numpy as np
from rich.console import Console

from vidjax.config import DataConfig
from vidjax.data.flow_shapes import write_flow_pairs
from vidjax.data.moving_shapes import SetSize, motion_clip, write_set
from vidjax.data.synthetic_long import write_long
from vidjax.data.synthetic_people import write_people
from vidjax.data.synthetic_scenes import write_scenes
from vidjax.data.synthetic_sound import LESSONS, write_with_sound

MOTION_CLASSES = ("anticlockwise", "clockwise", "down", "left", "right", "up")
_VERSION = 1  # version of the generated videos


def write_asked(config: DataConfig, console: Console | None = None) -> None:
    """Write the generated data set of `config.synthetic` to the folder of `config.train`, unless it exists.

    Args:
      config: data settings, of which `synthetic` and `train` are used.
      console: console for a progress bar; None: no bar.
    """
    named = {"motion": write_motion, "long": write_long, "people": write_people, "scenes": write_scenes}
    writers = (
        named
        | {"flow": write_flow_pairs}
        | {f"sound_{lesson}": functools.partial(write_with_sound, lesson=lesson) for lesson in LESSONS}
    )
    if write := writers.get(config.synthetic):
        write(Path(config.train).parent, console=console)


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
    drawn = SetSize(num_train, num_eval, num_frames, size, seed).checked()
    videos, rows = {}, {"train": ["path,label"], "val": ["path,label"]}
    for split_number, split, count in drawn.splits:
        for i in range(count):
            label = MOTION_CLASSES[i % len(MOTION_CLASSES)]
            rows[split].append(f"{split}/{i:04d}.mp4,{label}")
            draw = functools.partial(_drawn, label, (seed, split_number, i), num_frames, size)
            videos[f"{split}/{i:04d}.mp4"] = draw
    lists = {f"{split}.csv": "".join(f"{line}\n" for line in lines) for split, lines in rows.items()}
    return write_set(Path(folder), "motion.json", drawn.stored(_VERSION), videos, lists, console)


def _drawn(label: str, key: tuple[int, ...], num_frames: int, size: int) -> np.ndarray:
    return motion_clip(label, np.random.default_rng(key), num_frames=num_frames, size=size)
