"""Moving shapes on still backgrounds: drawing them, and writing sets of such videos."""

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from rich.console import Console

from vidjax.errors import UserError
from vidjax.progress import progress_bar

# Pixels per frame to the right and down (times speed), and turns (times angular speed; y points down, so + is
# clockwise).
STEPS = {
    "left": (-1, 0, 0),
    "right": (1, 0, 0),
    "up": (0, -1, 0),
    "down": (0, 1, 0),
    "clockwise": (0, 0, 1),
    "anticlockwise": (0, 0, -1),
}
# Outlines around (0, 0), about 1 across. None is so symmetric that a step of the rotation could be mistaken for its
# reverse.
SHAPES = {
    "triangle": [(-0.5, 0.4), (0.5, 0.4), (0.0, -0.55)],
    "bar": [(-0.6, -0.18), (0.6, -0.18), (0.6, 0.18), (-0.6, 0.18)],
    "ell": [(-0.45, -0.5), (-0.1, -0.5), (-0.1, 0.15), (0.45, 0.15), (0.45, 0.5), (-0.45, 0.5)],
    "arrow": [(-0.55, -0.15), (0.1, -0.15), (0.1, -0.45), (0.6, 0.0), (0.1, 0.45), (0.1, 0.15), (-0.55, 0.15)],
    "square": [(-0.42, -0.42), (0.42, -0.42), (0.42, 0.42), (-0.42, 0.42)],
    "tee": [(-0.5, -0.45), (0.5, -0.45), (0.5, -0.12), (0.17, -0.12), (0.17, 0.5), (-0.17, 0.5), (-0.17, -0.12),
    (-0.5, -0.12)],
}  # fmt: skip
_FRACTION_BITS = 6  # of OpenCV's fixed-point coordinates
RATE = 10  # frames per second of the files


def turned(outline: np.ndarray, angle: float) -> np.ndarray:
    """Turn an outline `(N, 2)` clockwise by an angle in radians; y points down."""
    return outline @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def draw_shape(
    frame: np.ndarray, outline: np.ndarray, centre: np.ndarray, angle: float, colour: tuple[int, int, int]
) -> None:
    """Draw a shape on a frame, uint8 `(size, size, 3)`, whose borders wrap around.

    Args:
      frame: frame to draw on.
      outline: corners around (0, 0), pixels, `(N, 2)`.
      centre: place of (0, 0), pixels, `(2,)`.
      angle: orientation, radians clockwise.
      colour: RGB.
    """
    size = len(frame)
    rotated = turned(outline, angle)
    # Shapes that leave the picture on one side enter on the other.
    for dx in (-size, 0, size):
        for dy in (-size, 0, size):
            points = np.rint((rotated + centre + (dx, dy)) * 2**_FRACTION_BITS).astype(np.int32)
            cv2.fillPoly(frame, [points], colour, cv2.LINE_AA, _FRACTION_BITS)


def draw_outline(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw the form and size of a shape in a picture of `size` pixels: its outline `(N, 2)`."""
    outline = np.array(SHAPES[list(SHAPES)[rng.integers(len(SHAPES))]])
    return outline * rng.uniform(0.25, 0.4) * size


def draw_background(rng: np.random.Generator, size: int) -> np.ndarray:
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


def contrasting_colour(rng: np.random.Generator, background: np.ndarray) -> tuple[int, int, int]:
    """Draw a colour that differs from the mean of the background."""
    mean = background.mean(axis=(0, 1))
    while True:
        colour = rng.integers(0, 256, 3)
        if np.abs(colour - mean).sum() > 200:
            red, green, blue = (int(c) for c in colour)
            return red, green, blue


def motion_clip(label: str, rng: np.random.Generator, *, num_frames: int = 20, size: int = 64) -> np.ndarray:
    """Draw the frames of a video of shapes that move in one way.

    Args:
      label: class, a key of `STEPS`.
      rng: generator of number, forms, colours, sizes, orientations, starts, speed and background.
      num_frames: T, number of frames.
      size: height and width, pixels.

    Returns:
      RGB frames, uint8 `(T, size, size, 3)`.

    Raises:
      UserError: if the label is unknown.
    """
    if label not in STEPS:
        raise UserError(f"label = {label!r}: must be one of {', '.join(sorted(STEPS))}")
    right, down, turn = STEPS[label]
    background = draw_background(rng, size)
    speed = rng.uniform(0.03, 0.05) * size  # pixels per frame
    angular_speed = np.deg2rad(rng.uniform(8, 14))
    frames = np.empty((num_frames, size, size, 3), np.uint8)
    frames[:] = background
    for _ in range(rng.integers(3, 6)):
        outline = draw_outline(rng, size)
        colour = contrasting_colour(rng, background)
        angle, start = rng.uniform(0, 2 * np.pi), rng.uniform(0, size, 2)
        for t, frame in enumerate(frames):
            centre = (start + t * speed * np.array([right, down])) % size
            draw_shape(frame, outline, centre, angle + t * turn * angular_speed, colour)
    return frames


def encode(path: Path, frames: np.ndarray, sound: np.ndarray | None = None, sound_rate: int = 0) -> None:
    """Write frames uint8 `(T, H, W, 3)` as an H.264 file, `RATE` per second.

    Args:
      path: path of the file.
      frames: the frames.
      sound: samples of one channel, float32 `(N,)` within -1…1, written as an AAC track; None: no track.
      sound_rate: samples per second.
    """
    temporary = path.with_suffix(".part")
    with av.open(str(temporary), "w", format="mp4") as container:
        # One thread and no macroblock tree: x264's tree reads stale memory at such small sizes, and bytes would differ.
        options = {"crf": "16", "preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        track = None if sound is None else container.add_stream("aac", rate=sound_rate, layout="mono")
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
        if track is not None and sound is not None:
            samples = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="fltp", layout="mono")
            samples.rate, samples.pts, samples.time_base = sound_rate, 0, Fraction(1, sound_rate)
            container.mux(track.encode(samples))
            container.mux(track.encode())
    temporary.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file, complete or not at all."""
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_text(text, encoding="utf-8", newline="")
    temporary.replace(path)


def write_set(
    folder: Path,
    manifest: str,
    wanted: Mapping[str, Any],
    videos: Mapping[str, Callable[[], Any]],
    lists: Mapping[str, str],
    console: Console | None = None,
    sound_rate: int = 0,
    save: Callable[[Path, Any], None] | None = None,
) -> Path:
    """Write a set of videos and its lists, unless they already exist.

    An interrupted earlier call is completed: files get their names only when they are complete, the manifest first and
    the lists last.

    Args:
      folder: folder to write to, created if necessary.
      manifest: name of the file with the parameters.
      wanted: parameters of the set.
      videos: functions that draw the frames of each video, or its frames and sound, by path in the folder.
      lists: text of each list, by path in the folder.
      console: console for a progress bar; None: no bar.
      sound_rate: samples per second of the sound; 0: the videos have none.
      save: function that writes what is drawn to a path, at last the file of that name; None: `encode`.

    Raises:
      UserError: if the folder holds such a set, complete or not, with other parameters.
    """
    if (folder / manifest).exists():
        found = json.loads((folder / manifest).read_text())
        if found != wanted:
            raise UserError(
                f"{folder} holds moving shapes made with {found}, not {dict(wanted)}; remove it or name another folder"
            )
        if all((folder / name).exists() for name in lists):
            return folder
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / manifest, json.dumps(wanted) + "\n")
    for name in videos:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)

    def write(name: str) -> None:
        if not (folder / name).exists():
            drawn = videos[name]()
            if save is not None:
                return save(folder / name, drawn)
            encode(folder / name, *(drawn if sound_rate else (drawn,)), sound_rate=sound_rate)

    with progress_bar(console or Console(quiet=True)) as bar, ThreadPoolExecutor(os.cpu_count()) as threads:
        task = bar.add_task(f"writing {folder}", total=len(videos), info="")
        for _ in threads.map(write, videos):
            bar.advance(task)
    for name, text in lists.items():
        write_text(folder / name, text)
    return folder


@dataclass(frozen=True)
class SetSize:
    """Size of a generated set of videos.

    Attributes:
      num_train, num_eval: numbers of videos; the two sets share no draw.
      num_frames: frames per video.
      size: height and width, pixels; even.
      seed: seed of all draws.
    """

    num_train: int
    num_eval: int
    num_frames: int
    size: int
    seed: int

    def checked(self, *, frames: int = 1, pixels: int = 16) -> "SetSize":
        """The same, with at least so many frames of so many pixels each way.

        Raises:
          UserError: for a number that is out of range.
        """
        for name, least in (("num_train", 1), ("num_eval", 1), ("num_frames", frames), ("size", pixels)):
            value = getattr(self, name)
            if value < least or (name == "size" and value % 2):
                raise UserError(f"{name} = {value}: must be {'even and ' if name == 'size' else ''}{least} or more")
        return self

    @property
    def splits(self) -> tuple[tuple[int, str, int], ...]:
        """Number, name and number of videos of each split; the first is part of the seed of a video."""
        return (0, "train", self.num_train), (1, "val", self.num_eval)

    def stored(self, version: int, **more: Any) -> dict[str, Any]:
        """What is written beside the videos, so that they are not taken for others."""
        return {"version": version, **more, **asdict(self)}
