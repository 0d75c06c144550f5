"""Feature vectors of many videos, kept as an index for search (`vidjax embed RUN VIDEOS OUT`)."""

import contextlib
import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from vidjax.config import SamplingConfig
from vidjax.data.listing.paths import VIDEO_SUFFIXES
from vidjax.data.listing.sources import open_sources, read_rows
from vidjax.data.records import Record
from vidjax.embeddings.index import Index, IndexWriter, Key, Video, file_state, parquet, place
from vidjax.embeddings.long_videos import embed_in_parts, parts_of
from vidjax.embeddings.network import origin_of, pooled
from vidjax.errors import UserError
from vidjax.inputs import VideoInput
from vidjax.parts.ray_engine import on_ray, uses_ray
from vidjax.parts.work import in_shards, work
from vidjax.predictions import ClipVectors
from vidjax.predictor import Predictor
from vidjax.progress import progress_bar
from vidjax.training.workdir import lock
from vidjax.video.byte_sources import is_remote
from vidjax.wording import things

_LISTED = 10  # unreadable videos shown
_SHARD = 64  # videos after which their vectors are written
_CLIPS = 10  # of a video, if neither their number nor a hop is given


@dataclass(frozen=True)
class Settings:
    """Vectors of a video.

    Attributes:
      layer: path of the layer, such as "stages.3"; empty: the classifier's input.
      per: "clip", or "video": the mean of its clips.
      num_clips: clips per video, spread from end to end; None: 10, or with a `hop` as many as needed.
      num_crops: crops per clip, whose vectors are averaged; None: 1.
      hop: distance from one clip to the next, source frames, instead of a number of clips.
      batch_size: views that go through the network at a time; None: 1 on CPUs, 16 on accelerators.
      step: update number of the checkpoint; None: the best.

    Raises:
      UserError: for both a number of clips and a hop.
    """

    layer: str = ""
    per: str = "clip"
    num_clips: int | None = None
    num_crops: int | None = None
    hop: int | None = None
    batch_size: int | None = None
    step: int | None = None

    def __post_init__(self) -> None:
        if self.hop is not None and self.num_clips is not None:
            raise UserError("give either --num-clips or --hop, which takes as many clips as a video needs")


class _Work:
    """Everything that computes vectors: the same in one process, in one of several, and in a worker of Ray.

    Args:
      run: work directory of a run, or folder written by `convert`.
      out: folder of the index.
      settings: what has a vector.
    """

    def __init__(self, run: str, out: str | Path, settings: Settings):
        self.out, self._settings = out, settings
        hop = settings.hop
        self._predictor = Predictor(
            run,
            num_clips=1 if hop else settings.num_clips or _CLIPS,
            num_crops=settings.num_crops or 1,
            step=settings.step,
            sampling=SamplingConfig(eval="sliding_window", hop=hop) if hop else SamplingConfig(eval="multi_clip"),
        )
        self.origin = origin_of(self._predictor, layer=settings.layer, per=settings.per, step=settings.step)
        batch_size = settings.batch_size or (1 if jax.default_backend() == "cpu" else 16)
        self._each = functools.partial(self._predictor.embed, layer=settings.layer, batch_size=batch_size)

    def do(self, records: Sequence[Record], writer: IndexWriter, advance: Callable[[], None]) -> None:
        """Compute the vectors of videos, and write them shard by shard; `advance` is called after every video."""
        states = {_key(record): file_state(record.path) for record in records}  # as before they are read

        def save(_: int, own: Sequence[Record], rows: list[ClipVectors]) -> None:
            for record, found in zip(own, rows, strict=True):
                size, modified = states[_key(record)]
                video = Video(record.path, record.start, record.end, size, modified, found.error)
                writer.add(video, pooled(found, self._settings.per))
            writer.flush()

        work(
            enumerate(in_shards(records, _SHARD)),
            lambda own: embed_in_parts(own, self._divide, self._each),
            save,
            advance,
            keep_unfinished=True,
        )

    def _divide(self, record: Record) -> list[Record]:
        """Parts of a video that are read one after the other: only windows can be."""
        clip, hop = next(iter(self._predictor.spec.inputs.values())), self._settings.hop
        return parts_of(record, clip, hop) if hop and isinstance(clip, VideoInput) else [record]


def _shard_writer(
    run: str, videos: Sequence[str], out: str, settings: Settings, numbers: np.ndarray
) -> Callable[[int], int]:
    """Function that computes and writes one shard, and returns the number of its videos; for workers of Ray.

    Args:
      run, out, settings: as for `_Work`.
      videos: files, folders and lists.
      numbers: numbers of the videos to embed among those, int64 `(N,)`.
    """
    own, records = _Work(run, out, settings), list_videos(videos)
    shards = list(in_shards(numbers.tolist(), _SHARD))

    def write(shard: int) -> int:
        writer = IndexWriter(out, own.origin, rank=shard, count=len(shards), blind=True)
        own.do([records[i] for i in shards[shard]], writer, lambda: None)
        return len(shards[shard])

    return write


def embed(
    run: str,
    videos: Sequence[str],
    out: str | Path,
    settings: Settings | None = None,
    *,
    rank: int = 0,
    count: int = 1,
    engine: str = "local",
    workers: int = 0,
    as_json: bool = False,
) -> int:
    """Add the vectors of videos to the index `out`; those that are there, of files that have not changed, stay.

    Args:
      run: work directory of a run, or folder written by `convert`.
      videos: video files, folders, CSV files with a column `path`, or JSON Lines.
      out: path or address of the folder of the index, new or made by this command with the same network and settings.
      settings: what has a vector; None: 10 clips of each video.
      rank, count: number of this process, and how many embed the same videos into the same folder, each its share.
      engine: "local": this process; "ray": the workers of a Ray cluster, see `vidjax.parts.ray_engine`. Paths must be
        the same on all of its machines.
      workers: workers of Ray; 0: one per GPU, or per four processors.
      as_json: print JSON instead of text.

    Returns:
      0, or 1 if any video could not be used.

    Raises:
      VectorsError: if `out` has vectors of another network or with other settings, or other files.
      DataError: if `videos` names no videos.
      UserError: if settings cannot be used, pyarrow or Ray is not installed, or processes are given for Ray.
    """
    parquet()
    with_ray, settings = uses_ray(engine, workers, count), settings or Settings()
    records = list_videos(videos)[rank::count]
    own = _Work(run, out, settings)
    alone = count == 1 and not is_remote(str(out))
    with lock(Path(out), "embedding", "folder") if alone else contextlib.nullcontext():
        writer = IndexWriter(out, own.origin, rank=rank, count=count)
        known = writer.known
        numbers = np.array([i for i, record in enumerate(records) if _needs(known, record)], np.int64)
        todo = [records[i] for i in numbers]
        with progress_bar(Console(stderr=True)) as bar:
            task = bar.add_task("embed", total=len(records), completed=len(records) - len(todo), info="")
            try:
                if with_ray and todo:
                    sources = [place(video) for video in videos]
                    make = functools.partial(_shard_writer, place(run), sources, place(str(out)), settings, numbers)
                    for rows in on_ray(make, range(-(-len(todo) // _SHARD)), workers):
                        bar.advance(task, rows)
                    writer = IndexWriter(out, own.origin)  # it reads what the workers have written
                else:
                    own.do(todo, writer, lambda: bar.advance(task))
            except KeyboardInterrupt:
                writer.flush()
                raise KeyboardInterrupt("what was embedded is kept; the same command goes on from there") from None
        index = writer.close()
    return _report(index, records, {_key(record) for record in todo}, as_json)


def list_videos(videos: Sequence[str]) -> list[Record]:
    """List the videos that files, folders and lists name, each once, in their order.

    Raises:
      DataError: if a folder has no videos, or a list cannot be used.
    """
    found: dict[Key, Record] = {}
    for given in videos:
        if Path(given).suffix.lower() in VIDEO_SUFFIXES and not Path(given).is_dir():
            records = [Record(place(given))]
        else:
            rows = read_rows(open_sources(given, "", frozenset(), need_files=False), frozenset())
            records = [Record(place(row.path), start=row.start, end=row.end) for row in rows]
        found |= {_key(record): record for record in records}
    return list(found.values())


def _key(record: Record) -> Key:
    return record.path, record.start, record.end


def _needs(known: dict[Key, Video], record: Record) -> bool:
    """Whether a video is new, has changed, or could not be reached."""
    video = known.get(_key(record))
    if video is None:
        return True
    size, modified = file_state(record.path)
    return (size, modified) != (video.bytes, video.modified) or (size < 0 and bool(video.error))


def _report(index: Index, records: Sequence[Record], fresh: set[Key], as_json: bool) -> int:
    usable = {video.key: number for number, video in enumerate(index.videos)}
    errors = {video.key: video.error for video in index.unusable}
    rows: list[dict[str, Any]] = []
    for record in records:
        key = _key(record)
        row: dict[str, Any] = {"path": record.path}
        row |= {} if record.start is None and record.end is None else {"start": record.start, "end": record.end}
        if key in errors:
            row |= {"status": "unreadable", "reason": errors[key]}
        else:
            own = index.rows(usable[key])
            row |= {"status": "embedded" if key in fresh else "unchanged", "vectors": own.stop - own.start}
        rows.append(row)
    bad = [row for row in rows if row["status"] == "unreadable"]
    counts = {name: sum(row["status"] == name for row in rows) for name in ("embedded", "unchanged", "unreadable")}
    if as_json:
        summary = counts | {"index": str(index.folder), "model": index.origin.words, "vectors": len(index.vectors)}
        print(json.dumps(summary | {"width": index.origin.width, "videos": rows}, indent=2, ensure_ascii=False))
        return int(bool(bad))
    console = Console()
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    total = f"{things(len(index.vectors), 'vector')} of {things(len(index.videos), 'video')}"
    console.print(f"{told}; {index.folder} has {total}, {index.origin.width} numbers each", highlight=False)
    for row in bad[:_LISTED]:
        console.print(f"[yellow]unreadable:[/] {row['path']}: {row['reason']}", highlight=False, soft_wrap=True)
    if len(bad) > _LISTED:
        console.print(f"[yellow]… and {len(bad) - _LISTED} more; --json lists all[/]")
    return int(bool(bad))
