"""Parsers of publishers' annotation files in their distributed formats: file → `Row`s.

Every parser takes an `AnnotationFile` and reports all unusable lines in one `DataError`. Parsers do not locate videos:
the path of a row is the one listed, or the file's name, with or without suffix.
"""

import csv
import difflib
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidjax.data.listing.json_document import JsonDocument, read_text
from vidjax.data.listing.rows import TRAIN_SPLITS, Row
from vidjax.data.records import Labels
from vidjax.data.text import DataError, raise_problems
from vidjax.wording import things


class ClassIndex:
    """Index of classes by name that ignores case, `_`, `+`, spaces and quotes, as publishers vary them."""

    def __init__(self, names: Sequence[str]):
        self.names = tuple(names)
        self._index = {_plain(name): i for i, name in enumerate(names)}

    def __len__(self) -> int:
        return len(self.names)

    def get(self, name: str) -> int | None:
        return self._index.get(_plain(name))

    def unknown(self, name: str) -> str:
        """Message about a label that is not a class."""
        close = [repr(self.names[self._index[c]]) for c in difflib.get_close_matches(_plain(name), self._index, n=2)]
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        return f"label {name!r} is not one of the {len(self)} classes{hint}"


@dataclass(frozen=True)
class AnnotationFile:
    """Input of a parser: an annotation file, and the role of the videos to take from it."""

    file: Path
    role: str  # "train" or "eval"
    classes: ClassIndex
    split: int = 1  # number of the official split, for files that hold several

    def row(
        self,
        path: str,
        labels: Iterable[int],
        where: str,
        group: str = "",
        start: float | None = None,
        end: float | None = None,
        spans: Iterable[tuple[float, float, int]] | None = None,
        categories: Iterable[str] = (),
    ) -> Row:
        """Make the row of a video, or of its part from `start` to `end`, with the classes of these numbers; for `spans`
        and `categories` see `Labels`."""
        names = self.classes.names
        times = None if spans is None else tuple((begin, stop, names[i]) for begin, stop, i in spans)
        annotation = Labels(tuple(names[i] for i in labels), times, tuple(categories))
        return Row(path, where, annotation, group=group, start=start, end=end)


Parser = Callable[[AnnotationFile], list[Row]]


# Text: one video per line.


def parse_ucf101(source: AnnotationFile) -> list[Row]:
    """Parse UCF-101: `trainlist01.txt` (`Class/v_Class_g01_c01.avi 1`, classes from 1) and `testlist01.txt` (paths)."""
    found, problems = [], []
    for where, line in lines(source.file):
        path, _, number = line.partition(" ")
        folder, _, name = path.rpartition("/")
        match = re.fullmatch(r"v_.+_g(\d+)_c\d+\.avi", name)
        if not match or not folder:
            problems.append(f"{where}: not of the form Class/v_Class_g01_c01.avi [number]: {line!r}")
        elif (index := source.classes.get(folder)) is None:
            problems.append(f"{where}: {source.classes.unknown(folder)}")
        elif number and number.strip() != str(index + 1):
            problems.append(f"{where}: class {folder!r} has the number {index + 1}, not {number.strip()!r}")
        else:
            found.append(source.row(path, (index,), where, f"{folder}_g{match[1]}"))
    raise_problems(problems)
    return found


def parse_hmdb51(source: AnnotationFile) -> list[Row]:
    """Parse HMDB-51: `CLASS_test_splitN.txt`, one per class and split: `name.avi 1` (1 training, 2 test, 0 neither)."""
    match = re.fullmatch(r"(.+)_test_split\d\.txt", source.file.name)
    if not match:
        raise DataError(f"{source.file}: the files of HMDB-51 are named CLASS_test_splitN.txt; give their folder")
    if (index := source.classes.get(match[1])) is None:
        raise DataError(f"{source.file}: {source.classes.unknown(match[1])}")
    found, problems = [], []
    for where, line in lines(source.file):
        name, _, number = line.rpartition(" ")
        if number not in ("0", "1", "2") or not name.strip():
            problems.append(f"{where}: not a file name followed by 0, 1 or 2: {line!r}")
        elif number == {"train": "1", "eval": "2"}[source.role]:
            found.append(source.row(f"{match[1]}/{name.strip()}", (index,), where))
    raise_problems(problems)
    return found


def parse_id_and_label(source: AnnotationFile) -> list[Row]:
    """Parse Something-Something V1 and Jester: lines `id;label`."""
    found, problems = [], []
    for where, line in lines(source.file):
        name, _, label = (part.strip().strip('"') for part in line.partition(";"))
        if not name or not label:
            problems.append(f"{where}: not of the form id;label (test sets come without labels): {line!r}")
        elif (index := source.classes.get(label)) is None:
            problems.append(f"{where}: {source.classes.unknown(label)}")
        else:
            found.append(source.row(name, (index,), where))
    raise_problems(problems)
    return found


# CSV.


def parse_moments(source: AnnotationFile) -> list[Row]:
    """Parse Moments in Time: `class/name.mp4,class,agreeing,disagreeing` without a header; the folder is the class."""
    found, problems = [], []
    for where, cells in csv_rows(source.file):
        folder, _, name = cells[0].strip().rpartition("/")
        if not folder or not name:
            problems.append(f"{where}: not of the form class/name.mp4,class,…: {','.join(cells)!r}")
        elif (index := source.classes.get(folder)) is None:
            problems.append(f"{where}: {source.classes.unknown(folder)}")
        else:
            found.append(source.row(f"{folder}/{name}", (index,), where))
    raise_problems(problems)
    return found


def parse_charades(source: AnnotationFile) -> list[Row]:
    """Parse Charades: a column `actions` of `c092 11.90 21.20;c147 0.00 12.60`. All actions of a video are its labels,
    with their times; videos of one subject are a group."""
    found, problems = [], []
    for where, cells in csv_with_header(source.file, ("id", "subject", "actions"), problems):
        spans = []
        for action in filter(None, cells["actions"].split(";")):
            match = re.fullmatch(r"c(\d{3}) (\S+) (\S+)", action.strip())
            if not match or seconds(match[2]) is None or seconds(match[3]) is None:
                problems.append(f"{where}: not of the form c092 11.90 21.20: {action!r}")
            elif int(match[1]) >= len(source.classes):
                last = len(source.classes) - 1
                problems.append(f"{where}: there is no class c{match[1]}; the last one is c{last:03d}")
            else:
                spans.append((float(match[2]), float(match[3]), int(match[1])))
        if not cells["id"]:
            problems.append(f"{where}: the id is empty")
        labels = sorted({number for *_, number in spans})
        found.append(source.row(cells["id"], labels, where, cells["subject"], spans=spans))
    raise_problems(problems)
    return found


def parse_kinetics(source: AnnotationFile) -> list[Row]:
    """Parse Kinetics: CSV `label,youtube_id,time_start,time_end,split`, or the same as JSON; files are named
    `ID_000010_000020.mp4`.

    From a file with several splits, training takes `train`, and evaluation `validate` or else `test`.
    """
    if source.file.suffix.lower() == ".json":
        return _kinetics_json(source)
    found, problems = [], []
    columns = ("label", "youtube_id", "time_start", "time_end", "split")
    for where, cells in csv_with_header(source.file, columns, problems):
        segment = (seconds(cells["time_start"]), seconds(cells["time_end"]))
        row = _kinetics(source, where, cells["label"], cells["youtube_id"], segment)
        if isinstance(row, str):
            problems.append(f"{where}: {row}")
        else:
            found.append((cells["split"], row))
    raise_problems(problems)
    return _of_role(found, source.role)


def _kinetics_json(source: AnnotationFile) -> list[Row]:
    document, found = JsonDocument(source.file, dict), []
    for name, entry in document.value.items():
        try:
            label, segment, split = entry["annotations"]["label"], entry["annotations"]["segment"], entry["subset"]
            start, end = map(seconds, segment)
        except (KeyError, TypeError, ValueError):
            document.note(name, "needs annotations with a label and a segment of two numbers, and a subset")
            continue
        row = _kinetics(source, f"{source.file}: {name}", label, name, (start, end))
        if isinstance(row, str):
            document.note(name, row)
        else:
            found.append((split, row))
    document.raise_problems()
    return _of_role(found, source.role)


def _kinetics(
    source: AnnotationFile, where: str, label: str, name: str, segment: tuple[float | None, float | None]
) -> Row | str:
    """The row, or the problem with it."""
    start, end = segment
    if (index := source.classes.get(label)) is None:
        return source.classes.unknown(label)
    if not name or start is None or end is None or end <= start:
        return f"not a YouTube id with start and end in seconds: {name!r}, {start}, {end}"
    path = f"{source.classes.names[index]}/{name}_{int(start):06d}_{int(end):06d}"
    return source.row(path, (index,), where, name)


def _of_role(found: list[tuple[str, Row]], role: str) -> list[Row]:
    splits = [split.lower() for split, _ in found]
    wanted = TRAIN_SPLITS if role == "train" else {"validate", "validation", "val"}
    if role == "eval" and not wanted & set(splits):
        wanted = {"test", "testing"}
    return [row for split, (_, row) in zip(splits, found, strict=True) if split in wanted]


# JSON.


def parse_something_v2(source: AnnotationFile) -> list[Row]:
    """Parse Something-Something V2: a list of `{"id": "78687", "label": …, "template": "Holding [something]", …}`."""
    document, found = JsonDocument(source.file, list), []
    for name, entry in document.entries("id"):
        if not isinstance(template := entry.get("template"), str):
            document.note(name, "has no template (test sets come without labels)")
            continue
        label = template.replace("[", "").replace("]", "")
        if (index := source.classes.get(label)) is None:
            document.note(name, source.classes.unknown(label))
        else:
            found.append(source.row(name, (index,), f"{source.file}: {name}"))
    document.raise_problems()
    return found


def parse_hvu(source: AnnotationFile) -> list[Row]:
    """Parse HVU, as in mmaction2: a list of `{"filename": "…/ID.mp4", "label": {"action": [180], "scene": [5, 6]}}`.

    The numbers count within a category; in categories that are absent, a video is not annotated.
    """
    document, found = JsonDocument(source.file, list), []
    numbers = {name: i for i, name in enumerate(source.classes.names)}
    known = {name.partition("/")[0] for name in numbers}
    for path, entry in document.entries("filename"):
        label = entry.get("label")
        if not isinstance(label, dict) or not all(isinstance(own, list) for own in label.values()):
            document.note(path, 'has no label of the form {"action": [180], …}')
            continue
        names = [f"{category}/{number}" for category, own in label.items() for number in own]
        if wrong := [category for category in label if category not in known]:
            document.note(path, f"there is no category {wrong[0]!r}, only {', '.join(sorted(known))}")
        elif wrong := [name for name in names if name not in numbers]:
            document.note(path, f"there is no class {wrong[0]}")
        else:
            labels = sorted({numbers[name] for name in names})
            found.append(source.row(path, labels, f"{source.file}: {path}", categories=sorted(label)))
    document.raise_problems()
    return found


def parse_diving48(source: AnnotationFile) -> list[Row]:
    """Parse Diving48: a list of `{"vid_name": "…_00000", "label": 26, "start_frame": 0, …}`, labels from 0."""
    document, found = JsonDocument(source.file, list), []
    for name, entry in document.entries("vid_name"):
        label = entry.get("label")
        if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < len(source.classes):
            document.note(name, f"label {label!r} is not a number in 0…{len(source.classes) - 1}")
        else:
            found.append(source.row(name, (label,), f"{source.file}: {name}"))
    document.raise_problems()
    return found


# Parts of the formats.


def _plain(name: str) -> str:
    return " ".join(re.sub(r"[_+\"]", " ", str(name)).casefold().split())


def seconds(value: Any) -> float | None:
    """Read a time in seconds; None: it is no finite number from 0 on."""
    try:
        time = float(value)
    except (TypeError, ValueError):
        return None
    return time if math.isfinite(time) and time >= 0 else None


def lines(file: Path) -> Iterator[tuple[str, str]]:
    """Lines of a text file: location, such as "file.txt:12", and text; empty lines are skipped."""
    for number, line in enumerate(read_text(file).split("\n"), 1):
        if line.strip():
            yield f"{file}:{number}", line.strip()


def csv_rows(file: Path, spaced: bool = False) -> Iterator[tuple[str, list[str]]]:
    """Rows of a CSV file: location, such as "file.csv:12", and cells; empty lines are skipped.

    Args:
      file: path of the file.
      spaced: whether cells have spaces before them, which do not count.

    Raises:
      DataError: if the file is not UTF-8, or a quote is not closed.
    """
    reader = csv.reader(io.StringIO(read_text(file), newline=""), strict=True, skipinitialspace=spaced)
    try:
        for cells in reader:
            if cells:
                yield f"{file}:{reader.line_num}", cells
    except csv.Error as error:
        raise DataError(f"{file}:{reader.line_num}: not a valid CSV line ({error})") from None


def csv_with_header(file: Path, columns: Sequence[str], problems: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a CSV file below its header: location and cells by column; rows of another length go to `problems`.

    Raises:
      DataError: if the header lacks one of `columns`, and as `csv_rows` does.
    """
    rows = csv_rows(file)
    where, header = next(rows, (f"{file}:1", []))
    header = [cell.strip() for cell in header]
    if missing := [column for column in columns if column not in header]:
        raise DataError(
            f"{where}: no column {' and no column '.join(map(repr, missing))} in the header {','.join(header)!r}"
        )
    for where, cells in rows:
        if len(cells) != len(header):
            problems.append(f"{where}: {things(len(cells), 'cell')} where the header has {len(header)}")
        else:
            yield where, dict(zip(header, (cell.strip() for cell in cells), strict=True))
