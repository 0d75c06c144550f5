"""AVA: boxes around people in single frames, each with an action.

Annotations and classes only: no model here detects, so AVA is no choice of `config.data.dataset`.
"""

from dataclasses import dataclass
from pathlib import Path

from vidjax.data.listing.annotations import csv_rows
from vidjax.data.listing.datasets import read_class_names
from vidjax.data.text import raise_problems


def ava_classes() -> dict[int, str]:
    """The 60 actions that are evaluated, by their numbers in the publisher's list of 80."""
    lines = (line.partition(": ") for line in read_class_names("ava"))
    return {int(number): name for number, _, name in lines}


@dataclass(frozen=True)
class AvaBox:
    """One action of one person in a key frame.

    Attributes:
      video: YouTube id.
      second: of the key frame, in the untrimmed video.
      box: left, top, right, bottom, as shares of width and height.
      action: number in the publisher's list, from 1 on.
      person: number that links boxes of one person over time; -1: not given.
    """

    video: str
    second: float
    box: tuple[float, float, float, float]
    action: int
    person: int = -1


def parse_ava(file: str | Path, num_actions: int = 80) -> list[AvaBox]:
    """AVA's CSV without a header: `video,second,x1,y1,x2,y2,action,person`; key frames without boxes have the first two
    cells only, and give nothing.

    Raises:
      DataError: naming every wrong line.
    """
    found, problems = [], []
    for where, cells in csv_rows(Path(file)):
        if len(cells) == 2:
            continue
        try:
            video, second, *corners = cells[0].strip(), float(cells[1]), *map(float, cells[2:6])
            action, person = int(cells[6]), int(cells[7]) if len(cells) > 7 else -1
        except (ValueError, IndexError):
            problems.append(f"{where}: not of the form video,second,x1,y1,x2,y2,action,person: {','.join(cells)!r}")
            continue
        left, top, right, bottom = corners
        if not (video and 0 <= left <= right <= 1 and 0 <= top <= bottom <= 1):
            problems.append(f"{where}: the box must be left, top, right, bottom within 0…1: {corners}")
        elif not 1 <= action <= num_actions:
            problems.append(f"{where}: action {action} is none of 1…{num_actions}")
        else:
            found.append(AvaBox(video, second, (left, top, right, bottom), action, person))
    raise_problems(problems)
    return found
