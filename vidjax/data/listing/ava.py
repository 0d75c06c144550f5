"""AVA: boxes around people in single frames of films, each with the actions of one person.

Its lists number 80 actions; the 60 that its authors evaluate are its classes, and the others are skipped.
"""

from dataclasses import dataclass, field

from vidjax.data.listing.annotations import AnnotationFile, csv_rows
from vidjax.data.listing.class_lists import read_class_numbers
from vidjax.data.listing.corners import refusal, within
from vidjax.data.listing.rows import Row
from vidjax.data.records import Boxes, Corners
from vidjax.data.text import raise_problems

_ACTIONS = 80  # of the publisher's list, numbered from 1
_NOBODY = -1  # number of persons in files that do not number them


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
    for where, cells in csv_rows(source.file):
        try:
            video, second = cells[0].strip(), float(cells[1])
            if len(cells) == 2 and video:
                named.setdefault((video, second), _Frame(where))
                continue
            corners = [float(cell) for cell in cells[2:6]]
            if len(corners) != 4:
                raise ValueError
            action, person = int(cells[6]), int(cells[7]) if len(cells) > 7 else _NOBODY
        except (ValueError, IndexError):
            problems.append(f"{where}: not of the form video,second,x1,y1,x2,y2,action,person: {','.join(cells)!r}")
            continue
        box = within(corners)
        if not video or box is None:
            problems.append(f"{where}: {refusal(corners) if video else 'the video is empty'}")
            continue
        frame = named.setdefault((video, second), _Frame(where))
        if not 1 <= action <= _ACTIONS:
            unused = "; 0 is the unused class of lists with a background, and no action has it" if not action else ""
            problems.append(f"{where}: action {action} is not in 1…{_ACTIONS}{unused}")
        elif action in names:
            frame.where = frame.where if frame.actions else where
            actions = frame.actions.setdefault((person, box), [])
            if names[action] not in actions:
                actions.append(names[action])
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
