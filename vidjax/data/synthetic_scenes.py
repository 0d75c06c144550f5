"""Moving shapes with sentences: a generated data set in which words for motion need time.

Two or three shapes of a named form and colour each move in their own way over a grey background: left, right, up, down,
or not at all. Places are uniform on a picture whose borders wrap around, so that a single frame tells nothing of the
motion. Two shapes that cover each other all the time move together. Every video has a sentence, questions with answers
of one word and, for some frames, boxes and a mask in which each shape has its number. A sentence names its shapes in
the order of the alphabet, so that a scene has one sentence.

    a blue circle moves left in front of a red square
    a green bar moves up and a red circle moves down and a white triangle stays still
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from vidjax.data.moving_shapes import RATE, SHAPES, STEPS, SetSize, draw_background, draw_shape, write_set

_CIRCLE = [(0.45 * np.cos(a), 0.45 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 32, endpoint=False)]
# The grammar: every word of a sentence is a key of this table, beside "a" and "and".
GRAMMAR = {
    "colour": {"red": (215, 40, 40), "green": (40, 175, 60), "blue": (50, 70, 225), "yellow": (235, 215, 50),
               "white": (245, 245, 245)},
    "form": {"square": SHAPES["square"], "circle": _CIRCLE, "triangle": SHAPES["triangle"], "bar": SHAPES["bar"]},
    "motion": {"moves left": STEPS["left"], "moves right": STEPS["right"], "moves up": STEPS["up"],
               "moves down": STEPS["down"], "stays still": (0, 0, 0)},
    "order": {"behind": True, "in front of": False},
}  # fmt: skip
ANNOTATED = (2, 7, 12, 17)  # frames with boxes and masks
_GAP = (0.25, 0.38)  # of the centres of two shapes that cover each other, as shares of the sum of their sizes
_COUNTS = ("two", "three")
_VERSION = 2  # version of the generated videos


@dataclass(frozen=True)
class Shape:
    """One moving shape; the keys are words of `GRAMMAR`.

    Attributes:
      colour, form, motion: its words.
      size: factor of the form's outline, pixels.
      start: place in the first frame, x and y in pixels.
      speed: pixels per frame.
    """

    colour: str
    form: str
    motion: str
    size: float
    start: tuple[float, float]
    speed: float

    @property
    def name(self) -> str:
        """Colour and form, such as "red square"."""
        return f"{self.colour} {self.form}"

    def draw(self, picture: np.ndarray, frame: int, value: tuple[int, int, int] | None = None) -> None:
        """Draw it in a frame, in its colour or another value."""
        right, down, _ = GRAMMAR["motion"][self.motion]
        centre = (np.array(self.start) + frame * self.speed * np.array([right, down])) % len(picture)
        outline = np.array(GRAMMAR["form"][self.form]) * self.size
        draw_shape(picture, outline, centre, 0.0, value or GRAMMAR["colour"][self.colour])


@dataclass(frozen=True)
class Scene:
    """Shapes before a background, the first one farthest away.

    Attributes:
      background: uint8 `(size, size, 3)`.
      shapes: two or three shapes of different names.
      covers: whether the second of two shapes covers part of the first all the time, and the sentence tells so.
      num_frames: number of frames.
    """

    background: np.ndarray
    shapes: tuple[Shape, ...]
    covers: bool
    num_frames: int

    def frames(self) -> np.ndarray:
        """Draw the frames, uint8 `(T, size, size, 3)`."""
        frames = np.repeat(self.background[None], self.num_frames, axis=0)
        for t, frame in enumerate(frames):
            for shape in self.shapes:
                shape.draw(frame, t)
        return frames

    def mask(self, frame: int) -> np.ndarray:
        """Number of the shape that each pixel shows, from 1, or 0, uint8 `(size, size)`."""
        found = np.zeros(self.background.shape[:2], np.uint8)
        for number, shape in enumerate(self.shapes, 1):
            found[_alone(shape, frame, len(found))] = number
        return found

    @property
    def told(self) -> tuple[Shape, ...]:
        """Shapes in the order of the sentence: by name."""
        return tuple(sorted(self.shapes, key=lambda shape: shape.name))

    @property
    def order(self) -> str:
        """Word of `GRAMMAR` for the place of the first shape of the sentence, if it tells; empty: it does not."""
        words = {behind: word for word, behind in GRAMMAR["order"].items()}
        return words[self.told[0] is self.shapes[0]] if self.covers else ""

    @property
    def sentence(self) -> str:
        """What happens, such as "a blue circle moves left in front of a red square"."""
        first, *others = self.told
        if self.order:
            return f"a {first.name} {first.motion} {self.order} a {others[0].name}"
        return " and ".join(f"a {shape.name} {shape.motion}" for shape in self.told)

    def questions(self) -> list[tuple[str, str]]:
        """Questions with answers of one word."""
        asked = [("how many shapes are there?", _COUNTS[len(self.shapes) - 2])]
        for shape in self.told:
            if sum(other.form == shape.form for other in self.shapes) == 1:
                asked.append((f"what colour is the {shape.form}?", shape.colour))
            if sum(other.colour == shape.colour for other in self.shapes) == 1:
                asked.append((f"what form is the {shape.colour} shape?", shape.form))
            asked.append((f"where does the {shape.name} move?", _WAYS[shape.motion]))
        return asked


_WAYS = {motion: "nowhere" if motion == "stays still" else motion.split()[-1] for motion in GRAMMAR["motion"]}


def _alone(shape: Shape, frame: int, size: int) -> np.ndarray:
    """Pixels of a shape in a frame, whatever covers it, bool `(size, size)`."""
    picture = np.zeros((size, size, 3), np.uint8)
    shape.draw(picture, frame, (255, 255, 255))
    return picture[..., 0] > 127


def draw_scene(rng: np.random.Generator, *, num_frames: int = 20, size: int = 64) -> Scene:
    """Draw a scene: in a third of them two shapes move together, one behind the other.

    Where the others are in the middle frame, and so almost where they are in any, does not depend on how they move.

    Args:
      rng: generator of everything.
      num_frames: T, number of frames.
      size: height and width, pixels.
    """
    grey = draw_background(rng, size).mean(axis=-1, keepdims=True)
    background = np.repeat(np.clip(40 + 0.35 * grey, 0, 255).astype(np.uint8), 3, axis=-1)
    words = {name: list(table) for name, table in GRAMMAR.items()}
    covers = bool(rng.random() < 1 / 3)
    count = 2 if covers else int(rng.integers(2, 4))
    names: set[tuple[str, str]] = set()
    while len(names) < count:
        names = {(str(rng.choice(words["colour"])), str(rng.choice(words["form"]))) for _ in range(count)}
    sizes = rng.uniform(0.22, 0.3, count) * size
    motions, speeds = rng.choice(words["motion"], count), rng.uniform(0.02, 0.035, count) * size
    if covers:
        motions, speeds = motions[[0, 0]], speeds[[0, 0]]
        angle, gap = rng.uniform(0, 2 * np.pi), rng.uniform(*_GAP) * sizes.sum()
        first = rng.uniform(0, size, 2)
        places = np.stack([first, first + gap * np.array([np.cos(angle), np.sin(angle)])])
    else:
        places = _apart(rng, sizes, size)
    shapes = []
    for name, motion, length, place, speed in zip(sorted(names), motions, sizes, places, speeds, strict=True):
        steps = np.array(GRAMMAR["motion"][str(motion)][:2])
        start = tuple(((place - num_frames / 2 * speed * steps) % size).tolist())
        shapes.append(Shape(*name, str(motion), float(length), start, float(speed)))
    drawn = rng.permutation(count)
    return Scene(background, tuple(shapes[i] for i in drawn), covers, num_frames)


def _apart(rng: np.random.Generator, sizes: np.ndarray, size: int) -> np.ndarray:
    """Places of shapes that do not cover each other on a picture whose borders wrap around, `(N, 2)`."""
    while True:
        places = rng.uniform(0, size, (len(sizes), 2))
        way = np.abs(places[:, None] - places[None])
        distance = np.hypot(*np.moveaxis(np.minimum(way, size - way), -1, 0))
        reach = 0.6 * (sizes[:, None] + sizes[None])
        if (distance + np.where(np.eye(len(sizes), dtype=bool), np.inf, 0) > reach).all():
            return places


def write_scenes(
    folder: str | Path,
    *,
    num_train: int = 1500,
    num_eval: int = 300,
    num_frames: int = 20,
    size: int = 64,
    seed: int = 0,
    console: Console | None = None,
) -> Path:
    """Write scenes as H.264 files with their lists, unless they already exist; see `moving_shapes.write_set`.

    - `train.csv`, `val.csv`: `path,caption`. No two of the videos in `val.csv` have the same sentence.
    - `train_questions.csv`, `val_questions.csv`: `path,question,answer`.
    - `train_boxes.csv`, `val_boxes.csv`: `path,time,x1,y1,x2,y2,label,person`, the box of the visible pixels of each
      shape in four frames, where `person` is its number.
    - `train_masks.jsonl`, `val_masks.jsonl`, and `masks/`: numbers of the shapes in the same frames.

    Args:
      folder: folder to write to, created if necessary.
      num_train, num_eval: numbers of videos; the two sets share no draw.
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
    drawn = SetSize(num_train, num_eval, num_frames, size, seed).checked(frames=max(ANNOTATED) + 1, pixels=32)
    draw = functools.partial(draw_scene, num_frames=num_frames, size=size)
    videos: dict[str, Callable[[], np.ndarray]] = {}
    lists: dict[str, str] = {}
    for number, split, count in drawn.splits:
        scenes, seen = [], set()
        attempt = 0
        while len(scenes) < count:
            scene = draw(np.random.default_rng((seed, number, attempt)))
            attempt += 1
            if split == "train" or scene.sentence not in seen:
                scenes.append(scene)
                seen.add(scene.sentence)
        names = [f"{split}/{i:04d}.mp4" for i in range(count)]
        videos |= {name: functools.partial(_frames_and_masks, scene, Path(folder), name)
                   for name, scene in zip(names, scenes, strict=True)}  # fmt: skip
        lists |= _lists(split, dict(zip(names, scenes, strict=True)))
    return write_set(Path(folder), "scenes.json", drawn.stored(_VERSION), videos, lists, console)


def _frames_and_masks(scene: Scene, folder: Path, name: str) -> np.ndarray:
    """Frames of a scene, whose masks are written as indexed PNG files."""
    place = folder / "masks" / name.removesuffix(".mp4")
    place.mkdir(parents=True, exist_ok=True)
    for frame in ANNOTATED:
        cv2.imwrite(str(place / f"{frame:05d}.png"), scene.mask(frame))
    return scene.frames()


def _lists(split: str, scenes: dict[str, Scene]) -> dict[str, str]:
    """Texts of the lists of a split, by file name."""
    captions, questions = ["path,caption"], ["path,question,answer"]
    boxes, masks = ["path,time,x1,y1,x2,y2,label,person"], []
    for name, scene in scenes.items():
        captions.append(f"{name},{scene.sentence}")
        questions += [f"{name},{question},{answer}" for question, answer in scene.questions()]
        masks.append(f'{{"path": "{name}", "mask": "masks/{name.removesuffix(".mp4")}"}}')
        for frame in ANNOTATED:
            mask = scene.mask(frame)
            for number, shape in enumerate(scene.shapes, 1):
                rows, columns = np.nonzero(mask == number)
                if len(rows):
                    sides = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
                    corners = ",".join(f"{side / len(mask):.4f}" for side in sides)
                    boxes.append(f"{name},{frame / RATE:g},{corners},{shape.name},{number}")
    texts = {"": captions, "_questions": questions, "_boxes": boxes}
    lists = {f"{split}{kind}.csv": "".join(f"{line}\n" for line in lines) for kind, lines in texts.items()}
    return lists | {f"{split}_masks.jsonl": "".join(f"{line}\n" for line in masks)}
