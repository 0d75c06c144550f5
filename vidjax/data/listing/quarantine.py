"""Quarantine: lists of videos that are not opened, and their effect on training and evaluation.

A list is the CSV report of `python -m vidjax check` (its videos that are not ok), any CSV with a column `path` (all of
its videos), the `bad_records.jsonl` of an earlier run, or a work directory or prepared data set that contains one.
Training omits these videos entirely. Evaluation does not open them either, but counts them as unreadable, so that its
coverage shows them.
"""

import csv
import io
import json
import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from vidjax.config import DataConfig
from vidjax.data.listing import union as sources
from vidjax.data.listing.json_document import read_text
from vidjax.data.reading.open_video import is_address
from vidjax.data.records import Record, VideoSet
from vidjax.data.text import DataError, raise_problems

logger = logging.getLogger("vidjax")

BAD_RECORDS = "bad_records*.jsonl"  # each process of a run writes one


@dataclass
class Quarantine:
    """Quarantined videos and parts of videos, with reasons.

    Attributes:
      name: value of the setting, for messages.
      files: reasons for whole files, by absolute path.
      parts: reasons for parts, by (absolute path, start, end, key time).
    """

    name: str = ""
    files: dict[str, str] = field(default_factory=dict)
    parts: dict[tuple[str, float | None, float | None, float | None], str] = field(default_factory=dict)

    def reason(self, record: Record) -> str | None:
        """Reason why a record is quarantined; None: it is not."""
        path = _absolute(record.path)
        return self.files.get(path) or self.parts.get((path, record.start, record.end, record.at))

    def __len__(self) -> int:
        return len(self.files) + len(self.parts)


def read(config: DataConfig) -> Quarantine:
    """Read the lists of `config.quarantine`; relative paths start from the current folder, `config.root` or the list's
    own folder, whichever has the file.

    Raises:
      DataError: if a list does not exist or has no paths; names the line.
    """
    listed = Quarantine(config.quarantine)
    for source in sources.names(config.quarantine) if config.quarantine else ():
        path = Path(source).expanduser()
        files = sorted(path.glob(BAD_RECORDS)) if path.is_dir() else [path]
        if not files:
            raise DataError(f"config.data.quarantine: {source} has no bad_records.jsonl: were no videos bad there?")
        for file in files:
            if not file.is_file():
                raise DataError(f"config.data.quarantine: {file}: no such file")
            rows = _read_lines(file) if file.suffix in (".jsonl", ".json") else _read_csv(file)
            for video, reason, *part in rows:
                where = _find(video, [Path(), Path(config.root).expanduser(), file.parent])
                if part == [None, None, None]:
                    listed.files[where] = reason
                else:
                    start, end, at = part
                    listed.parts[where, start, end, at] = reason
    return listed


def leave_out(videos: VideoSet, listed: Quarantine) -> VideoSet:
    """Remove quarantined videos from a training set.

    Raises:
      DataError: if no video is left.
    """
    if not len(listed):
        return videos
    keep = [i for i, record in enumerate(videos.records) if listed.reason(record) is None]
    if not keep:
        raise DataError(f"config.data.quarantine = {listed.name!r} lists every training video")
    gone = len(videos) - len(keep)
    log = logger.info if gone else logger.warning
    log("%d of %d training videos are left out: config.data.quarantine = %r", gone, len(videos), listed.name)
    records = tuple(videos.records[i] for i in keep)
    bare = {videos.labels.names[k] for r in videos.records for k in r.labels} - {
        videos.labels.names[k] for r in records for k in r.labels
    }
    if bare:
        logger.warning("no training videos are left of %s", ", ".join(sorted(bare)))
    return replace(videos, records=records, sources=tuple(videos.sources[i] for i in keep if videos.sources))


def mark(videos: VideoSet, listed: Quarantine) -> VideoSet:
    """Mark quarantined videos of an evaluation set, which are not opened and count as unreadable."""
    reasons = {i: reason for i, r in enumerate(videos.records) if (reason := listed.reason(r)) is not None}
    return replace(videos, quarantined={i: f"in quarantine ({reason})" for i, reason in reasons.items()})


_Entry = tuple[str, str, float | None, float | None, float | None]  # path, reason, start, end, key time


def _read_lines(file: Path) -> list[_Entry]:
    found, problems = [], []
    lines = read_text(file).splitlines()
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            found.append((str(values["path"]), str(values.get("reason", "listed")), None, None, None))
        except (ValueError, TypeError, KeyError, AttributeError):
            if number < len(lines):  # the last line of a run that was killed may be cut off
                problems.append(f'{file}:{number}: must be {{"path": …, "reason": …}}')
    raise_problems(problems)
    return found


def _read_csv(file: Path) -> list[_Entry]:
    found = []
    with io.StringIO(read_text(file), newline="") as text:
        reader = csv.DictReader(text)
        if "path" not in (columns := [c.strip() for c in reader.fieldnames or ()]):
            raise DataError(f"{file}:1: a list of videos to quarantine must have a column path")
        reader.fieldnames = columns
        for cells in reader:
            status = (cells.get("status") or "").strip()
            path = (cells["path"] or "").strip()
            if status == "ok" or not path:
                continue
            reason = ": ".join(filter(None, (status, (cells.get("reason") or "").strip()))) or "listed"
            try:
                start, end, at = (float(cells[c]) if cells.get(c) else None for c in ("start", "end", "at"))
            except ValueError:
                raise DataError(f"{file}:{reader.line_num}: start, end and at must be seconds") from None
            found.append((path, reason, start, end, at))
    return found


def _find(path: str, folders: list[Path]) -> str:
    if is_address(path) or "://" in path:
        return path
    places = [folder / path for folder in folders]
    return _absolute(str(next((place for place in places if place.exists()), places[0])))


def _absolute(path: str) -> str:
    return path if is_address(path) or "://" in path else os.path.realpath(path)
