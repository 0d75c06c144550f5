"""CSV files of boxes: a header with `path,time,x1,y1,x2,y2,label`, optionally `person`, `split` and `group`.

A line is a box in the frame at `time`, seconds from the first frame; corners are shares of width and height, so 0…1. A
box with several labels has a line for each, or joins them by `|`; without a label it shows none of the classes. A frame
without boxes is a line whose corners are empty. `person` is a whole number, the same for one person over time.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from vidjax.data.listing.corners import refusal, within
from vidjax.data.listing.csv_table import parse_lines, read_header
from vidjax.data.listing.gather import Gathered
from vidjax.data.listing.paths import locate
from vidjax.data.listing.rows import LISTED, Row
from vidjax.data.records import Boxes, Corners
from vidjax.data.text import DataError

NEEDED = ("path", "time", "x1", "y1", "x2", "y2", "label")
_SIDES = NEEDED[2:6]


@dataclass
class _Frame:
    """Annotated frame, completed as its lines are read."""

    where: str
    given: str
    split: str
    group: str
    boxes: dict[tuple[int | None, Corners], list[str]] = field(default_factory=dict)  # labels by person and corners

    def row(self, path: str, seconds: float) -> Row:
        """Make the row of the frame; persons are kept if every box has one."""
        persons = tuple(person for person, _ in self.boxes if person is not None)
        boxes = Boxes(
            seconds,
            tuple(corners for _, corners in self.boxes),
            tuple(map(tuple, self.boxes.values())),
            persons if len(persons) == len(self.boxes) else (),
        )
        return Row(path, self.where, boxes, self.split, self.group, at=seconds)


@dataclass(frozen=True)
class BoxCsv:
    """Source of frames with boxes in a CSV file, one box per line.

    Attributes:
      name: name as given in the setting.
      path: path or address of the file.
      root: base folder or address of relative paths.
      need_files: whether a missing video is an error.
    """

    name: str
    path: str
    root: str
    need_files: bool = True
    kinds = frozenset({Boxes.kind})
    labels = None
    splits = LISTED

    def rows(self) -> list[Row]:
        """Read the rows, one for each frame; see `Source`."""
        found, frames = Gathered(self.need_files), {}
        parse = functools.partial(self._parse, frames=frames)
        parse_lines(self.path, NEEDED, ("person", "split", "group"), found, parse)
        for (path, seconds), frame in frames.items():
            found.add(frame.row(path, seconds), frame.given)
        if not (rows := found.rows()):
            raise DataError(f"{self.path}: no boxes below the header line")
        return rows

    def _parse(self, cells: Mapping[str, str], where: str, frames: dict[tuple[str, float], _Frame]) -> None:
        if not cells["path"]:
            raise ValueError("the path is empty")
        seconds, given = _number(cells["time"], "time"), [cells[side] for side in _SIDES]
        if seconds < 0:
            raise ValueError(f"the time is {seconds:g} s, before the first frame")
        key = locate(self.root, cells["path"]), seconds
        new = _Frame(where, cells["path"], cells.get("split", "").lower(), cells.get("group", ""))
        frame = frames.setdefault(key, new)
        if frame.split != new.split:
            raise ValueError(f"the frame is in split {new.split!r}, but in {frame.split!r} at {frame.where}")
        if not any(given):
            return
        numbers = [_number(cell, side) for cell, side in zip(given, _SIDES, strict=True)]
        if (corners := within(numbers)) is None:
            raise ValueError(refusal(numbers))
        text = cells.get("person", "")
        if text and not text.lstrip("-").isdigit():
            raise ValueError(f"the person is {text!r}; give a whole number, the same for one person over time")
        labels = frame.boxes.setdefault((int(text) if text else None, corners), [])
        for label in filter(None, (part.strip() for part in cells["label"].split("|"))):
            if label in labels:
                raise ValueError(f"the label {label!r} of this box is repeated")
            labels.append(label)


def has_boxes(path: str) -> bool:
    """Whether the CSV file at a path or an address has the columns of boxes in its header."""
    return set(_SIDES) <= set(read_header(path))


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{what} is {text!r}, not a number")
    return value
