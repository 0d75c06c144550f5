"""Contact sheets: rows of small frames with their numbers and times, as one PNG."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from vidjax.lettering import lettering

CELL = 112  # longer side of a frame, pixels
COLUMNS = 16  # frames of a longer clip are shown in part
_LABEL, _CAPTION, _GAP, _TITLE = 190, 15, 4, 34  # pixels
_DPI = 100


@dataclass(frozen=True)
class Row:
    """One view on a contact sheet: its label and its frames."""

    label: str  # up to four lines; the first names the video
    video: np.ndarray  # uint8 (T, H, W, 3)
    frames: np.ndarray  # int (T,), numbers in the file
    times: np.ndarray  # float (T,), seconds


def draw_sheet(path: str | Path, title: str, rows: Sequence[Row]) -> None:
    """Draw a contact sheet and write it as a PNG.

    Of more than 16 frames, 16 are shown, including the first and the last. The frame number is orange if the frame
    repeats the previous one or goes back in the video.

    Args:
      path: path of the PNG.
      title: one line of text above the rows.
      rows: one or more views; their frames may differ in size and number.
    """
    with lettering([title, *(row.label for row in rows)]) as shown:
        rows = [replace(row, label=shown(row.label)) for row in rows]
        _draw(Path(path), shown(title), rows)


def _draw(path: Path, title: str, rows: Sequence[Row]) -> None:
    from matplotlib.figure import Figure

    columns = min(COLUMNS, max(len(row.video) for row in rows))
    height = _TITLE + len(rows) * (CELL + _CAPTION + _GAP) + _GAP
    width = _LABEL + columns * (CELL + _GAP) + _GAP
    canvas = np.full((height, width, 3), 255, np.uint8)
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    top, video = _TITLE, ""
    for row in rows:
        if row.label.partition("\n")[0] != video:  # a line above every video
            video = row.label.partition("\n")[0]
            canvas[top - _GAP // 2] = 190
        figure.text(
            6, height - top, row.label, va="top", fontsize=7, linespacing=1.35, transform=None, parse_math=False
        )
        for column, t in enumerate(_shown(len(row.video))):
            left = _LABEL + column * (CELL + _GAP)
            image = _fit(row.video[t])
            y, x = top + (CELL - image.shape[0]) // 2, left + (CELL - image.shape[1]) // 2
            canvas[y : y + image.shape[0], x : x + image.shape[1]] = image
            again = t > 0 and row.frames[t] <= row.frames[:t].max()
            caption = f"{row.frames[t]}   {row.times[t]:.2f} s"
            figure.text(
                left + CELL / 2,
                height - top - CELL - 2,
                caption,
                ha="center",
                va="top",
                fontsize=6.5,
                color="#d95f02" if again else "black",
                weight="bold" if again else "normal",
                transform=None,
            )
        top += CELL + _CAPTION + _GAP
    figure.text(6, height - 8, title, va="top", fontsize=9, weight="bold", transform=None, parse_math=False)
    figure.figimage(canvas, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)


def _shown(count: int) -> np.ndarray:
    return np.arange(count) if count <= COLUMNS else np.round(np.linspace(0, count - 1, COLUMNS)).astype(int)


def _fit(image: np.ndarray) -> np.ndarray:
    scale = CELL / max(image.shape[:2])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
