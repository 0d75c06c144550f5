"""JSON files with many entries, whose problems are reported together, each with its line."""

import json
from collections.abc import Iterator
from pathlib import Path

from vidjax.data.text import DataError, decode, raise_problems, read_file


def read_text(file: Path) -> str:
    """Read a file in UTF-8; see `read_file` and `decode`."""
    return decode(str(file), read_file(file))


class JsonDocument:
    """JSON file and the problems of its entries; line numbers are looked up only for problems.

    Args:
      file: file in UTF-8.
      expected: type of the outermost value, `list` or `dict`.

    Attributes:
      value: the outermost value.

    Raises:
      DataError: if the file is not JSON, or its outermost value is not of the type `expected`.
    """

    def __init__(self, file: Path, expected: type):
        self._file, self._text, self._problems = file, read_text(file), []
        try:
            self.value = json.loads(self._text)
        except json.JSONDecodeError as error:
            reason = error.msg if self._text.strip() else "the file is empty"
            raise DataError(f"{file}:{error.lineno}: not valid JSON ({reason})") from None
        if not isinstance(self.value, expected):
            kinds = {list: "a list of entries", dict: "an object"}
            raise DataError(f"{file}:1: must hold {kinds[expected]}, as the publisher's file does")

    def entries(self, key: str) -> Iterator[tuple[str, dict]]:
        """Entries of a list that are objects with a name under `key`; the others are problems."""
        for number, entry in enumerate(self.value, 1):
            name = entry.get(key) if isinstance(entry, dict) else None
            if isinstance(name, int | str) and str(name):
                yield str(name), entry
            else:
                self.note("", f"entry {number} has no {key!r}: {str(entry)[:80]}")

    def note(self, name: str, problem: str) -> None:
        """Keep a problem with the entry of this name; empty: the entry has none."""
        self._problems.append((name, problem))

    def raise_problems(self) -> None:
        """Raise a `DataError` with all problems, if there are any, each with the line of its entry."""
        messages = []
        for number, (name, problem) in enumerate(self._problems):
            # Only the first problems are shown.
            at = self._text.find(json.dumps(name, ensure_ascii=False)) if name and number < 100 else -1
            line = f":{self._text.count(chr(10), 0, at) + 1}" if at >= 0 else ""
            messages.append(f"{self._file}{line}: {name}{': ' if name else ''}{problem}")
        raise_problems(messages)
