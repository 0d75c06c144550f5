"""Shards of a data set during its preparation: assignment of videos to shards, and their encoding.

Nothing here needs TFDS, so that encoding processes stay small.
"""

import hashlib
import itertools
import json
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from typing import Any

from etils import epath

from vidjax.data.listing.json_lines import write_annotation
from vidjax.data.prepared.encode import Encoding, encode
from vidjax.data.records import Annotation, Boxes, Labels, Record, Segments, VideoSet, map_classes
from vidjax.data.text import DataError
from vidjax.video import VideoError
from vidjax.video.byte_sources import file_system, is_remote

_JPEG_GROWTH = 4  # approximate size of JPEG frames relative to the file

Example = dict[str, Any]
Outcome = Example | VideoError


@dataclass(frozen=True)
class Item:
    """Video to store."""

    record: Record
    source: str  # path from the common root
    size: int  # bytes of the file
    annotation: Annotation[str] | None = None  # with class names, and relative to the stored part


# Assignment of videos.


def plan(videos: VideoSet, encoding: Encoding, shard_bytes: int) -> list[list[Item]]:
    """Divide the videos, in order, into shards of about `shard_bytes`."""
    paths = [r.path if is_remote(r.path) else os.path.abspath(r.path) for r in videos.records]
    # Character by character, cut at a slash: commonpath would merge the two slashes of an address.
    root = os.path.commonprefix([f"{os.path.dirname(path)}/" for path in paths]).rpartition("/")[0]  # noqa: RUF071
    limit = shard_bytes // _JPEG_GROWTH if encoding.jpeg else shard_bytes
    shards: list[list[Item]] = [[]]
    filled = 0
    for record, path in zip(videos.records, paths, strict=True):
        size = _size(path)
        if shards[-1] and filled + size > limit:
            shards.append([])
            filled = 0
        annotation = map_classes(record.annotation, videos.labels.names.__getitem__)
        if encoding.jpeg and record.start is not None:
            annotation = _earlier(annotation, record.start)
        shards[-1].append(Item(record, path[len(root) :].lstrip("/"), size, annotation))
        filled += size
    return shards


def _earlier(annotation: Annotation | None, seconds: float) -> Annotation | None:
    """Annotation of a video after removing its first seconds."""
    match annotation:
        case Boxes():
            return replace(annotation, at=max(annotation.at - seconds, 0.0))
        case Segments(spans):
            return replace(annotation, spans=_spans_earlier(spans, seconds))
        case Labels(spans=spans) if spans is not None:
            return replace(annotation, spans=_spans_earlier(spans, seconds))
    return annotation


def _spans_earlier(spans: Sequence[tuple[float, float, Any]], seconds: float) -> tuple[tuple[float, float, Any], ...]:
    left = ((max(start - seconds, 0.0), end - seconds, name) for start, end, name in spans)
    return tuple(span for span in left if span[1] > 0)


def _size(path: str) -> int:
    """Size of a file or folder of images, bytes; 0 if it does not exist, which encoding will report."""
    try:
        if is_remote(path):
            files, inner = file_system(path)
            return files.size(inner) or 0
        return sum(e.stat().st_size for e in os.scandir(path)) if os.path.isdir(path) else os.path.getsize(path)
    except (OSError, VideoError):
        return 0


def fingerprint(splits: dict[str, VideoSet], shards: dict[str, list[list[Item]]], encoding: Encoding) -> str:
    """Hash by which shards belong together: same unchanged videos, same annotations, same encoding."""
    sets = [
        (s, v.labels.names, v.labels.several, v.labels.directional, sorted(v.labels.mirrored.items()))
        for s, v in splits.items()
    ]
    whole: list[Any] = [encoding.settings(), sets]
    for name, parts in shards.items():
        for number, item in ((i, item) for i, part in enumerate(parts) for item in part):
            changed = os.stat(item.record.path).st_mtime_ns if os.path.exists(item.record.path) else 0
            known = {"record": _known(item.record), "source": item.source, "size": item.size}
            whole.append([name, number, known, changed])
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def _known(record: Record) -> dict[str, Any]:
    """Contents of a record, in the form used since records had only labels."""
    known = {"path": record.path, "labels": record.labels, "group": record.group}
    known |= {"start": record.start, "end": record.end}
    if record.annotation is not None and not (isinstance(record.annotation, Labels) and record.annotation.plain):
        known |= {"at": record.at, record.annotation.kind: asdict(record.annotation)}
    return known


# Encoding.


def attempt(item: Item, encoding: Encoding, timeout: float) -> Outcome:
    """Example of a video, with its labels as `label` or an annotation of another kind as JSON, or the error that
    prevents it."""
    record = item.record
    try:
        stored = encode(record.path, encoding, segment=(record.start, record.end), timeout=timeout)
    except VideoError as error:
        return error
    except OSError as error:
        return VideoError(record.path, f"cannot be read ({error})", "check the disk")
    stored |= {"source": item.source, "group": record.group}
    if isinstance(record.annotation, Labels):
        return stored | {"label": list(record.labels)}
    assert item.annotation is not None  # records have one
    return stored | {"annotation": json.dumps(write_annotation(item.annotation), ensure_ascii=False)}


def encode_ahead(
    items: Sequence[Item], encoding: Encoding, timeout: float, num_workers: int
) -> Generator[Outcome, None, None]:
    """Encode items in order, with a few per process in memory.

    Raises:
      DataError: if a process dies; names the videos that may have caused it.
    """
    if num_workers <= 1:
        yield from (attempt(item, encoding, timeout) for item in items)
        return
    # Spawned, not forked: the caller's threads (such as JAX's) do not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, mp_context=spawn, initializer=_end_with_parent) as pool:
        waiting: deque = deque()
        todo = iter(items)
        try:
            while True:
                for item in itertools.islice(todo, 2 * num_workers - len(waiting)):
                    waiting.append((item, pool.submit(attempt, item, encoding, timeout)))
                if not waiting:
                    return
                yield waiting[0][1].result()
                waiting.popleft()
        except BrokenProcessPool:
            suspects = ", ".join(item.record.path for item, _ in waiting)
            raise DataError(
                f"an encoding process was killed, for lack of memory or by one of {suspects}; use fewer --workers or "
                "leave that video out, and repeat the command to continue"
            ) from None
        except GeneratorExit:
            pool.shutdown(cancel_futures=True)
            raise


def _end_with_parent() -> None:
    """End the process with its parent, as an idle process of a pool would wait forever."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None  # this is a process of a pool
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


# One shard.


@dataclass(frozen=True)
class Shard:
    """Examples of one shard for TFDS to write; called once, wherever the shard is written."""

    split: str
    items: Sequence[Item]
    encoding: Encoding
    timeout: float
    report: str  # file for the outcomes of the items
    many: bool  # whether videos have several labels

    def __call__(self) -> Iterator[tuple[int, Example]]:
        return self.examples(attempt(item, self.encoding, self.timeout) for item in self.items)

    def examples(self, outcomes: Iterator[Outcome]) -> Iterator[tuple[int, Example]]:
        """Pairs of key and example for readable items; reasons for the others go into the report."""
        reasons: list[str | None] = []
        for key, outcome in zip(range(len(self.items)), outcomes, strict=False):
            if isinstance(outcome, VideoError):
                reasons.append(outcome.reason)
                continue
            reasons.append(None)
            if (labels := outcome.pop("label", None)) is not None:
                outcome |= {"labels": labels} if self.many else {"label": labels[0]}
            yield key, outcome
        epath.Path(self.report).write_text(json.dumps(reasons))

    def reasons(self) -> list[str | None]:
        """Reason for each item that is not stored; None: it is."""
        return json.loads(epath.Path(self.report).read_text())
