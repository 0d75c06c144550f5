"""The source that a name in a setting stands for: a CSV file, JSON Lines, a folder, or a prepared data set.

Files and folders may lie elsewhere (`gs://bucket/train.csv`). `@SPLIT` behind a file or a prepared data set takes the
rows of one split, `@all` those of every split.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vidjax.data.listing.csv_file import CsvFile
from vidjax.data.listing.folder import Folder
from vidjax.data.listing.json_lines import JsonLines
from vidjax.data.listing.prepared import open_prepared
from vidjax.data.listing.rows import UNLABELLED, OneSplit, Row, Source
from vidjax.data.listing.union import is_list_file, names, part
from vidjax.data.records import KINDS, LABELS, Labels
from vidjax.data.text import DataError
from vidjax.video import VideoError
from vidjax.video.byte_sources import is_remote


def open_sources(text: str, root: str, kinds: frozenset[str] = LABELS, need_files: bool = True) -> list[Source]:
    """The sources that `text` joins by commas.

    Args:
      text: a setting such as `config.train`.
      root: folder that relative paths in files start from; empty: the file's own.
      kinds: of annotations that are needed; none: they are not looked at.
      need_files: whether a video that a file lists but that is not there is an error.

    Raises:
      DataError: for a name that is no source, or a source that has none of the `kinds`.
    """
    return [refuse_kinds(_open(name, root, kinds, need_files), kinds) for name in names(text)]


def refuse_kinds(source: Source, kinds: frozenset[str]) -> Source:
    """`source`, if it can give one of the `kinds` of annotations, or none is needed.

    Raises:
      DataError: naming the source, what it has and what is needed.
    """
    if kinds and not kinds & source.kinds:
        has, needed = (" or ".join(k for k in KINDS if k in some) for some in (source.kinds, kinds))
        mend = "give data that has them"
        if source.splits == "listed":
            mend += ", such as a file of JSON Lines (.jsonl), a record a line"
        raise DataError(f"{source.name}: its annotations are {has}, but {needed} are needed; {mend}")
    return source


def read_rows(sources: Sequence[Source], kinds: frozenset[str] = LABELS) -> list[Row]:
    """The rows of all sources, one after the other; without `kinds`, each gets the one class `UNLABELLED`.

    Raises:
      DataError: naming every wrong line of a source (up to 20), or a split that it does not have.
    """
    rows = [replace(row, source=i) if i else row for i, source in enumerate(sources) for row in _read(source)]
    return rows if kinds else [replace(row, annotation=Labels((UNLABELLED,))) for row in rows]


def _read(source: Source) -> list[Row]:
    try:
        return list(source.rows())
    except VideoError as error:  # of a place elsewhere that cannot be listed
        raise DataError(str(error)) from None


def _open(text: str, root: str, kinds: frozenset[str], need_files: bool) -> Source:
    if (stored := open_prepared(text, root)) is not None:
        return stored
    name, split = part(text)
    source = _open_files(name, root, kinds, need_files)
    return OneSplit(source, split) if split else source


def _open_files(name: str, root: str, kinds: frozenset[str], need_files: bool) -> Source:
    if is_remote(name):
        if not is_list_file(name):
            return Folder(name, name.rstrip("/"), bool(kinds))
        path, folder = name, name.rpartition("/")[0]
    else:
        local = Path(name).expanduser()
        if local.is_dir():
            return Folder(name, str(local), bool(kinds))
        if not local.exists():
            raise DataError(f"{name}: no such file or folder (current folder: {os.getcwd()})")
        path, folder = str(local), str(local.parent)
    if is_list_file(name, (".jsonl",)):
        return JsonLines(name, path, root or folder, kinds, need_files)
    return CsvFile(name, path, root or folder, bool(kinds), need_files)
