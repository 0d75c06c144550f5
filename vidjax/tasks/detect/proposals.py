"""Files of detected boxes and of excluded key frames, and the key frames that they belong to."""

import csv
import io
import math
import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from vidjax import unpickle
from vidjax.data.listing import ava
from vidjax.data.listing.corners import refusal, within
from vidjax.data.listing.published import cut_times
from vidjax.data.records import Corners
from vidjax.data.text import DataError, decode, raise_problems
from vidjax.video.byte_sources import read_bytes
from vidjax.wording import things

HEADER = ("path", "time", "x1", "y1", "x2", "y2", "score")
_FORMS = (
    "a CSV of video,second,x1,y1,x2,y2,action,score, one with the header path,time,x1,y1,x2,y2[,score], or a pickle"
)

Moment = int  # milliseconds, so that "0902" and 902.0 are one


@dataclass
class FrameBoxes:
    """Boxes by video and key frame.

    Attributes:
      source: files that they come from, for messages.
      frames: name of a video → key frame → boxes with their scores, the best first.
    """

    source: str
    frames: dict[str, dict[Moment, list[tuple[Corners, float]]]] = field(default_factory=dict)

    def add(self, video: str, seconds: float, corners: Corners, score: float) -> None:
        """Add a box, once: files with labels have a line for each label of a box."""
        boxes = self.frames.setdefault(stem(video), {}).setdefault(moment(seconds), [])
        if all(corners != other for other, _ in boxes):
            boxes.append((corners, score))

    def of(self, path: str) -> Mapping[Moment, list[tuple[Corners, float]]] | None:
        """Boxes of the video at `path`, by key frame; None: its name is not in the files."""
        name = find_name(path, self.frames)
        return None if name is None else self.frames[name]


def stem(name: str) -> str:
    """Name of a video without the suffix of its file."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix and not path.suffix[1:].isdigit() else name


def moment(seconds: float) -> Moment:
    """Time as whole milliseconds."""
    return round(seconds * 1000)


def find_name(path: str, names: Iterable[str]) -> str | None:
    """Name by which files call the video at `path`: as much of the end of its path as they give, without suffix, and
    also without the times of a part, as in `ID_000010_000020`."""
    parts, names = stem(path).split("/"), names if isinstance(names, dict | set) else set(names)
    tried = ["/".join(parts[first:]) for first in range(len(parts))] + [cut_times(parts[-1])[0]]
    return next((name for name in tried if name in names), None)


def read_boxes(text: str, least: float = 0.0) -> FrameBoxes:
    """Read files of detected boxes.

    Args:
      text: paths, joined by commas: a CSV as AVA's (`video,second,x1,y1,x2,y2,action,score`, the action empty), a CSV
        with the header `path,time,x1,y1,x2,y2[,score]`, or a pickle `{"video,0902": (N, 5) array}`. Corners are shares
        of width and height.
      least: score below which boxes are left out.

    Raises:
      DataError: if a file is missing or not of these forms, or boxes are not within the picture; names each.
    """
    found, problems = FrameBoxes(text), []
    for name in filter(None, (part.strip() for part in text.split(","))):
        path = Path(name).expanduser()
        if not path.is_file():
            raise DataError(f"{name}: no such file of boxes; give {_FORMS}")
        read = _pickle if path.suffix in (".pkl", ".pickle") else _csv
        for where, video, seconds, corners, score in read(str(path), problems):
            cut = within(corners)
            if cut is None:
                problems.append(f"{where}: {refusal(corners)}")
            elif score >= least:
                found.add(video, seconds, cut, score)
    raise_problems(problems)
    for frames in found.frames.values():
        for boxes in frames.values():
            boxes.sort(key=lambda box: -box[1])
    return found


def read_excluded(text: str) -> dict[str, set[Moment]]:
    """Read CSVs of excluded key frames, `video,second` without a header, joined by commas: key frames by video.

    Raises:
      DataError: if a file is missing or lines are invalid; names each.
    """
    found: dict[str, set[Moment]] = {}
    for name in filter(None, (part.strip() for part in text.split(","))):
        path = Path(name).expanduser()
        if not path.is_file():
            raise DataError(f"{name}: no such file of excluded key frames, lines video,second")
        for video, second in ava.read_excluded(path):
            found.setdefault(stem(video), set()).add(moment(second))
    return found


_Box = tuple[str, str, float, Corners, float]  # where, video, seconds, corners, score


def _rows(path: str) -> Iterator[tuple[str, list[str]]]:
    reader = csv.reader(io.StringIO(decode(path, read_bytes(path)), newline=""), strict=True)
    try:
        for cells in reader:
            if cells:
                yield f"{path}:{reader.line_num}", cells
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not a valid CSV line ({error})") from None


def _csv(path: str, problems: list[str]) -> Iterator[_Box]:
    columns = None
    for where, cells in _rows(path):
        given = [cell.strip() for cell in cells]
        if columns is None:
            columns = {name: i for i, name in enumerate(given)} if "x1" in given else {}
            if columns:
                if missing := [name for name in HEADER[:-1] if name not in columns]:
                    raise DataError(f"{where}: no column {', '.join(missing)} in the header; give {','.join(HEADER)}")
                continue
            columns = {name: i for i, name in enumerate(HEADER[:-1])} | ({"score": 7} if len(given) > 7 else {})
        try:
            video, seconds = given[columns["path"]], float(given[columns["time"]])
            left, top, right, bottom = (float(given[columns[name]]) for name in ("x1", "y1", "x2", "y2"))
            score = float(given[columns["score"]] or 1.0) if "score" in columns else 1.0
            if not video or not all(map(math.isfinite, (seconds, left, top, right, bottom, score))):
                raise ValueError
        except (ValueError, IndexError):
            problems.append(f"{where}: not {_FORMS}: {','.join(cells)!r}")
            continue
        yield where, video, seconds, (left, top, right, bottom), score


def _pickle(path: str, problems: list[str]) -> Iterator[_Box]:
    try:
        with open(path, "rb") as file:
            values = unpickle.load(file)
    except unpickle.ForbiddenError as error:
        raise DataError(f"{path}: is refused, as it names {error}, which is neither numbers nor text") from None
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a readable pickle ({error})") from None
    if not isinstance(values, dict):
        raise DataError(f'{path}: holds a {type(values).__name__}, not {{"video,0902": (N, 5) array}}')
    for key, array in values.items():
        video, _, second = str(key).rpartition(",")
        try:
            boxes, seconds = np.asarray(array, np.float64), float(second)
            if boxes.size and (boxes.ndim != 2 or boxes.shape[1] not in (4, 5) or not np.isfinite(boxes).all()):
                raise ValueError
        except (ValueError, TypeError):
            problems.append(f'{path}: {key!r} is not "video,second" with an array (N, 5) of corners and score')
            continue
        for row in boxes.reshape(-1, boxes.shape[-1] if boxes.size else 5).tolist():
            yield f"{path}: {key}", video, seconds, (row[0], row[1], row[2], row[3]), row[4] if len(row) > 4 else 1.0


def matched(asked: int, found: int, source: str, missing: list[str], there: Iterable[str]) -> str:
    """Message about key frames without boxes; empty if most have some.

    Args:
      asked: number of key frames.
      found: number of those that the files name.
      source: files.
      missing: some that the files do not name.
      there: names of the files.
    """
    if found * 2 >= asked:
        return ""
    names = ", ".join(sorted(there)[:3])
    return (
        f"{source}: has boxes for {found} of {things(asked, 'key frame')}; not for {', '.join(missing[:3])}. It names "
        f"{names or 'no video'}: do videos and times match those of the annotations?"
    )
