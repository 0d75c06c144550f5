"""Feature vectors of videos as Parquet files in a folder, with the network that made them.

A folder holds `index.json`, the `Origin` of its vectors, and files `part-00000.parquet`, `part-00001.parquet`, …, with
one row per clip and at least one per video: `path`, `part_start`, `part_end` (seconds, null: the whole file), `bytes`
and `modified` (ns) of the file when it was read, `clip`, its `start` and `end` in seconds, `error` (empty, or why the
file could not be used) and `vector`. A later file replaces the rows of the same video in earlier ones. Files are
written under another name and then renamed, so that a killed process leaves whole ones.
"""

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidjax.errors import UserError
from vidjax.parts.folder import PartFolder, from_parquet, parquet, to_parquet
from vidjax.predictions import ClipVectors

logger = logging.getLogger("vidjax")

FORMAT = 1
INDEX = "index.json"
_PART = re.compile(r"part-(\d+)(-\d+)?\.parquet")
_REPEATED = ["path"]  # columns in which values recur
_MANY = 16  # parts that are merged into one

Key = tuple[str, float | None, float | None]  # path, and start and end of the part of the video


class VectorsError(UserError):
    """Error: a folder of vectors is absent, damaged or made by another network; the message says what to do."""


@dataclass(frozen=True)
class Origin:
    """Network and settings that made the vectors of an index.

    Attributes:
      model: name of the network.
      folder: folder of its checkpoint.
      step: number of the update of the checkpoint; None: the best.
      fingerprint: hash of its weights, see `vidjax.models.fingerprint`.
      layer: path of the layer; empty: the classifier's input.
      inputs: descriptions of the network's inputs, see `vidjax.inputs.to_dict`.
      sampling: `num_clips`, `num_crops`, `rule` and `hop` of a video's views.
      per: "clip" or "video": what has a vector.
      width: D, length of a vector.
    """

    model: str
    folder: str | Path
    step: int | None
    fingerprint: str
    layer: str
    inputs: Mapping[str, Any]
    sampling: Mapping[str, Any]
    per: str
    width: int

    @property
    def words(self) -> str:
        """Short description for messages: `tsn_r50 (runs/kinetics, weights 0123456789abcdef, layer stages.3)`."""
        layer = f", layer {self.layer}" if self.layer else ""
        return f"{self.model} ({self.folder}, weights {self.fingerprint}{layer})"

    def differs(self, other: "Origin") -> list[str]:
        """Names of what makes the vectors of the two incomparable; where the weights are kept may differ."""
        mine, theirs = (json.loads(json.dumps(asdict(each))) for each in (self, other))
        return [name for name in mine if name not in ("folder", "step") and mine[name] != theirs[name]]


@dataclass(frozen=True)
class Video:
    """Video of an index, as it was when it was read."""

    path: str
    start: float | None = None  # start of the part that was read, seconds; None: the file's own
    end: float | None = None
    bytes: int = -1  # size of the file; -1: unknown
    modified: int = -1  # time of its last change, ns; -1: unknown
    error: str = ""  # reason it could not be used; empty: none

    @property
    def key(self) -> Key:
        """What identifies a video of an index."""
        return self.path, self.start, self.end


@dataclass(frozen=True, eq=False)
class Index:
    """Vectors of N clips of videos.

    Attributes:
      folder: path or address of the folder of the files.
      origin: network and settings that made the vectors.
      videos: videos with vectors, in the order in which they were embedded.
      unusable: videos without vectors, with their errors.
      video: number of each clip's video, int64 `(N,)`; clips of a video are neighbours, in the order of time.
      start, end: times of the clips, seconds, float64 `(N,)`.
      vectors: float32 `(N, D)`, as the network gave them.
    """

    folder: str | Path
    origin: Origin
    videos: tuple[Video, ...]
    unusable: tuple[Video, ...]
    video: np.ndarray
    start: np.ndarray
    end: np.ndarray
    vectors: np.ndarray

    def rows(self, video: int) -> slice:
        """Rows of the clips of a video."""
        return slice(*np.searchsorted(self.video, (video, video + 1)).tolist())

    @property
    def means(self) -> np.ndarray:
        """Mean vector of each video, float32 `(len(videos), D)`."""
        if not self.videos:
            return np.empty((0, self.vectors.shape[1]), np.float32)
        first = np.searchsorted(self.video, np.arange(len(self.videos)))
        counts = np.diff(np.append(first, len(self.video)))
        return (np.add.reduceat(self.vectors, first, axis=0) / counts[:, None]).astype(np.float32)

    def find(self, path: str) -> int | None:
        """Number of the video at a path, given as in the index or relative to the current folder; None: not there."""
        absolute = place(path)
        return next((i for i, video in enumerate(self.videos) if video.path in (path, absolute)), None)


def place(path: str) -> str:
    """Path of a file as an index keeps it: absolute, unless it is an address."""
    return path if "://" in path or "::" in path else os.path.abspath(os.path.expanduser(path))


def file_state(path: str) -> tuple[int, int]:
    """Size in bytes and time of the last change in ns of a file; -1 and -1 if there is none on a local disk."""
    try:
        found = os.stat(path)
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def read_origin(folder: str | Path) -> Origin:
    """Read which network made the vectors of a folder.

    Raises:
      VectorsError: if the folder is no index, or its `index.json` is damaged.
    """
    place = PartFolder(folder)
    path = f"{place}/{INDEX}"
    try:
        values = json.loads(place.read(INDEX))
        number = values.pop("format")
        if number > FORMAT:
            raise VectorsError(f"{path} has format {number}, this version reads up to {FORMAT}: install a newer vidjax")
        return Origin(**values)
    except (FileNotFoundError, NotADirectoryError):
        what = f"no {INDEX} in it" if place.exists() else "no such folder"
        raise VectorsError(f"{folder}: {what}; `vidjax embed RUN VIDEOS {folder}` makes an index there") from None
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise VectorsError(f"{path} is damaged ({error}); remove the folder and embed anew") from None


def read_index(folder: str | Path) -> Index:
    """Read all vectors of a folder.

    Raises:
      VectorsError: if the folder is no index, a file of it is damaged, or it holds no vectors.
    """
    place, origin = PartFolder(folder), read_origin(folder)
    tables = [_read_part(place, name, origin) for name in _parts(place)]
    index = _joined(str(folder), origin, tables)
    if not index.videos:
        why = f"; all {len(index.unusable)} videos were unreadable" if index.unusable else ""
        raise VectorsError(f"{folder} holds no vectors{why}: run `vidjax embed RUN VIDEOS {folder}` to add some")
    return index


class IndexWriter:
    """Writer of an index, which keeps the vectors that are there.

    Args:
      folder: folder of the index, made if absent.
      origin: network and settings that will make the vectors.
      every: number of videos after which they are written.
      rank, count: number of this process, and how many write to the folder, each other videos.
      blind: whether only to add, in a process beside others, and to leave what is there unread, so that it is neither
        known nor in the index of `close`.

    Raises:
      VectorsError: if the folder holds vectors of another origin (the message names both), or other files.
    """

    def __init__(
        self,
        folder: str | Path,
        origin: Origin,
        every: int = 64,
        rank: int = 0,
        count: int = 1,
        *,
        blind: bool = False,
    ):
        self._folder, self._origin, self._every = PartFolder(folder), origin, every
        self._rank, self._alone = rank, count == 1 and not blind
        self._waiting: list[tuple[Video, ClipVectors]] = []
        parquet()  # an error for a missing package comes before any work
        self._folder.make()
        names = self._folder.names()
        if INDEX in names:
            refuse_other(str(folder), read_origin(folder), origin)
        elif any(name != ".lock" for name in names):
            raise VectorsError(f"{folder} holds other files; give a new folder, or one made by `vidjax embed`")
        else:
            self._folder.write(INDEX, _to_json(origin).encode())
        if self._alone:
            self._folder.clear()
        self._tables = [] if blind else list(self._readable())

    def _readable(self) -> Iterator[Any]:
        """Tables of the parts; one that is damaged is put aside, so that its videos are embedded again."""
        for name in _parts(self._folder):
            try:
                yield _read_part(self._folder, name, self._origin)
            except VectorsError as error:
                aside = name.removesuffix("parquet") + "damaged"
                self._folder.rename(name, aside)
                logger.warning("%s; it is now %s, and its videos are embedded again", error, aside)

    @property
    def known(self) -> dict[Key, Video]:
        """Videos that were embedded before, or found to be unusable."""
        index = _joined(str(self._folder), self._origin, self._tables)
        return {video.key: video for video in (*index.videos, *index.unusable)}

    def add(self, video: Video, found: ClipVectors) -> None:
        """Add a video; it replaces earlier vectors of the same one."""
        self._waiting.append((video, found))
        if len(self._waiting) >= self._every:
            self.flush()

    def flush(self) -> None:
        """Write what was added."""
        if self._waiting:
            table = _table(self._waiting, self._origin)
            self._write(table)
            self._tables.append(table)
            self._waiting = []

    def close(self) -> Index:
        """Write what was added and return the index, as far as this process knows it.

        A process that is alone also joins many small files into one.
        """
        self.flush()
        index = _joined(str(self._folder), self._origin, self._tables)
        kept = len(index.vectors) + len(index.unusable)
        parts = _parts(self._folder)
        if self._alone and (len(parts) > _MANY or kept < sum(map(len, self._tables))):
            self._write(_of_index(index))  # before the others go: what is there twice counts once
            self._folder.remove(parts)
        return index

    def _write(self, table: Any) -> None:
        parts = _parts(self._folder)
        number = 1 + _number(parts[-1]) if parts else 0
        own = "" if self._alone else f"-{self._rank}"
        self._folder.write(f"part-{number:05d}{own}.parquet", to_parquet(table, _REPEATED))


def refuse_other(folder: str | Path, own: Origin, other: Origin) -> None:
    """Refuse to compare the vectors of an index with those of another origin.

    Raises:
      VectorsError: if they differ; names both.
    """
    differing = own.differs(other)
    if not differing:
        return
    if set(differing) & {"model", "fingerprint", "layer"}:
        raise VectorsError(
            f"{folder} has vectors of {own.words}, not of {other.words}: vectors of different networks cannot be "
            "compared; give the network of the index, or a new folder"
        )
    told = "; ".join(f"{name}: {getattr(own, name)} there, {getattr(other, name)} asked for" for name in differing)
    raise VectorsError(f"{folder} has vectors made with other settings ({told}); repeat its settings, or a new folder")


def _parts(folder: PartFolder) -> list[str]:
    return sorted((name for name in folder.names() if _PART.fullmatch(name)), key=lambda name: (_number(name), name))


def _number(part: str) -> int:
    found = _PART.fullmatch(part)
    assert found is not None  # one of `_parts`
    return int(found[1])


def _to_json(origin: Origin) -> str:
    return json.dumps({"format": FORMAT} | asdict(origin), indent=2, ensure_ascii=False) + "\n"


def _read_part(folder: PartFolder, name: str, origin: Origin) -> Any:
    import pyarrow

    path = f"{folder}/{name}"
    try:
        table = from_parquet(folder.read(name))
        stored = json.loads((table.schema.metadata or {})[b"vidjax"])
        stored.pop("format")
        maker = Origin(**stored)
    except (pyarrow.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise VectorsError(
            f"{path} is damaged or no file of `vidjax embed` ({str(error).splitlines()[0]}); `vidjax embed` with the "
            "same videos makes it anew"
        ) from None
    refuse_other(path, maker, origin)
    return table


def _table(rows: Sequence[tuple[Video, ClipVectors]], origin: Origin) -> Any:
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    vectors = []
    for video, found in rows:
        count = 1 if found.vectors is None else len(found.vectors)
        own = found.vectors if found.vectors is not None else np.zeros((1, origin.width), np.float32)
        nothing = np.full(count, np.nan)
        vectors.append(own)
        for name, values in (
            ("clip", range(count)),
            ("start", nothing if found.start is None else found.start),
            ("end", nothing if found.end is None else found.end),
        ):
            columns[name].extend(values)
        for name, value in (
            ("path", video.path),
            ("part_start", video.start),
            ("part_end", video.end),
            ("bytes", video.bytes),
            ("modified", video.modified),
            ("error", found.error),
        ):
            columns[name].extend([value] * count)
    return _make(columns, np.concatenate(vectors), origin)


# Column → type.
_COLUMNS = {
    "path": "string",
    "part_start": "float64",
    "part_end": "float64",
    "bytes": "int64",
    "modified": "int64",
    "clip": "int32",
    "start": "float64",
    "end": "float64",
    "error": "string",
}


def _make(columns: Mapping[str, Sequence[Any]], vectors: np.ndarray, origin: Origin) -> Any:
    import pyarrow as pa

    kinds = dict(
        zip(_COLUMNS, ("string", *["float64"] * 2, *["int64"] * 2, "int32", *["float64"] * 2, "string"), strict=True)
    )
    arrays = {name: pa.array(columns[name], getattr(pa, kinds[name])()) for name in _COLUMNS}
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    arrays["vector"] = pa.FixedSizeListArray.from_arrays(flat, origin.width)
    return pa.table(arrays).replace_schema_metadata({"vidjax": _to_json(origin)})


def _joined(folder: str, origin: Origin, tables: Sequence[Any]) -> Index:
    """Index of the rows of all tables, of which the later ones count for a video that is in several."""
    latest: dict[Key, tuple[Video, int, slice]] = {}
    for number, table in enumerate(tables):
        first = np.flatnonzero(table.column("clip").to_numpy() == 0)  # of each video, whose rows are neighbours
        ends = np.append(first[1:], len(table))
        own = table.select(["path", "part_start", "part_end", "bytes", "modified", "error"]).take(first).to_pydict()
        for values in zip(*own.values(), first.tolist(), ends.tolist(), strict=True):
            video = Video(*values[:6])
            latest.pop(video.key, None)
            latest[video.key] = video, number, slice(*values[6:])
    good = [each for each in latest.values() if not each[0].error]
    columns = [(t.column("start").to_numpy(), t.column("end").to_numpy(), _vectors(t, origin.width)) for t in tables]
    empty = (np.empty(0), np.empty(0), np.empty((0, origin.width), np.float32))
    parts = [tuple(column[rows] for column in columns[number]) for _, number, rows in good]
    start, end, vectors = (np.concatenate(each) for each in zip(empty, *parts, strict=True))
    video = np.repeat(np.arange(len(good)), [len(part[0]) for part in parts] or 0)
    unusable = tuple(each[0] for each in latest.values() if each[0].error)
    return Index(folder, origin, tuple(each[0] for each in good), unusable, video, start, end, vectors)


def _vectors(table: Any, width: int) -> np.ndarray:
    column = table.column("vector").combine_chunks()
    return column.values.to_numpy().reshape(-1, width)


def _of_index(index: Index) -> Any:
    rows: Iterable[tuple[Video, ClipVectors]] = [
        (video, ClipVectors(video.path, index.vectors[own], index.start[own], index.end[own]))
        for video, own in zip(index.videos, map(index.rows, range(len(index.videos))), strict=True)
    ]
    lost = [(video, ClipVectors(video.path, error=video.error)) for video in index.unusable]
    return _table([*rows, *lost], index.origin)
