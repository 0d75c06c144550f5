"""JSON files of tubes: boxes that follow a person or object through a video, annotated or predicted.

    {"tubes": [{"video": "v1", "label": "run", "score": 0.9, "frames": [12, 13], "boxes": [[x1, y1, x2, y2], …]}, …]}

Frames are numbers, rising, one for each box. Annotations have no score.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidjax.data.listing.json_document import JsonDocument
from vidjax.data.text import DataError, raise_problems

_FORM = (
    "needs a video, a label, rising whole numbers as frames, and as many boxes [x1, y1, x2, y2] that are not inverted"
)


@dataclass(frozen=True, eq=False)
class ListedTube:
    """Tube of a file.

    Attributes:
      video: name of the video.
      label: name of the class.
      frames: frame numbers, rising, int64 `(n,)`, n > 0.
      boxes: x1, y1, x2, y2, float64 `(n, 4)`.
      score: score; NaN: an annotation.
    """

    video: str
    label: str
    frames: np.ndarray
    boxes: np.ndarray
    score: float = math.nan


def read_tubes(file: Path, scored: bool = False) -> list[ListedTube]:
    """Read the tubes of a JSON file.

    Args:
      file: JSON file.
      scored: whether every tube needs a score, as predictions do.

    Raises:
      DataError: if the file or its tubes are invalid; names the file and each tube by its number, from 1.
    """
    entries = JsonDocument(file, dict).value.get("tubes")
    if not isinstance(entries, list):
        raise DataError(f"{file}: no 'tubes' in it, a list of objects with video, label, frames and boxes")
    found, problems = [], []
    for number, entry in enumerate(entries, 1):
        tube = _tube(entry)
        if tube is None:
            problems.append(f"{file}: tube {number} {_FORM}: {str(entry)[:120]}")
        elif scored and math.isnan(tube.score):
            problems.append(f"{file}: tube {number} needs a finite score")
        else:
            found.append(tube)
    raise_problems(problems)
    return found


def _tube(entry: Any) -> ListedTube | None:
    try:
        video, label = entry["video"], entry["label"]
        frames, boxes = np.asarray(entry["frames"], np.float64), np.asarray(entry["boxes"], np.float64)
        score = float(entry.get("score", math.nan))
    except (KeyError, TypeError, ValueError):
        return None
    right = (
        isinstance(video, str)
        and isinstance(label, str)
        and frames.ndim == 1
        and boxes.shape == (len(frames), 4)
        and len(frames) > 0
        and not (frames % 1).any()
        and (np.diff(frames) > 0).all()
        and np.isfinite(boxes).all()
        and (boxes[:, :2] <= boxes[:, 2:]).all()
    )
    score = score if math.isfinite(score) else math.nan
    return ListedTube(video, label, frames.astype(np.int64), boxes, score) if right else None
