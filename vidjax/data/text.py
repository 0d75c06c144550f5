"""Text of annotation files: decoding, one error for all invalid lines, and detection of foreign list formats."""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vidjax.errors import UserError

_SHOWN = 20  # problems listed in one error
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars", " ": "spaces"}
# A path followed by one or more numbers: classes, possibly after a number of frames.
_SPACED = re.compile(r"\S[^,;\t]*?( +\d+)+")
_AVA = re.compile(r"[^,]+,\d+(,[\d.]*){4}(,\d*)+")  # video, second, four corners, action, person
_NAMED = re.compile(r"\.\w{2,5}$")  # the end of a file name


class DataError(UserError):
    """Raised for unusable annotations or folders; names files and lines and says what to do."""


def raise_problems(problems: list[str]) -> None:
    """Raise a `DataError` with the first 20 problems, each once, if there are any."""
    if problems:
        kinds = Counter(problems)
        more = f"\n… and {len(kinds) - _SHOWN} more" if len(kinds) > _SHOWN else ""
        raise DataError("\n".join(list(kinds)[:_SHOWN]) + more)


def read_file(file: Path) -> bytes:
    """Read a file that a user named.

    Raises:
      DataError: if there is none, it is a folder, or it cannot be read.
    """
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{file}: no such file; check the path") from None
    except IsADirectoryError:
        raise DataError(f"{file}: is a folder; give a file in it") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None


def decode(name: str, content: bytes) -> str:
    """Decode a file in UTF-8, with or without a byte order mark.

    Args:
      name: name of the file, for messages.
      content: bytes of the file.

    Raises:
      DataError: for another encoding, naming the line and, where it can be told, the encoding.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{name}:1: not a UTF-8 text file: looks like UTF-16; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = content.rfind(b"\n", 0, error.start) + 1
        line = content[start:].split(b"\n", 1)[0].rstrip(b"\r")
        mend = ""
        if not re.search(rb"[\x00-\x08\x0e-\x1f]", content):  # text has none of these
            mend = f"; looks like Latin-1 ({line.decode('cp1252', 'replace')[:80]!r}): save it as UTF-8"
        number = content.count(b"\n", 0, start) + 1
        byte = content[error.start]
        raise DataError(f"{name}:{number}: not a UTF-8 text file (byte 0x{byte:02x}){mend}") from None


def list_mend(line: str, columns: Sequence[str]) -> str:
    """Likely format of a file whose header lacks columns, and the remedy, after a semicolon; empty if unknown.

    Args:
      line: first line of the file.
      columns: columns that the header must have.
    """
    header, line = ",".join(columns), line.strip()
    if _SPACED.fullmatch(line):
        return (
            f"; looks like mmaction2's, SlowFast's or pytorchvideo's list: write {header} above it, commas for spaces"
        )
    if "x1" in columns and _AVA.fullmatch(line):
        return "; looks like AVA's list: give config.data.dataset=ava, which has AVA's classes"
    for separator, name in _SEPARATORS.items():
        cells = [cell.strip().strip('"') for cell in line.split(separator)]
        if len(cells) > 1 and set(columns) <= set(cells):
            return f"; looks separated by {name}: save it with commas"
        if len(cells) > 1 and _NAMED.search(cells[0]):
            return f"; looks separated by {name} and without a header: write {header} above it, and commas for {name}"
    if line and _NAMED.search(next(csv.reader([line]))[0].strip()):
        return f"; looks like a list without a header: write {header} above it"
    return ""
