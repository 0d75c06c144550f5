"""The rows of a file that lists videos, as they are read, and what is wrong with its lines."""

from dataclasses import replace

from vidjax.data.listing.paths import Presence
from vidjax.data.listing.rows import Part, Row
from vidjax.data.text import raise_problems


class Gathered:
    """Rows in their order, each part of a video once; wrong lines are noted, to be named together.

    Args:
      need_files: whether a video that is not there is a wrong line.
    """

    def __init__(self, need_files: bool):
        self._rows: list[Row] = []
        self._problems: list[str] = []
        self._seen: dict[Part, str] = {}
        self._there = Presence() if need_files else None

    def note(self, where: str, problem: str) -> None:
        """Note what is wrong with the line at `where`."""
        self._problems.append(f"{where}: {problem}")

    def add(self, row: Row, given: str) -> None:
        """Keep a row, unless there is no such file; `given`: its path as the line has it."""
        if self._there and not self._there(row.path):
            self.note(row.where, f"no such file: {row.path}")
            return
        if row.part in self._seen:
            self.note(row.where, f"{given!r} is listed already at {self._seen[row.part]}; remove one of them")
        self._seen.setdefault(row.part, row.where)
        self._rows.append(replace(row, missing=False) if self._there else row)

    def rows(self) -> list[Row]:
        """All of them.

        Raises:
          DataError: naming every line that is wrong (up to 20).
        """
        raise_problems(self._problems)
        return self._rows
