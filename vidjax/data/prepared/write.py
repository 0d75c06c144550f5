"""Writing a data set as ArrayRecord shards, through a TFDS builder: on one machine or with Beam.

TFDS names and describes the shards; the assignment of videos to shards depends only on their order and size. On one
machine, other processes encode ahead while this one writes; a finished shard is kept in `.parts`, so that a killed run
continues with the first missing shard. With Beam, every shard is a task of TFDS's own pipeline.
"""

import contextlib
import fcntl
import itertools
import json
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath

from vidjax.data.listing.rows import Row
from vidjax.data.prepared.encode import Encoding
from vidjax.data.prepared.read import INDEX, PARTS, Prepared, read_info, write_index
from vidjax.data.prepared.shards import Example, Item, Outcome, Shard, encode_ahead, fingerprint, plan
from vidjax.data.reading.open_video import address
from vidjax.data.records import Labels, Masks, VideoSet
from vidjax.data.text import DataError
from vidjax.errors import install

SHARD_BYTES = 256 << 20  # of video files per shard
_VERSION = "1.0.0"


@dataclass(frozen=True)
class Result:
    """Outcome of preparing a data set."""

    folder: str  # folder of the version, TFDS's data_dir
    stored: int  # number of videos stored
    bad: tuple[tuple[str, str], ...]  # path and reason of unreadable videos
    fresh: bool = True  # False: it already existed


def prepare(
    splits: dict[str, VideoSet],
    out: str | os.PathLike,
    encoding: Encoding,
    *,
    num_workers: int = 1,
    beam_options: Sequence[str] | None = None,
    shard_bytes: int = SHARD_BYTES,
    timeout: float = 60.0,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Result:
    """Write `splits` as the TFDS data set `out`, version 1.0.0, unless it already exists.

    Unreadable videos are omitted from training and listed in `bad_records.jsonl`; in other splits they stay in the
    index, so that evaluation counts them as not covered.

    Args:
      splits: sets of videos by name, such as train and validation, all with the same classes.
      out: folder, whose last part is the name of the data set: lower-case letters, digits and "_".
      encoding: encoding of the videos.
      num_workers: number of encoding processes; 1: this one.
      beam_options: flags of a Beam pipeline without dashes, including `runner=…`; None: this machine, without Beam.
      shard_bytes: size of a shard, bytes; JPEG frames are estimated from the size of their source files.
      timeout: time limit of opening a video, and of reading 64 frames of it, seconds.
      advance: callback with the number of finished videos and their total.

    Raises:
      DataError: if `out` holds another data set, another process is writing it, no video of a split can be read, or
        annotations cannot be stored.
    """
    _kind(splits)
    out = epath.Path(os.fspath(out)).expanduser().absolute()
    if not re.fullmatch(r"[a-z][a-z0-9_]*", out.name):
        fitting = re.sub(r"[^a-z0-9_]+", "_", out.name.lower()).strip("_0123456789") or "videos"
        raise DataError(f"{out}: TFDS allows a-z, 0-9 and _ in the name of a data set; give {out.parent / fitting}")
    shards = {name: plan(videos, encoding, shard_bytes) for name, videos in splits.items()}
    info = {"encoding": encoding.settings(), "fingerprint": fingerprint(splits, shards, encoding)}
    with _lock(out) if beam_options is None else contextlib.nullcontext():
        if (done := _already_there(out, info)) is not None:
            return done
        for stale in out.glob("incomplete.*"):  # left behind by a killed run
            stale.rmtree()
        builder = _Builder(out, splits, shards, info, encoding, timeout)
        if beam_options is None:
            with _local(builder, num_workers, advance):
                builder.download_and_prepare()
            (out / PARTS).rmtree()
        else:
            config = tfds.download.DownloadConfig(**_beam(beam_options))
            builder.download_and_prepare(download_config=config)
    return _result(builder.data_dir)


def _kind(splits: dict[str, VideoSet]) -> str:
    """Kind of all annotations."""
    kinds = {r.annotation.kind if r.annotation else "" for videos in splits.values() for r in videos.records}
    if len(kinds) > 1 or kinds & {"", Masks.kind}:
        found = ", ".join(sorted(kind or "no annotation" for kind in kinds))
        raise DataError(f"a prepared data set holds annotations of one kind, and no masks; the videos have {found}")
    return kinds.pop() if kinds else Labels.kind


@contextlib.contextmanager
def _lock(out: epath.Path) -> Generator[None, None, None]:
    """Lock a data set against a second writer. The lock is released whenever its process ends."""
    out.mkdir(parents=True, exist_ok=True)
    with open(out / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{out}: another process is preparing this data set; wait for it, or end it") from None
        yield


def _already_there(out: epath.Path, info: dict[str, Any]) -> Result | None:
    folder = out / _VERSION
    if not folder.exists():
        return None
    if read_info(folder).get("fingerprint") != info["fingerprint"]:
        raise DataError(f"{out}: holds a data set prepared from other videos or settings; give another folder")
    if (out / PARTS).exists():
        (out / PARTS).rmtree()
    return _result(folder, fresh=False)


def _result(folder: str | os.PathLike, fresh: bool = True) -> Result:
    entries = json.loads((epath.Path(folder) / INDEX).read_text())["entries"]
    with open(epath.Path(folder) / "bad_records.jsonl", encoding="utf-8") as lines:
        bad = tuple((line["path"], line["reason"]) for line in map(json.loads, lines))
    return Result(os.fspath(folder), sum(entry[2] is not None for entry in entries), bad, fresh)


class _Writer(tfds.core.ExampleWriter):
    """Writer of uncompressed ArrayRecords: videos and JPEGs do not get smaller, but decompression would take time."""

    def __init__(self):
        super().__init__(tfds.core.FileFormat.ARRAY_RECORD)

    def write(self, path: os.PathLike, examples: Iterator[tuple[int, bytes]]) -> None:
        writer = ArrayRecordWriter(os.fspath(path), "group_size:1,uncompressed")
        for _, example in examples:
            writer.write(example)
        writer.close()


class _ResumableWriter(_Writer):
    """Writer that stores each shard under another name first, where the next run finds it if this one is killed."""

    def __init__(self, parts: epath.Path):
        super().__init__()
        self._parts = parts

    def is_done(self, name: str) -> bool:
        return (self._parts / name).exists()

    def write(self, path: os.PathLike, examples: Iterator[tuple[int, bytes]]) -> None:
        part = self._parts / os.path.basename(path)
        if not part.exists():
            unfinished = part.with_name(f"{part.name}.unfinished")
            super().write(unfinished, examples)
            with open(unfinished, "rb") as file:
                os.fsync(file.fileno())
            unfinished.rename(part)
        try:
            os.link(part, path)
        except OSError:  # a file system without links
            shutil.copyfile(part, path)


class _Builder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """TFDS builder of one data set of videos.

    It is shard-based because other builders sort their examples in a buffer that needs TensorFlow beyond 1 GB.
    """

    VERSION = tfds.core.Version(_VERSION)
    code_path = None  # TFDS would look for download checksums beside this file

    def __init__(
        self,
        out: epath.Path,
        splits: dict[str, VideoSet],
        shards: dict[str, list[list[Item]]],
        info: dict[str, Any],
        encoding: Encoding,
        timeout: float,
    ):
        self.name = out.name
        self.out, self._sets, self._how = out, splits, info
        self._videos, self.kind = next(iter(splits.values())), _kind(splits)
        self.encoding, self.timeout, self.items = encoding, timeout, shards
        self.writer: _ResumableWriter | None = None  # only on one machine
        self.outcomes: Iterator[Outcome] | None = None  # items of unfinished shards, if other processes encode them
        self.advance: Callable[[int], None] = lambda count: None
        super().__init__(data_dir=os.fspath(out.parent), file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        classes = tfds.features.ClassLabel(names=self._videos.labels.names)
        many = self._videos.labels.several
        # TFDS's Video feature is the same on disk, but needs TensorFlow.
        frames = tfds.features.Sequence(tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"))
        known = {"labels": tfds.features.Sequence(classes)} if many else {"label": classes}
        if self.kind != Labels.kind:
            known = {"annotation": tfds.features.Text(doc="As in a line of JSON Lines.")}
        features = {
            "video": frames if self.encoding.jpeg else tfds.features.Text(doc="The file, byte by byte."),
            **known,
            "fps": tfds.features.Scalar(np.float32, doc="Frames per second."),
            "num_frames": tfds.features.Scalar(np.int64),
            "source": tfds.features.Text(doc="Path of the file, from the folder that all have in common."),
            "group": tfds.features.Text(doc="Videos of one origin share it."),
        }
        if self.encoding.flow:
            field = tfds.features.Image(shape=(None, None, 1), encoding_format="jpeg")
            features |= {
                "flow": tfds.features.Sequence(field, doc="From each frame to the next: x above y, 8 bits."),
                "flow_method": tfds.features.Text(doc="Algorithm."),
                "flow_bound": tfds.features.Scalar(np.float32, doc="Motion in pixels that is stored as 255."),
            }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def shards(self) -> dict[str, list[Shard]]:
        """Shards of each split; the outcomes of their items are reported in files that outlive this run."""
        reports = self.out / PARTS if self.writer else self.data_path
        many, settings = self._videos.labels.several, (self.encoding, self.timeout)
        return {
            split: [Shard(split, part, *settings, f"{reports}/{split}-{i:05d}.json", many) for i, part in enumerate(p)]
            for split, p in self.items.items()
        }

    def unfinished(self) -> Iterator[Item]:
        """Items of the shards that are still to be written, in order."""
        for split, shards in self.shards().items():
            for number, shard in enumerate(shards):
                if not self._done(split, number):
                    yield from shard.items

    def _done(self, split: str, number: int) -> bool:
        path = self._get_filename_template(split).sharded_filepath(
            shard_index=number, num_shards=len(self.items[split])
        )
        return self.writer is not None and self.writer.is_done(path.name)

    def _example_writer(self) -> tfds.core.ExampleWriter:
        return self.writer or _Writer()

    def _shard_iterators_per_split(self, dl_manager: Any) -> Mapping[str, Sequence[Callable]]:
        shards = self.shards()
        if self.writer is None:
            return shards
        return {
            split: [self._local_examples(shard, self._done(split, number)) for number, shard in enumerate(parts)]
            for split, parts in shards.items()
        }

    def _local_examples(self, shard: Shard, done: bool) -> Callable[[], Iterator[tuple[int, Example | None]]]:
        def examples() -> Iterator[tuple[int, Example | None]]:
            if done:  # TFDS counts the examples; the writer ignores them
                self.advance(len(shard.items))
                yield from ((i, None) for i, reason in enumerate(shard.reasons()) if reason is None)
            else:
                yield from shard.examples(self._counted(shard))

        return examples

    def _counted(self, shard: Shard) -> Iterator[Outcome]:
        assert self.outcomes is not None  # shards are encoded elsewhere
        for outcome in itertools.islice(self.outcomes, len(shard.items)):
            self.advance(1)
            yield outcome

    def _download_and_prepare(self, dl_manager: Any, download_config: Any = None) -> None:
        super()._download_and_prepare(dl_manager, download_config)
        rows, bad, infos = [], [], []
        for split, shards in self.shards().items():
            lengths, found = self._collect(split, shards, bad)
            rows += found
            if not sum(lengths):
                raise DataError(f"none of the {len(found) or len(bad)} {split} videos can be read, the last one "
                                f"{bad[-1][0]}: {bad[-1][1]}")  # fmt: skip
            # Beam returns shards sorted by their numbers as text, 10 before 2.
            old = self.info.splits[split]
            infos.append(tfds.core.SplitInfo(split, lengths, old.num_bytes, old.filename_template))
        self.info.set_splits(tfds.core.SplitDict(infos))
        if self.writer is None:  # otherwise they are among the parts
            reports = [epath.Path(s.report) for shards in self.shards().values() for s in shards]
            for file in (*reports, *self.data_path.glob("*.shard_infos.json")):
                file.unlink()
        index = Prepared(os.fspath(self.data_path), tuple(rows), self._videos.labels, self.kind, self._how)
        write_index(self.data_path / INDEX, index)
        lines = (json.dumps({"path": path, "reason": reason}) + "\n" for path, reason in bad)
        (self.data_path / "bad_records.jsonl").write_text("".join(lines))

    def _collect(self, split: str, shards: list[Shard], bad: list[tuple[str, str]]) -> tuple[list[int], list[Row]]:
        lengths, rows = [], []
        for shard in shards:
            first = sum(lengths)
            reasons = shard.reasons()
            lengths.append(reasons.count(None))
            numbers = itertools.count(first)
            for item, reason in zip(shard.items, reasons, strict=True):
                record = item.record
                if reason is not None:
                    bad.append((record.path, reason))
                    if split == "train":
                        continue
                start, end, at = record.start, record.end, record.at
                if self.encoding.jpeg:  # only the part is stored
                    start, end, at = None, None, at if at is None else max(at - (start or 0.0), 0.0)
                path = address(self.data_path, split, next(numbers) if reason is None else None, item.source)
                rows.append(Row(path, path, item.annotation, split, record.group, start, end, at))
        return lengths, rows

    # TFDS would print both.

    def _log_download_bytes(self) -> None:
        pass

    def _log_download_done(self) -> None:
        pass


@contextlib.contextmanager
def _local(builder: _Builder, num_workers: int, advance: Callable[[int, int], None]) -> Generator[None, None, None]:
    """Let `builder` keep finished shards, and feed it the examples encoded by `num_workers` processes."""
    parts = builder.out / PARTS
    plan = parts / "plan.json"
    if not plan.exists() or plan.read_text() != builder._how["fingerprint"]:
        if parts.exists():
            parts.rmtree()  # left from other videos or settings
        parts.mkdir()
        plan.write_text(builder._how["fingerprint"])
    builder.writer = _ResumableWriter(parts)
    total = sum(len(part) for shards in builder.items.values() for part in shards)
    done = 0

    def count(videos: int) -> None:
        nonlocal done
        done += videos
        advance(done, total)

    builder.advance = count
    outcomes = encode_ahead(list(builder.unfinished()), builder.encoding, builder.timeout, num_workers)
    builder.outcomes = outcomes
    with contextlib.closing(outcomes):
        yield


def _beam(options: Sequence[str]) -> dict[str, Any]:
    try:
        from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    except ModuleNotFoundError:
        raise DataError(f"Apache Beam is not installed: {install('beam')}") from None
    flags = PipelineOptions(flags=[f"--{option.lstrip('-')}" for option in options])
    if not (runner := flags.view_as(StandardOptions).runner):
        raise DataError("Beam: give its runner, such as runner=DirectRunner")
    return {"beam_runner": runner, "beam_options": flags}
