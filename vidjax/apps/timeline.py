"""Segments of a video for people: a timeline as a picture, subtitles, and the video with its segments drawn on it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vidjax.apps.subtitles import write_srt
from vidjax.config import ReadingConfig
from vidjax.data.reading.open_video import open_video
from vidjax.lettering import lettering
from vidjax.tasks.localise.detections import Detections
from vidjax.video.draw import draw_label, redraw

_ROWS = 24  # most classes in a timeline: those with the best scores
_FRAMES = 12  # pictures above a timeline
_LABELS = 6  # most names on a frame
# Colours that differ for people with any colour vision (Okabe and Ito, 2008), without black and yellow.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


@dataclass(frozen=True)
class Timeline:
    """What is shown of a video.

    Attributes:
      path: path of the video.
      duration: length, seconds.
      names: names of the K classes.
      found: segments to show, in the order of time.
      times: times of the scores, seconds, `(T,)`; None: there are none.
      scores: scores over time, `(T, K)`; None: there are none.
    """

    path: str
    duration: float
    names: tuple[str, ...]
    found: Detections
    times: np.ndarray | None = None
    scores: np.ndarray | None = None

    @property
    def classes(self) -> list[int]:
        """Classes shown: those of segments, at most 24 with the best scores, in the order of their first segments."""
        best: dict[int, float] = {}
        for label, score in zip(self.found.labels.tolist(), self.found.scores.tolist(), strict=True):
            best[label] = max(best.get(label, 0.0), score)
        kept = sorted(best, key=lambda label: -best[label])[:_ROWS]
        return [label for label in best if label in kept]

    def colour(self, label: int) -> str:
        """Colour of a class, as #RRGGBB."""
        order = self.classes
        return _COLOURS[(order.index(label) if label in order else label) % len(_COLOURS)]


def write_timeline(path: Path, line: Timeline) -> Path:
    """Draw a timeline: pictures of the video, and below them a row of segments for each class, over its scores."""
    with lettering((*line.names, Path(line.path).name)) as shown:
        _draw(path, line, shown)
    return path


def _draw(path: Path, line: Timeline, shown) -> None:
    from matplotlib.figure import Figure

    classes, frames = line.classes, _pictures(line)
    rows, high = max(1, len(classes)), 0.9
    figure = Figure(figsize=(13, 0.9 + high + 0.42 * rows + 0.5), layout="constrained")
    strip, axes = figure.subplots(2, 1, height_ratios=[high, 0.42 * rows + 0.3])
    strip.imshow(frames, aspect="auto", extent=(0, line.duration, 0, 1))
    strip.set(xlim=(0, line.duration), xticks=[], yticks=[])
    strip.set_title(_title(line, shown), fontsize=11, loc="left")
    for row, label in enumerate(classes):
        colour = line.colour(label)
        axes.axhspan(row - 0.5, row + 0.5, color="#f4f4f4" if row % 2 else "white", zorder=0)
        if line.times is not None and line.scores is not None:
            curve = row + 0.42 - 0.84 * line.scores[:, label]
            axes.fill_between(line.times, row + 0.42, curve, color=colour, alpha=0.18, linewidth=0, zorder=1)
        own = line.found.labels == label
        for (start, end), score in zip(line.found.segments[own], line.found.scores[own], strict=True):
            axes.broken_barh(
                [(start, end - start)], (row - 0.28, 0.56), color=colour, alpha=0.3 + 0.5 * score, zorder=2
            )
            if end - start > 0.035 * line.duration:
                middle = 0.5 * (start + end)
                axes.text(
                    middle, row, f"{100 * score:.0f}", ha="center", va="center", fontsize=8, color="#222222", zorder=3
                )
    if not classes:
        axes.text(0.5, 0.5, "no segments", transform=axes.transAxes, ha="center", va="center", color="#777777")
    axes.set(xlim=(0, line.duration), ylim=(rows - 0.5, -0.5))
    axes.set_yticks(range(len(classes)), [shown(line.names[label]) for label in classes])
    ticks = _ticks(line.duration)
    axes.set_xticks(ticks, [clock(t) for t in ticks])
    axes.grid(axis="x", color="#dddddd", linewidth=0.6, zorder=0.5)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.savefig(path, dpi=110)


def _title(line: Timeline, shown) -> str:
    count, kinds = len(line.found), len(set(line.found.labels.tolist()))
    left = f", the best {_ROWS} shown" if kinds > _ROWS else ""
    many = f"{count} segment{'' if count == 1 else 's'} of {kinds} class{'' if kinds == 1 else 'es'}{left}"
    return f"{shown(Path(line.path).name)}   {clock(line.duration)}   {many}; numbers are scores in %"


def _pictures(line: Timeline, height: int = 96) -> np.ndarray:
    """Frames of the video side by side, evenly spread, uint8 `(height, W, 3)`."""
    with open_video(line.path) as reader:
        numbers = ((np.arange(_FRAMES) + 0.5) * len(reader) / _FRAMES).astype(int)
        frames = reader.read(numbers)
    width = height  # about the shape of a twelfth of the strip
    tall, wide = frames.shape[1:3]
    # A part of every frame with the shape of its place, from the middle.
    part = min(wide, round(tall * width / height)), min(tall, round(wide * height / width))
    left, top = (wide - part[0]) // 2, (tall - part[1]) // 2
    cut = [frame[top : top + part[1], left : left + part[0]] for frame in frames]
    return np.concatenate([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in cut], axis=1)


def _ticks(duration: float) -> np.ndarray:
    """Round times, about ten over the video."""
    steps = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
    step = next((s for s in steps if duration / s <= 14), 7200)
    return np.arange(0, duration + 1e-6, step)


def clock(seconds: float) -> str:
    """Time as m:ss, with tenths where they matter, or h:mm:ss."""
    tenths = round(10 * seconds)
    hours, minutes, rest = tenths // 36000, tenths // 600 % 60, tenths % 600 / 10
    text = f"{rest:04.1f}" if rest % 1 else f"{int(rest):02d}"
    return f"{hours}:{minutes:02d}:{text}" if hours else f"{minutes}:{text}"


def write_subtitles(path: Path, line: Timeline) -> Path:
    """Write the segments as SubRip subtitles, which players show over the video."""
    found = zip(line.found.segments, line.found.scores, line.found.labels, strict=True)
    return write_srt(
        path, ((start, end, f"{line.names[label]} ({100 * score:.0f} %)") for (start, end), score, label in found)
    )


def write_video(path: Path, line: Timeline, how: ReadingConfig, advance: Callable[[float], None]) -> None:
    """Write the video, without sound, with the names of what is happening and a timeline along the lower edge.

    Args:
      path: path of the MP4 file.
      line: segments to draw.
      how: settings of reading.
      advance: function called with the share that is done, 0…1.

    Raises:
      VideoError: if the video cannot be read.
    """
    done = 0

    def count(frames: int) -> None:
        nonlocal done
        done += frames
        advance(done / len(reader))

    with open_video(line.path, **how.limits) as reader:
        redraw(reader, path, lambda frame, time: _paint(frame, line, time), advance=count)


def _paint(frame: np.ndarray, line: Timeline, time: float) -> None:
    height, width = frame.shape[:2]
    foot = max(12, height // 30)
    strip = frame[height - foot :]
    strip[:] = 30
    for (start, end), label in zip(line.found.segments, line.found.labels, strict=True):
        left, right = (round(t / line.duration * width) for t in (start, end))
        strip[3:-3, left : max(right, left + 1)] = _rgb(line.colour(int(label)))
    at = min(width - 2, round(time / line.duration * width))
    strip[:, at : at + 2] = 255
    now = (line.found.segments[:, 0] <= time) & (time < line.found.segments[:, 1])
    for row, number in enumerate(np.flatnonzero(now)[:_LABELS]):
        label = int(line.found.labels[number])
        text = f"{line.names[label]}  {100 * line.found.scores[number]:.0f} %"
        draw_label(frame, text, 6, 6 + row * max(18, height // 18), _rgb(line.colour(label)))


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue
