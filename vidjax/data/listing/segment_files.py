"""Files of labelled segments of long videos: a row per video, with all its segments.

- JSON in ActivityNet's format, in which THUMOS14, HACS, EPIC-Kitchens, MultiTHUMOS and Charades are shared, too; its
  subsets are splits.
- CSV with a line per segment, `path,start,end,label`, optionally `split`, `group`, `duration` and `fps`. A line with
  start, end and label all empty lists a video without segments.
- EPIC-Kitchens' CSV (`video_id,…,start_timestamp,stop_timestamp,…,verb,…,noun,…`): verbs; `FILE.csv@noun` gives nouns.
- Charades' CSV (`id,…,actions,length`), with actions such as `c092 11.90 21.20;c147 0.00 12.60`.
- A folder of THUMOS14 or MultiTHUMOS: a text file per class, such as `Diving_val.txt`, with lines `video start end`.

Files name videos with or without suffix; they are looked for below the folder of the files, or `config.data.root`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vidjax.data.listing.activitynet import read_videos
from vidjax.data.listing.annotations import csv_with_header, lines, seconds
from vidjax.data.listing.class_lists import read_class_names
from vidjax.data.listing.rows import LISTED, Row
from vidjax.data.records import Segments
from vidjax.data.text import DataError, raise_problems

Span = tuple[float, float, str]
_NOUNS = "noun"  # of FILE.csv@noun, for EPIC-Kitchens
_CLOCK = re.compile(r"(\d+):(\d+):(\d+(?:\.\d*)?)")


@dataclass(frozen=True)
class SegmentFile:
    """Source of long videos in a file, or folder, of labelled segments; paths are as the file names them.

    Attributes:
      name: name as given in the setting.
      path: path of the file or folder.
    """

    name: str
    path: str
    kinds = frozenset({Segments.kind})
    labels = None
    splits = LISTED

    def rows(self) -> list[Row]:
        """Read the rows; see `Source`.

        Raises:
          DataError: if lines or entries are invalid; names each.
        """
        path = Path(self.path)
        if path.is_dir():
            rows = _thumos(path)
        elif path.suffix.lower() == ".json":
            rows = [
                Row(v.name, v.where, Segments(v.spans, v.duration, v.fps), v.subset.lower(), v.name)
                for v in read_videos(path)
            ]
        else:
            rows = _csv(path)
        if not rows:
            raise DataError(f"{self.path}: lists no videos")
        return rows


def is_segment_source(path: Path) -> bool:
    """Whether a path is of a kind that `SegmentFile` reads: JSON, CSV, or a folder of text files."""
    return path.suffix.lower() in (".json", ".csv") or (path.is_dir() and any(path.glob("*.txt")))


def declares_segments(path: Path) -> bool:
    """Whether a file or folder has the form of segments: JSON, a CSV with their columns, or a folder of text files."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return is_segment_source(path)
    return any(set(needed) <= set(_header(path)) for needed in _CSV_FORMATS)


class _Gatherer:
    """Rows by video, as their segments are read."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.problems: list[str] = []

    def video(self, path: str, where: str, split: str = "", group: str = "", **facts: float | None) -> tuple[str, str]:
        """Add a video, unless it is there; returns its key."""
        key = path, split
        self.rows.setdefault(key, Row(path, where, Segments((), **facts), split.lower(), group or path))
        return key

    def span(self, key: tuple[str, str], start: str, end: str, label: str, where: str) -> None:
        """Add a segment, or the problem with it."""
        first, last = _time(start), _time(end)
        if first is None or last is None:
            self.problems.append(f"{where}: start and end must be seconds, 0 or more, not {start!r} and {end!r}")
        elif last <= first:
            self.problems.append(f"{where}: the segment ends at {end} s, which is not after its start at {start} s")
        elif not label:
            self.problems.append(f"{where}: the label is empty")
        else:
            row = self.rows[key]
            assert isinstance(row.annotation, Segments)
            spans = (*row.annotation.spans, (first, last, label))
            self.rows[key] = replace(row, annotation=replace(row.annotation, spans=spans))

    def found(self) -> list[Row]:
        raise_problems(self.problems)
        return list(self.rows.values())


def _time(text: str) -> float | None:
    clock = _CLOCK.fullmatch(text.strip())
    if clock:
        hours, minutes, rest = map(float, clock.groups())
        return 3600 * hours + 60 * minutes + rest
    return seconds(text)


def _header(path: Path) -> list[str]:
    first = next(iter(lines(path)), ("", ""))[1].split(",")
    return [column.strip().strip('"') for column in first]


def _csv(path: Path) -> list[Row]:
    columns = _header(path)
    for needed, parse in _CSV_FORMATS.items():
        if set(needed) <= set(columns):
            gatherer = _Gatherer()
            rows = csv_with_header(path, needed, gatherer.problems)
            parse(rows, gatherer)
            return gatherer.found()
    formats = " or ".join(",".join(needed) for needed in _CSV_FORMATS)
    raise DataError(f"{path}:1: the header is {','.join(columns)!r}; segments need the columns {formats}")


def _own(rows, gatherer: _Gatherer) -> None:
    for where, cells in rows:
        if not cells["path"]:
            gatherer.problems.append(f"{where}: the path is empty")
            continue
        facts = {name: seconds(cells[name]) for name in ("duration", "fps") if cells.get(name)}
        key = gatherer.video(cells["path"], where, cells.get("split", ""), cells.get("group", ""), **facts)
        if any(cells[name] for name in ("start", "end", "label")):
            gatherer.span(key, cells["start"], cells["end"], cells["label"], where)


def _epic(rows, gatherer: _Gatherer) -> None:
    for where, cells in rows:
        for split in ("verb", _NOUNS):
            key = gatherer.video(cells["video_id"], where, split)
            gatherer.span(key, cells["start_timestamp"], cells["stop_timestamp"], cells[split], where)


def _charades(rows, gatherer: _Gatherer) -> None:
    names = read_class_names("charades")
    for where, cells in rows:
        key = gatherer.video(cells["id"], where, duration=seconds(cells["length"]))
        for action in filter(None, cells["actions"].split(";")):
            match = re.fullmatch(r"c(\d{3}) (\S+) (\S+)", action.strip())
            if not match or int(match[1]) >= len(names):
                gatherer.problems.append(f"{where}: not of the form c092 11.90 21.20, to c156: {action!r}")
            else:
                gatherer.span(key, match[2], match[3], names[int(match[1])], where)


_CSV_FORMATS: Mapping[tuple[str, ...], Callable[..., None]] = {
    ("path", "start", "end", "label"): _own,
    ("video_id", "start_timestamp", "stop_timestamp", "verb", "noun"): _epic,
    ("id", "actions", "length"): _charades,
}


def _thumos(folder: Path) -> list[Row]:
    """Rows of text files, one per class: `Diving_val.txt`, `Diving_test.txt` or, in MultiTHUMOS, `Diving.txt`.

    Segments marked as ambiguous are not of any class and left out.
    """
    gatherer = _Gatherer()
    for file in sorted(folder.glob("*.txt")):
        label, _, split = file.stem.rpartition("_")
        if split not in ("val", "test") or not label:
            label, split = file.stem, ""
        for where, line in lines(file):
            cells = line.split()
            if len(cells) != 3:
                gatherer.problems.append(f"{where}: not of the form video start end: {line!r}")
                continue
            own = split or ("val" if "validation" in cells[0] else "test")
            key = gatherer.video(cells[0], where, {"val": "validation"}.get(own, own))
            if label != "Ambiguous":
                gatherer.span(key, cells[1], cells[2], label, where)
    return gatherer.found()
