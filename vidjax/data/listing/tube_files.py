"""Files of tubes: boxes that follow a person or object through a video, annotated or predicted.

A JSON file holds either:

    {"tubes": [{"video": "v1", "label": "run", "score": 0.9, "frames": [12, 13], "boxes": [[x1, y1, x2, y2], …]}, …]}

Frames are numbers, rising, one for each box. Annotations have no score. The annotations of UCF101-24, J-HMDB and
MultiSports come as pickles instead: a dictionary with `labels`, `train_videos` and `test_videos` (of each official
split), `resolution` (height and width of each video) and `gttubes`, of each video and class arrays with rows of frame
number, x1, y1, x2, y2 in pixels.
"""

import io
import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vidjax import unpickle
from vidjax.data.listing.json_document import JsonDocument
from vidjax.data.text import DataError, raise_problems, read_file
from vidjax.wording import things

PICKLES = (".pkl", ".pickle")
_KEYS = ("labels", "train_videos", "test_videos", "resolution", "gttubes")
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
      size: height and width of the picture, pixels; None: not given.
    """

    video: str
    label: str
    frames: np.ndarray
    boxes: np.ndarray
    score: float = math.nan
    size: tuple[float, float] | None = None


def read_tubes(file: Path, scored: bool = False, split: int = 1) -> list[ListedTube]:
    """Read the tubes of a file.

    Args:
      file: JSON file, or pickle of annotations.
      scored: whether every tube needs a score, as predictions do.
      split: official split of a pickle, from 1, of which the test videos are read.

    Raises:
      DataError: if the file or its tubes are invalid; names the file and each tube by its number, from 1.
    """
    if file.suffix.lower() in PICKLES:
        return _annotated(file, split)
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


def load_tube_pickle(file: Path) -> Mapping[str, Any]:
    """Read the dictionary of a pickle of annotated tubes, without running anything that it names.

    Raises:
      DataError: if it is no such dictionary.
    """
    try:
        values = unpickle.load(io.BytesIO(read_file(file)))
    except unpickle.ForbiddenError as error:
        raise DataError(f"{file}: is refused, as it names {error}, which is neither numbers nor text") from None
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: not a readable pickle ({error})") from None
    if not isinstance(values, dict) or any(key not in values for key in _KEYS):
        raise DataError(f"{file}: not a dictionary with {', '.join(_KEYS)}")
    return values


def _annotated(file: Path, split: int) -> list[ListedTube]:
    """Tubes of the test videos of one split of a pickle."""
    values, found, problems = load_tube_pickle(file), [], []
    splits = values["test_videos"]
    if not isinstance(splits, list | tuple) or not 1 <= split <= len(splits):
        count = len(splits) if isinstance(splits, list | tuple) else 0
        raise DataError(f"{file}: has {things(count, 'split')}, and no number {split}")
    for video in splits[split - 1]:
        try:
            height, width = map(float, values["resolution"][video])
            tubes = [(values["labels"][int(k)], tube) for k, some in values["gttubes"][video].items() for tube in some]
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            problems.append(f"{file}: {video}: not a resolution, and tubes by class ({error!r})")
            continue
        for label, tube in tubes:
            rows = np.asarray(tube, np.float64)
            frames, boxes = (rows[:, 0], rows[:, 1:]) if rows.ndim == 2 and rows.shape[1] == 5 else ((), ())
            listed = _tube({"video": str(video), "label": str(label), "frames": frames, "boxes": boxes})
            if listed is None:
                problems.append(f"{file}: {video}: a tube of {label!r} has not rising frames with boxes: {rows.shape}")
            else:
                found.append(replace(listed, size=(height, width)))
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
