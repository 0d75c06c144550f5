"""Opening of sources by the names in settings: CSV files, JSON Lines, folders, and prepared data sets.

Files and folders may be remote (`gs://bucket/train.csv`). The suffix `@SPLIT` on a file or a prepared data set selects
the rows of one split, `@all` those of every split.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vidjax.data.listing.box_csv import BoxCsv, has_boxes
from vidjax.data.listing.by_name import with_features, with_videos
from vidjax.data.listing.caption_csv import CaptionCsv, has_captions
from vidjax.data.listing.csv_file import CsvFile
from vidjax.data.listing.flow_pairs import FlowFolder
from vidjax.data.listing.folder import Folder
from vidjax.data.listing.json_lines import JsonLines
from vidjax.data.listing.prepared import open_prepared
from vidjax.data.listing.rows import UNLABELLED, OneSplit, Row, Source
from vidjax.data.listing.segment_files import SegmentFile, is_segment_source
from vidjax.data.listing.union import is_list_file, names, part
from vidjax.data.records import KINDS, LABELS, Labels, Segments
from vidjax.data.text import DataError
from vidjax.video import VideoError
from vidjax.video.byte_sources import is_remote

_SEGMENTS = frozenset({Segments.kind})


def open_sources(
    text: str, root: str, kinds: frozenset[str] = LABELS, need_files: bool = True, features: str = ""
) -> list[Source]:
    """Open the comma-separated sources of a setting.

    Args:
      text: value of a setting such as `config.train`.
      root: base folder of relative paths in files; empty: the file's own folder.
      kinds: kinds of annotations needed; empty: annotations are ignored.
      need_files: whether a listed but missing video is an error.
      features: folder in which the features of the listed videos are read instead of these; empty: none.

    Raises:
      DataError: if a name is not a source, or a source has none of the `kinds`.
    """
    sources = [refuse_kinds(_open(name, root, kinds, need_files and not features), kinds) for name in names(text)]
    return [with_features(source, features, need_files) for source in sources] if features else sources


def refuse_kinds(source: Source, kinds: frozenset[str]) -> Source:
    """Return `source` unless it lacks all `kinds` of annotations needed; empty `kinds` accept any source.

    Raises:
      DataError: if it lacks them; names the source, its kinds and the needed ones.
    """
    if kinds and not kinds & source.kinds:
        has, needed = (" or ".join(k for k in KINDS if k in some) for some in (source.kinds, kinds))
        mend = "give data that has them"
        if source.splits == "listed":
            mend += ", such as a file of JSON Lines (.jsonl), one record per line"
        raise DataError(f"{source.name}: its annotations are {has}, but {needed} are needed; {mend}")
    return source


def read_rows(sources: Sequence[Source], kinds: frozenset[str] = LABELS) -> list[Row]:
    """Read the rows of all sources, one after the other; without `kinds`, each gets the one class `UNLABELLED`.

    Raises:
      DataError: if a source has invalid lines, naming each (up to 20), or lacks a selected split.
    """
    rows = [replace(row, source=i) if i else row for i, source in enumerate(sources) for row in _read(source)]
    return rows if kinds else [replace(row, annotation=Labels((UNLABELLED,))) for row in rows]


def _read(source: Source) -> list[Row]:
    try:
        return list(source.rows())
    except VideoError as error:  # a remote folder that cannot be listed
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
        if local.is_dir() and kinds == FlowFolder.kinds:
            return FlowFolder(name, str(local))
        if local.is_dir() and not (kinds == _SEGMENTS and is_segment_source(local)):
            return Folder(name, str(local), bool(kinds))
        if not local.exists():
            raise DataError(f"{name}: no such file or folder (current folder: {os.getcwd()})")
        path, folder = str(local), str(local.parent)
    if is_list_file(name, (".jsonl",)):
        return JsonLines(name, path, root or folder, kinds, need_files)
    if kinds == _SEGMENTS and not is_remote(name) and is_segment_source(Path(path)):
        return with_videos(SegmentFile(name, path), root or folder, need_files)
    if kinds == BoxCsv.kinds or has_boxes(path):  # whatever it lacks then is named
        return BoxCsv(name, path, root or folder, need_files)
    if kinds == CaptionCsv.kinds or (kinds and has_captions(path)):
        return CaptionCsv(name, path, root or folder, need_files)
    return CsvFile(name, path, root or folder, bool(kinds), need_files)
