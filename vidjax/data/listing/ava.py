"""AVA: boxes around people in single frames of films, each with the actions of one person.

Its lists number 80 actions; the 60 that its authors evaluate are its classes, and the others are skipped. Detections,
lists of actions and lists of excluded frames come in files of the same kind.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vidjax.data.listing.annotations import AnnotationFile, csv_rows
from vidjax.data.listing.class_lists import read_class_numbers
from vidjax.data.listing.corners import refusal, within
from vidjax.data.listing.json_document import read_text
from vidjax.data.listing.rows import Row
from vidjax.data.records import Boxes, Corners
from vidjax.data.text import DataError, raise_problems

_ACTIONS = 80  # of the publisher's list, numbered from 1
_NOBODY = -1  # number of persons in files that do not number them
_QUOTED = r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
_ITEM = re.compile(rf"\b(?:item|label)\s*:?\s*\{{((?:[^{{}}\"']|{_QUOTED})*)\}}")
_NAME, _NUMBER = re.compile(rf"\bname\s*:\s*({_QUOTED})"), re.compile(r"\b(?:label_)?id\s*:\s*(\d+)")


@dataclass(frozen=True)
class AvaLine:
    """Line of a CSV file in AVA's form.

    Attributes:
      where: location, such as "file.csv:12", for messages.
      video: name of the video.
      second: time of the frame, seconds.
      corners: x1, y1, x2, y2 of the box as listed, finite but unchecked; None: the line only names the frame.
      action: number of the action; 0 in a line that only names the frame.
      last: the eighth cell, a person or a score; empty: there is none.
    """

    where: str
    video: str
    second: float
    corners: Corners | None = None
    action: int = 0
    last: str = ""


def ava_lines(file: Path, problems: list[str], last: str = "person") -> Iterator[AvaLine]:
    """Read the lines of a CSV file without a header, `video,second,x1,y1,x2,y2,action,…` or `video,second`.

    The cells after the second may also be there and empty, as in AVA-Kinetics, if a line only names a frame.

    Args:
      file: CSV file.
      problems: list that receives a message for each line of another form.
      last: name of the eighth cell, for messages.

    Raises:
      DataError: if the file is no CSV in UTF-8.
    """
    for where, cells in csv_rows(file):
        try:
            video, second = cells[0].strip(), float(cells[1])
            if not video or not math.isfinite(second) or len(cells) > 8:
                raise ValueError
            if not any(map(str.strip, cells[2:])):
                yield AvaLine(where, video, second)
                continue
            x1, y1, x2, y2 = map(float, cells[2:6])
            if not math.isfinite(x1 + y1 + x2 + y2):
                raise ValueError
            number = cells[7].strip() if len(cells) > 7 else ""
            yield AvaLine(where, video, second, (x1, y1, x2, y2), int(cells[6]), number)
        except (ValueError, IndexError):
            problems.append(f"{where}: not of the form video,second,x1,y1,x2,y2,action,{last}: {','.join(cells)!r}")


def read_label_map(file: Path) -> dict[int, str]:
    """Read a list of classes in Protocol Buffers' text, `item { name: "sit" id: 11 }`, as names by number.

    The number may be called `label_id`, as in newer lists.

    Raises:
      DataError: if the file has no items, or an item lacks a name or a number, or repeats one.
    """
    text, found, problems = read_text(file), {}, []
    for item in _ITEM.finditer(text):
        where = f"{file}:{text.count(chr(10), 0, item.start()) + 1}"
        name, number = _NAME.search(item[1]), _NUMBER.search(item[1])
        if not name or not number:
            problems.append(f"{where}: an item needs a name and an id: {' '.join(item[1].split())!r}")
            continue
        label = re.sub(r"\\(.)", r"\1", name[1][1:-1])
        if int(number[1]) in found or label in found.values():
            problems.append(f"{where}: the number or the name of {label!r} is in the list twice")
        found[int(number[1])] = label
    raise_problems(problems)
    if not found:
        raise DataError(f'{file}: no items of the form item {{ name: "sit" id: 11 }}')
    return found


def read_excluded(file: Path) -> list[tuple[str, float]]:
    """Read a CSV file of excluded frames, `video,second` without a header.

    Raises:
      DataError: if lines are invalid; names each.
    """
    problems: list[str] = []
    found = list(ava_lines(file, problems))
    problems += [f"{line.where}: not of the form video,second" for line in found if line.corners]
    raise_problems(problems)
    return [(line.video, line.second) for line in found]


@dataclass
class _Frame:
    """Key frame, completed as its lines are read."""

    where: str
    actions: dict[tuple[int, Corners], list[str]] = field(default_factory=dict)  # of each person and box


def parse_ava(source: AnnotationFile) -> list[Row]:
    """Parse AVA into a row with `Boxes` for each key frame with a person doing one of the 60 actions.

    The file is a CSV without a header, `video,second,x1,y1,x2,y2,action,person`, one line per action of a person.
    The second counts from the beginning of the untrimmed video, and corners are shares of width and height. Key frames
    without boxes have only the first two cells. Frames without any of the 60 actions are skipped in training; in
    evaluation they are rows without boxes, as detections in them are false. AVA-Kinetics has the same form, in its
    Kinetics part without persons.

    Raises:
      DataError: if lines are invalid; names each.
    """
    names, problems = read_class_numbers("ava"), []
    named: dict[tuple[str, float], _Frame] = {}
    for line in ava_lines(source.file, problems):
        frame = named.setdefault((line.video, line.second), _Frame(line.where))
        if line.corners is None:
            continue
        box = within(line.corners)
        if line.last and not re.fullmatch(r"-?\d+", line.last):
            problems.append(f"{line.where}: the person must be a number: {line.last!r}")
        elif box is None:
            problems.append(f"{line.where}: {refusal(line.corners)}")
        elif not 1 <= line.action <= _ACTIONS:
            unused = "" if line.action else "; 0 is the unused class of lists with a background, and no action has it"
            problems.append(f"{line.where}: action {line.action} is not in 1…{_ACTIONS}{unused}")
        elif line.action in names:
            frame.where = frame.where if frame.actions else line.where
            person = int(line.last) if line.last else _NOBODY
            actions = frame.actions.setdefault((person, box), [])
            if names[line.action] not in actions:
                actions.append(names[line.action])
    raise_problems(problems)
    evaluated = source.role == "eval"
    return [_row(*key, frame) for key, frame in named.items() if frame.actions or evaluated]


def _row(video: str, second: float, frame: _Frame) -> Row:
    persons = tuple(person for person, _ in frame.actions)
    boxes = Boxes(
        second,
        tuple(corners for _, corners in frame.actions),
        tuple(map(tuple, frame.actions.values())),
        () if _NOBODY in persons else persons,
    )
    return Row(video, frame.where, boxes, group=video, at=second)
