"""Collection of the rows and problems of a file that lists videos."""

from dataclasses import replace

from vidjax.data.listing.paths import Presence
from vidjax.data.listing.rows import Part, Row
from vidjax.data.text import raise_problems


class Gathered:
    """Collector of rows in order, each part of a video once, and of the problems of lines, reported together.

    Args:
      need_files: whether a missing video is a problem.
    """

    def __init__(self, need_files: bool):
        self._rows: list[Row] = []
        self._problems: list[str] = []
        self._seen: dict[Part, str] = {}
        self._there = Presence() if need_files else None

    def note(self, where: str, problem: str) -> None:
        """Add a problem of the line at `where`."""
        self._problems.append(f"{where}: {problem}")

    def add(self, row: Row, given: str) -> None:
        """Add a row, unless its file is missing; `given` is its path as written in the line."""
        if self._there and not self._there(row.path):
            self.note(row.where, f"no such file: {row.path}")
            return
        if row.part in self._seen:
            self.note(row.where, f"{given!r} is already listed at {self._seen[row.part]}; remove one of them")
        self._seen.setdefault(row.part, row.where)
        self._rows.append(replace(row, missing=False) if self._there else row)

    def rows(self) -> list[Row]:
        """All rows, if there are no problems.

        Raises:
          DataError: if lines are invalid; names each (up to 20).
        """
        raise_problems(self._problems)
        return self._rows
