"""Drawing on frames: boxes with labels in the colours of their tracks, and videos redrawn frame by frame.

def paint(frame, time):
    draw_boxes(frame, boxes_at(time), labels, colours)

redraw(reader, "out.mp4", paint)
"""

import colorsys
import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np

from vidjax.lettering import lettering
from vidjax.video.write import VideoWriter

Colour = tuple[int, int, int]  # red, green, blue, 0…255

_LEAST_TEXT = 11  # height of a line, pixels: smaller letters cannot be read
_BLOCK = 1 << 25  # bytes of frames in memory at a time
_DPI = 100


class Frames(Protocol):
    """Frames by number: a `VideoReader`, or a folder of pictures."""

    @property
    def fps(self) -> float: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def timestamps(self) -> np.ndarray: ...
    def __len__(self) -> int: ...
    def read(self, indices: Sequence[int], /) -> np.ndarray: ...


def track_colour(number: int) -> Colour:
    """Colour of a track or class by its number; neighbours differ clearly."""
    hue = (number * 0.61803398875 + 0.02) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.85, 0.6)[number // 8 % 2], 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_boxes(
    frame: np.ndarray, boxes: np.ndarray, labels: Sequence[str] = (), colours: Sequence[Colour] = ()
) -> None:
    """Draw boxes with labels on a frame, in place.

    A label stands above its box, or inside or below it where there is no room or another label.

    Args:
      frame: RGB picture, uint8 `(H, W, 3)`.
      boxes: boxes x1, y1, x2, y2, `(R, 4)`, as shares of width and height; parts outside of the picture are cut.
      labels: text of each box, one or more lines, in any script; "": none. Empty: no labels.
      colours: colour of each box; empty: `track_colour` of its place in the list.

    Raises:
      ValueError: if there are labels or colours, but not one for each box.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    for name, values in (("labels", labels), ("colours", colours)):
        if len(values) not in (0, len(boxes)):
            raise ValueError(f"{len(boxes)} boxes and {len(values)} {name}: give one each, or none")
    height, width = frame.shape[:2]
    thick = max(1, round(min(height, width) / 180))
    corners = np.rint(boxes.clip(0, 1) * np.array([width, height] * 2) - [0, 0, 1, 1]).astype(int)
    palette = [tuple(colours[i]) if len(colours) else track_colour(i) for i in range(len(boxes))]
    for (left, top, right, bottom), colour in zip(corners.tolist(), palette, strict=True):
        for edge in range(thick):  # inwards, so that the box is not drawn larger than it is
            if left + edge <= right - edge and top + edge <= bottom - edge:
                cv2.rectangle(frame, (left + edge, top + edge), (right - edge, bottom - edge), colour, 1)
    placed: list[tuple[int, int, int, int]] = []
    for box, colour, text in zip(corners.tolist(), palette, labels, strict=False):
        if text:
            placed.append(_place(frame, box, text, colour, placed))


def draw_label(frame: np.ndarray, text: str, left: int, top: int, colour: Colour = (255, 255, 255)) -> None:
    """Draw a text on a plate of one colour, in place; the text is black or white, whichever is clearer.

    Args:
      frame: RGB picture, uint8 `(H, W, 3)`; the height of a line of text depends on its size.
      text: one or more lines, in any script.
      left, top: corner of the plate, pixels; parts outside of the picture are cut.
      colour: colour of the plate.
    """
    stamp = _stamp(text, _line(frame))
    x1, y1 = max(left, 0), max(top, 0)
    stamp = stamp[y1 - top : frame.shape[0] - top, x1 - left : frame.shape[1] - left]
    if not stamp.size:
        return
    part = frame[y1 : y1 + stamp.shape[0], x1 : x1 + stamp.shape[1]]
    ink = 0 if np.dot(colour, (0.299, 0.587, 0.114)) > 140 else 255
    part[:] = colour + (ink - np.array(colour)) * (stamp[..., None] / 255)


def redraw(
    reader: Frames,
    path: str | os.PathLike,
    paint: Callable[[np.ndarray, float], None],
    *,
    least: int = 360,
    advance: Callable[[int], None] = lambda count: None,
) -> None:
    """Write a video again with something drawn on its frames, without its sound, in constant memory.

    Args:
      reader: open video; its frames are upright, so rotation needs no care, and keep their times.
      path: path of the MP4 file to write.
      paint: function that draws on a frame, in place: RGB uint8 `(H, W, 3)`, and its time, seconds from the first.
      least: least short side of the frames written, pixels: smaller videos are enlarged by a whole number before
        drawing, so that labels can be read.
      advance: function called with the number of frames done since the last call, such as a progress bar's.

    Raises:
      VideoError: if a frame cannot be decoded; then there is no file.
    """
    factor = max(1, -(-least // min(reader.height, reader.width)))
    size = reader.width * factor, reader.height * factor
    with VideoWriter(path, fps=reader.fps) as out:
        last = -1.0
        for numbers in frame_blocks(reader):
            for frame, time in zip(reader.read(numbers), reader.timestamps[numbers], strict=True):
                frame = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC) if factor > 1 else frame.copy()
                paint(frame, float(time))
                last = max(float(time), last + 1e-4)  # two frames of one time follow each other at once
                out.write(frame, last)
            advance(len(numbers))


def frame_blocks(reader: Frames) -> Iterator[list[int]]:
    """Numbers of a video's frames in order, in blocks of bounded memory."""
    count = max(1, min(64, _BLOCK // (3 * reader.height * reader.width)))
    for start in range(0, len(reader), count):
        yield list(range(start, min(start + count, len(reader))))


def _line(frame: np.ndarray) -> int:
    """Height of a line of text on a frame, pixels."""
    return max(_LEAST_TEXT, round(min(frame.shape[:2]) / 28))


def _place(
    frame: np.ndarray, box: Sequence[int], text: str, colour: Colour, placed: Sequence[tuple[int, int, int, int]]
) -> tuple[int, int, int, int]:
    """Draw the label of a box where it hides no other; its place as left, top, right, bottom."""
    left, top, _, bottom = box
    height, width = _stamp(text, _line(frame)).shape
    x = max(0, min(left, frame.shape[1] - width))
    heights = [top - height, top, bottom + 1, bottom - height]
    inside = [y for y in heights if 0 <= y <= frame.shape[0] - height] or [max(0, min(top, frame.shape[0] - height))]
    # Then in steps of a label, downwards from the top of the box.
    inside += list(range(top, frame.shape[0] - height, height))

    def free(y: int) -> bool:
        return all(x >= r or x + width <= l or y >= b or y + height <= t for l, t, r, b in placed)  # noqa: E741

    y = next(filter(free, inside), inside[0])
    draw_label(frame, text, x, y, colour)
    return x, y, x + width, y + height


@lru_cache(maxsize=4096)
def _stamp(text: str, line: int) -> np.ndarray:
    """Ink of a text with a narrow margin, uint8 `(h, w)`: 255 where a letter covers the pixel; `line` pixels a line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with lettering([text]) as shown:
        figure = Figure(dpi=_DPI)
        canvas = FigureCanvasAgg(figure)
        drawn = figure.text(
            0, 0, shown(text), fontsize=0.72 * line * 72 / _DPI, linespacing=1.25, transform=None, parse_math=False
        )
        extent = drawn.get_window_extent(canvas.get_renderer())
        lines = text.count("\n") + 1
        width, height = int(np.ceil(extent.width)) + 4, max(int(np.ceil(extent.height)) + 2, line * lines)
        figure.set_size_inches(width / _DPI, height / _DPI)
        drawn.set_position((2 - extent.x0, (height - extent.height) / 2 - extent.y0))
        canvas.draw()
        return 255 - np.asarray(canvas.buffer_rgba())[:height, :width, :3].mean(axis=2).astype(np.uint8)
