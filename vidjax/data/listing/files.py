"""Which videos CSV files, folders and prepared data sets list, row by row, with every mistake named.

A CSV has a header with `path` and `label`, optionally `split` and `group` (videos cut from one source share a group).
Several labels of one video are joined by `|`. A folder has one sub-folder per class. Both may lie elsewhere, and so
may the videos that a CSV lists: `gs://bucket/train.csv`. `@SPLIT` behind a CSV or a prepared data set takes the rows of
one split alone, `@all` those of every split.
"""

import csv
import io
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vidjax.data.listing.paths import Presence, class_folders, locate, own_files
from vidjax.data.text import DataError, decode, list_mend, raise_problems
from vidjax.video import VideoError
from vidjax.video.byte_sources import is_remote, read_bytes
from vidjax.wording import things

if TYPE_CHECKING:
    from vidjax.data.prepared.read import Prepared

logger = logging.getLogger("vidjax")

VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".flv", ".wmv", ".ts", ".m2ts", ".3gp", ".ogv",
    ".gif", ".vob", ".mts", ".divx", ".asf",
))  # fmt: skip
TRAIN_SPLITS = frozenset({"train", "training"})
EVAL_SPLITS = frozenset({"val", "valid", "validation", "eval", "test", "testing"})
ALL_SPLITS = "all"  # SOURCE@all
UNLABELLED = "unlabelled"  # the class of all videos where labels are not asked for
_SHOWN = 20  # problems listed in one error


@dataclass(frozen=True)
class Row:
    """One video, or part of one, as a source lists it."""

    path: str
    labels: tuple[str, ...]
    split: str  # in lower case; empty where the source has none, or a split was asked for
    group: str
    where: str  # "train.csv:12", for messages
    start: float | None = None  # seconds; see `Record`
    end: float | None = None
    source: int = 0  # which of several


def is_remote_csv(source: str) -> bool:
    """Whether an address is that of a CSV file."""
    return source.lower().partition("?")[0].endswith(".csv")


def load_prepared(source: str, root: str) -> "Prepared | None":
    """The prepared data set that a source names; None if it is something else."""
    from vidjax.data.prepared import read as prepared  # which is built on this file

    return prepared.load(source, root)


def read_sources(text: str, root: str, need_files: bool = True, labelled: bool = True) -> list[Row]:
    """The rows of all sources that `text` joins by commas, one after the other.

    Args:
      text: a setting such as `config.train`.
      root: folder that relative paths in CSVs start from; empty: the CSV's own.
      need_files: whether a video that is not there is an error.
      labelled: False: labels are not needed, and every row gets `UNLABELLED`.

    Raises:
      DataError: naming every wrong line (up to 20), or a split that a source does not have.
    """
    from vidjax.data.listing import union as sources

    parts = [_read(source, root, need_files, labelled) for source in sources.names(text)]
    rows = [replace(row, source=i) if i else row for i, rows in enumerate(parts) for row in rows]
    return rows if labelled else [replace(row, labels=(UNLABELLED,)) for row in rows]


def _read(source: str, root: str, need_files: bool, labelled: bool) -> list[Row]:
    from vidjax.data.listing import union as sources

    name, split = sources.part(source)
    if (stored := load_prepared(source, root)) is not None:
        rows = []
        for e in stored.entries:
            path, labels = stored.address(e), tuple(stored.class_names[i] for i in e.labels)
            rows.append(Row(path, labels, "" if split else e.split, e.group, path, e.start, e.end))
        return rows
    rows = _read_files(name, root, need_files, labelled)
    return _rows_of_split(rows, split, name) if split else rows


def _read_files(source: str, root: str, need_files: bool, labelled: bool) -> list[Row]:
    if is_remote(source):
        try:
            if not is_remote_csv(source):
                return _read_folder(source.rstrip("/"), labelled)
            return _read_csv(source, read_bytes(source), root or source.rpartition("/")[0], need_files, labelled)
        except VideoError as error:
            raise DataError(str(error)) from None
    path = Path(source).expanduser()
    if path.is_dir():
        return _read_folder(str(path), labelled)
    if not path.exists():
        raise DataError(f"{source}: no such file or folder (current folder: {os.getcwd()})")
    return _read_csv(str(path), path.read_bytes(), root or str(path.parent), need_files, labelled)


def _rows_of_split(rows: list[Row], split: str, name: str) -> list[Row]:
    """Those of one split, or of all, as if the source had no splits."""
    found = {row.split for row in rows}
    if not any(found):
        raise DataError(f"{name}@{split}: {name} has no splits; leave @{split} out to take all of it")
    wanted = found if split.lower() == ALL_SPLITS and ALL_SPLITS not in found else {split.lower()}
    if not wanted & found:
        known = ", ".join(sorted(filter(None, found)))
        raise DataError(f"{name}@{split}: there is no split {split!r}, only {known}; @{ALL_SPLITS} takes every row")
    return [replace(row, split="") for row in rows if row.split in wanted]


def _read_csv(path: str, content: bytes, root: str, need_files: bool, labelled: bool) -> list[Row]:
    rows, problems, there = [], [], Presence() if need_files else None
    seen: dict[str, str] = {}
    try:
        with io.StringIO(decode(path, content), newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [c.strip() for c in reader.fieldnames or ()]
            needed = ("path", "label")[: 1 + labelled]
            if missing := [c for c in needed if c not in columns]:
                first = file.getvalue().split("\n", 1)[0]
                raise DataError(
                    f"{path}:1: no column {' and no column '.join(map(repr, missing))} in the header "
                    f"{','.join(columns)!r}; the first line must be path,label[,split,group]{list_mend(first, needed)}"
                )
            if unknown := [c for c in columns if c not in ("path", "label", "split", "group")]:
                logger.warning("%s:1: columns that are not used: %s", path, ", ".join(unknown))
            reader.fieldnames = columns
            for cells in reader:
                where = f"{path}:{reader.line_num}"
                row = _parse(cells, len(columns), where, root, there, problems, labelled)
                if row is None:
                    continue
                if row.path in seen:
                    problems.append(
                        f"{where}: {cells['path']!r} is listed already at {seen[row.path]}; remove one of them"
                    )
                seen.setdefault(row.path, where)
                rows.append(row)
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not a valid CSV line ({error})") from None
    raise_problems(problems)
    if not rows:
        raise DataError(f"{path}: no videos below the header line")
    return rows


def _parse(
    cells: dict,
    num_columns: int,
    where: str,
    root: str,
    there: Presence | None,
    problems: list[str],
    labelled: bool,
) -> Row | None:
    found = sum(v is not None for k, v in cells.items() if k is not None) + len(cells.get(None, ()))
    if found != num_columns:
        problems.append(
            f"{where}: {things(found, 'cell')} where the header has {num_columns}; quote cells that hold a comma"
        )
        return None
    values = {k: v.strip() for k, v in cells.items()}
    labels = tuple(part.strip() for part in values["label"].split("|")) if labelled else (UNLABELLED,)
    if not values["path"]:
        problems.append(f"{where}: the path is empty")
    elif not all(labels):
        problems.append(f"{where}: the label of {values['path']!r} is empty")
    elif len(set(labels)) < len(labels):
        problems.append(f"{where}: a label of {values['path']!r} is repeated: {values['label']!r}")
    elif there and not there(locate(root, values["path"])):
        problems.append(f"{where}: no such file: {locate(root, values['path'])}")
    else:
        video = locate(root, values["path"])
        return Row(video, labels, values.get("split", "").lower(), values.get("group", ""), where)
    return None


def _read_folder(path: str, labelled: bool) -> list[Row]:
    rows, problems, ignored = [], [], []
    classes = class_folders(path)
    if not labelled:
        classes = {"": own_files(path), **{name: files for name, files in classes.items() if files}}
    elif not classes:
        raise DataError(f"{path}: no sub-folders; put the videos of each class into a sub-folder named after it")
    for name, files in classes.items():
        videos = [p for p in files if os.path.splitext(p)[1].lower() in VIDEO_SUFFIXES]
        ignored += [p for p in files if os.path.splitext(p)[1].lower() not in VIDEO_SUFFIXES]
        if not videos and labelled:
            problems.append(f"{path}/{name}: the class {name!r} has no videos; add some or remove the folder")
        rows += [Row(p, (name,), "", "", p) for p in videos]
    if ignored:
        names = ", ".join(p[len(path) :].lstrip("/") for p in ignored[:_SHOWN])
        what = things(
            len(ignored), "file is no video by its suffix and is", "files are no videos by their suffix and are"
        )
        logger.warning("%s: %s ignored: %s", path, what, names)
    raise_problems(problems)
    if not rows:
        raise DataError(f"{path}: no videos there or in its sub-folders")
    return rows
