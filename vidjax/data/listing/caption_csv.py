"""CSV files of captions or answers: `path,caption` or `path,question,answer`, optionally with `split` and `group`.

Several lines of one path, or of one path and question, are several captions of that video, or several answers. The
file and its videos may be remote.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

from vidjax.data.listing.csv_table import parse_lines, read_header
from vidjax.data.listing.gather import Gathered
from vidjax.data.listing.paths import locate
from vidjax.data.listing.rows import LISTED, Row
from vidjax.data.records import Caption
from vidjax.data.text import DataError

_TEXT = Caption.kind  # name of the column, too
NEEDED = ("path", _TEXT)
ASKED = ("path", "question", "answer")


@dataclass
class _Video:
    """Video, completed as its lines are read."""

    where: str
    given: str
    split: str
    group: str
    question: str = ""
    texts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CaptionCsv:
    """Source of videos with captions in a CSV file, one caption per line.

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
    kinds = frozenset({Caption.kind})
    labels = None
    splits = LISTED

    def rows(self) -> list[Row]:
        """Read the rows, one for each video and question; see `Source`."""
        found, videos = Gathered(self.need_files), {}
        needed = ASKED if "answer" in read_header(self.path) else NEEDED
        parse = functools.partial(self._parse, videos=videos, column=needed[-1])
        parse_lines(self.path, needed, ("split", "group"), found, parse)
        for (path, question), video in videos.items():
            row = Row(path, video.where, Caption(tuple(video.texts), question), video.split, video.group)
            found.add(row, video.given)
        if not (rows := found.rows()):
            raise DataError(f"{self.path}: no captions below the header line")
        return rows

    def _parse(self, cells: Mapping[str, str], where: str, videos: dict[tuple[str, str], _Video], column: str) -> None:
        if not cells["path"]:
            raise ValueError("the path is empty")
        for name in (column, *(("question",) if column == "answer" else ())):
            if not cells[name]:
                raise ValueError(f"the {name} of {cells['path']!r} is empty")
        question = cells.get("question", "")
        new = _Video(where, cells["path"], cells.get("split", "").lower(), cells.get("group", ""), question)
        video = videos.setdefault((locate(self.root, cells["path"]), question), new)
        for name in ("split", "group"):
            own, first = getattr(new, name), getattr(video, name)
            if own != first:
                raise ValueError(f"{cells['path']!r} is in {name} {own!r}, but in {first!r} at {video.where}")
        if cells[column] in video.texts:
            raise ValueError(f"this {column} of {cells['path']!r} is repeated")
        video.texts.append(cells[column])


def has_captions(path: str) -> bool:
    """Whether the CSV file at a path or an address has a column of captions or answers in its header."""
    return not {_TEXT, "answer"}.isdisjoint(read_header(path))
