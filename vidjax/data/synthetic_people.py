"""Moving shapes with boxes: a generated data set in which every shape of a picture acts for itself.

Six shapes of random form, colour, size and orientation each move in a way of their own, all six ways in every video:
left, right, up, down, or about its own centre, clockwise or anticlockwise. Single frames hardly tell who does what, as
forms, orientations and distances from the borders are alike for all motions; and every picture has all of them, so that
the whole of it tells nothing: both leave a network near chance, one in six. Shapes never overlap.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from vidjax.data.moving_shapes import (
    RATE,
    SHAPES,
    STEPS,
    SetSize,
    contrasting_colour,
    draw_background,
    draw_shape,
    turned,
    write_set,
)

KEY_FRAMES = (8, 12)  # annotated frames of every video
_GAP = 2.0  # pixels between the places that two shapes reach
_TRIES = 100  # places drawn for a shape before the whole scene is drawn anew
_VERSION = 1  # version of the generated videos


@dataclass(frozen=True)
class Shape:
    """One moving shape.

    Attributes:
      label: way in which it moves, a key of `STEPS`.
      outline: outline around (0, 0), pixels, float64 `(N, 2)`.
      colour: red, green and blue.
      centre: place in the middle of the video, x and y in pixels, float64 `(2,)`.
      angle: orientation in the middle of the video, radians.
      speed: pixels per frame.
      turning: radians per frame.
    """

    label: str
    outline: np.ndarray
    colour: tuple[int, int, int]
    centre: np.ndarray
    angle: float
    speed: float
    turning: float

    def at(self, frame: float) -> tuple[np.ndarray, float]:
        """Place of its (0, 0), pixels `(2,)`, and orientation, radians, `frame` frames after the middle one."""
        right, down, turn = STEPS[self.label]
        return self.centre + frame * self.speed * np.array([right, down]), self.angle + frame * turn * self.turning

    def box(self, frame: float) -> np.ndarray:
        """Box around it, x1, y1, x2, y2 in pixels, float64 `(4,)`."""
        place, angle = self.at(frame)
        points = turned(self.outline, angle) + place
        return np.concatenate([points.min(axis=0), points.max(axis=0)])

    def reach(self, num_frames: int) -> np.ndarray:
        """Box around all places that it reaches, x1, y1, x2, y2 in pixels, float64 `(4,)`."""
        boxes = np.stack([self.box(t - num_frames / 2) for t in range(num_frames + 1)])
        return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


@dataclass(frozen=True)
class Scene:
    """Shapes before a background, uint8 `(size, size, 3)`."""

    scenery: np.ndarray
    shapes: tuple[Shape, ...]
    num_frames: int

    def frames(self) -> np.ndarray:
        """Draw the frames, uint8 `(T, size, size, 3)`."""
        frames = np.repeat(self.scenery[None], self.num_frames, axis=0)
        for t, frame in enumerate(frames):
            for shape in self.shapes:
                draw_shape(frame, shape.outline, *shape.at(t - self.num_frames / 2), shape.colour)
        return frames

    def boxes(self, frame: int) -> np.ndarray:
        """Boxes of the shapes in a frame, left, top, right, bottom as shares of the picture, float64 `(R, 4)`."""
        boxes = np.stack([shape.box(frame - self.num_frames / 2) for shape in self.shapes])
        return np.clip(boxes / len(self.scenery), 0, 1)


def draw_scene(rng: np.random.Generator, *, num_frames: int = 20, size: int = 128) -> Scene:
    """Draw a scene of six shapes, one of each way to move, whose paths lie in the picture and do not cross.

    Args:
      rng: generator of forms, colours, sizes, orientations, places, speeds and background.
      num_frames: T, number of frames.
      size: height and width, pixels.
    """
    scenery = draw_background(rng, size)
    while True:
        shapes: list[Shape] = []
        taken: list[np.ndarray] = []
        for label in rng.permutation(sorted(STEPS)).tolist():
            found = _place(rng, label, scenery, taken, num_frames)
            if found is None:
                break
            shapes.append(found[0])
            taken.append(found[1])
        else:
            return Scene(scenery, tuple(shapes), num_frames)


def _place(
    rng: np.random.Generator, label: str, scenery: np.ndarray, taken: list[np.ndarray], num_frames: int
) -> tuple[Shape, np.ndarray] | None:
    """A shape whose reach is free, with that reach; None: there is no room."""
    size = len(scenery)
    outline = np.array(SHAPES[list(SHAPES)[rng.integers(len(SHAPES))]]) * rng.uniform(0.14, 0.18) * size
    colour = contrasting_colour(rng, scenery)
    angle, turning = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(8, 14))
    speed = rng.uniform(0.006, 0.01) * size
    own = Shape(label, outline, colour, np.zeros(2), angle, speed, turning).reach(num_frames)
    # As far from each border as any way to move needs, or a shape's place would tell its way.
    margin = np.hypot(*outline.T).max() + speed * num_frames / 2
    for _ in range(_TRIES):
        centre = rng.uniform(margin, size - margin, 2)
        reach = own + np.tile(centre, 2)
        if all((reach[:2] > t[2:] + _GAP).any() or (reach[2:] < t[:2] - _GAP).any() for t in taken):
            return Shape(label, outline, colour, centre, angle, speed, turning), reach
    return None


def write_people(
    folder: str | Path,
    *,
    num_train: int = 400,
    num_eval: int = 100,
    num_frames: int = 20,
    size: int = 128,
    seed: int = 0,
    console: Console | None = None,
) -> Path:
    """Write scenes as H.264 files with `train.csv` and `val.csv`, a line per box, unless they already exist.

    The lists have the columns `path,time,x1,y1,x2,y2,label,person`; see `vidjax.data.moving_shapes.write_set`.

    Args:
      folder: folder to write to, created if necessary.
      num_train, num_eval: numbers of videos; the two sets share no draw.
      num_frames: frames per video, at 10 frames/s, of which frames 8 and 12 are annotated.
      size: height and width, pixels; even.
      seed: seed of all draws; equal seeds give equal frames.
      console: console for a progress bar; None: no bar.

    Returns:
      Path of the folder.

    Raises:
      UserError: if a parameter is out of range, or the folder holds such a data set, complete or not, with other
        parameters.
    """
    drawn = SetSize(num_train, num_eval, num_frames, size, seed).checked(frames=max(KEY_FRAMES) + 1, pixels=64)
    videos: dict[str, Callable[[], np.ndarray]] = {}
    lists = {}
    for number, split, count in drawn.splits:
        lines = ["path,time,x1,y1,x2,y2,label,person"]
        for i in range(count):
            scene = draw_scene(np.random.default_rng((seed, number, i)), num_frames=num_frames, size=size)
            name = f"{split}/{i:04d}.mp4"
            videos[name] = functools.partial(Scene.frames, scene)
            for frame in KEY_FRAMES:
                for person, (shape, box) in enumerate(zip(scene.shapes, scene.boxes(frame), strict=True)):
                    corners = ",".join(f"{value:.4f}" for value in box)
                    lines.append(f"{name},{frame / RATE:g},{corners},{shape.label},{person}")
        lists[f"{split}.csv"] = "".join(f"{line}\n" for line in lines)
    return write_set(Path(folder), "people.json", drawn.stored(_VERSION), videos, lists, console)
