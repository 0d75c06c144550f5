"""Check of every video of a data set before training: missing, unreadable and too short ones."""

import csv
import functools
import os
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from vidjax.config import DataConfig, with_settings
from vidjax.config.choices import UNSTRIDED_RULES
from vidjax.data.audit.key_frames import ANYWHERE, KeyFrames
from vidjax.data.audit.segment_checks import outside, training_labels, unknown_labels
from vidjax.data.listing.datasets import folder_fps
from vidjax.data.listing.load import list_videos
from vidjax.data.listing.rows import Row
from vidjax.data.reading.clips import segment_frames
from vidjax.data.reading.feature_file import SUFFIXES, FeatureFile, read_feature_file
from vidjax.data.reading.open_video import FrameReader, is_address, open_video
from vidjax.data.records import LABELS, Segments
from vidjax.data.text import DataError
from vidjax.inputs import VideoInput
from vidjax.progress import progress_bar
from vidjax.video import VideoError, VideoReader
from vidjax.video.byte_sources import exists
from vidjax.wording import things

STATUSES = ("ok", "missing", "unreadable", "incomplete", "too short", "wrong annotation", "wrong fps")
COLUMNS = ("path", "status", "frames", "fps", "width", "height", "start", "end", "at", "reason", "listed_at")
_SHOWN = 20  # most problems printed; the report has all
_SECTIONS = {"num_frames": "clip.", "stride": "clip.", "fps": "clip.", "timeout": "reading."}  # by argument
_CHUNK = 64  # frames decoded at a time
_SLACK = 0.02  # share by which an intact file may be shorter than its header says; some headers count a frame too many


# Rows → expectations of their key frames, None if there are none, and problems of the annotations.
Annotations = Callable[[Sequence[Row]], tuple[KeyFrames | None, list[str]]]


@dataclass(frozen=True)
class Finding:
    """Result of the check of one row of the annotations."""

    row: Row
    status: str  # one of `STATUSES`
    reason: str = ""
    frames: int | None = None  # in the listed part
    fps: float | None = None
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class Check:
    """Criteria of the check.

    Attributes:
      num_frames: T, frames per clip; videos with fewer frames than a clip spans are too short. 1: none is.
      stride: τ, distance in source frames between two frames of a clip.
      fps: frames per second of the clip, in place of a stride; 0: use `stride`.
      decode: whether to decode every frame, instead of counting frames and decoding the first.
      timeout: time after which a stalled decoder is killed, seconds.
      key_frames: expectations of annotated key frames.
    """

    num_frames: int = 1
    stride: int = 1
    fps: float = 0.0
    decode: bool = False
    timeout: float = 60.0
    key_frames: KeyFrames = ANYWHERE

    def look(self, path: str, rows: Sequence[Row], rate: float = 25.0) -> list[Finding]:
        """Check one file, opened once for all its `rows`; `rate` is the frames/s of a folder of images."""
        try:
            if path.partition("#")[0].lower().endswith(SUFFIXES):
                return [self._judge_features(read_feature_file(path), row) for row in rows]
            with open_video(path, timeout=self.timeout, folder_fps=rate) as reader:
                if self.decode:
                    for first in range(0, len(reader), _CHUNK):
                        reader.read(range(first, min(first + _CHUNK, len(reader))), resize=(16, 16))
                else:
                    reader.read([0], resize=(16, 16))
                return [self._judge(reader, row) for row in rows]
        except VideoError as error:
            status = "unreadable" if is_address(path) or _exists(path) else "missing"
            return [Finding(row, status, error.reason) for row in rows]

    def _judge(self, reader: VideoReader | FrameReader, row: Row) -> Finding:
        seconds = None if is_address(reader.path) else reader.stated_duration
        if seconds is not None and seconds - reader.duration > max(_SLACK * seconds, 2.5 / reader.fps):
            reason = f"cut off: {reader.duration:.2f} s, {seconds:.2f} s by its header"
            return Finding(row, "incomplete", reason, len(reader), reader.fps, reader.width, reader.height)
        _, frames = segment_frames(reader.timestamps, (row.start, row.end))
        step = reader.fps / self.fps if self.fps else self.stride
        span = int((self.num_frames - 1) * step + 0.5) + 1
        reason = f"{things(frames, 'frame')}, a clip spans {span}" if frames < span else ""
        status = "too short" if reason else "ok"
        if not reason and (reason := outside(row, reader.duration)):
            status = "wrong annotation"
        status, reason = self.key_frames.judge(reader, row) or (status, reason)
        return Finding(row, status, reason, frames, reader.fps, reader.width, reader.height)

    @staticmethod
    def _judge_features(file: FeatureFile, row: Row) -> Finding:
        duration = file.duration or (row.annotation.duration if isinstance(row.annotation, Segments) else None)
        reason = outside(row, duration) if duration else ""
        return Finding(row, "wrong annotation" if reason else "ok", reason, len(file.vectors))


def read_check(
    data: str | None, argv: Sequence[str], *, decode: bool = False, **given: int | float | str | None
) -> tuple[DataConfig, Check, frozenset[str], Annotations]:
    """Read the requirements of a training with the settings `argv` on its videos.

    Args:
      data: replacement for `data.train`; None: that of the config.
      argv: `--config=FILE` and `--config.field=value`, as for train.py.
      decode: whether to decode every frame, as in `Check`.
      given: settings of `data` or `data.clip`, or the `timeout`, that replace the config's, unless None.

    Returns:
      The data settings, the criteria of the check, the kinds of annotations required, and the check of these. If no
      sampling rule has a stride, a video needs only as many frames as a clip has.

    Raises:
      ConfigError: if settings cannot be used.
    """
    from vidjax.config.files import read_config
    from vidjax.config.spec import resolve_spec
    from vidjax.config.validate import validate
    from vidjax.models.registry import get_spec  # it loads JAX, which is not needed without settings
    from vidjax.tasks import check_annotations, kinds_of

    config = read_config(argv, data)
    given = {_SECTIONS.get(name, "") + name: value for name, value in given.items() if value is not None}
    if "clip.stride" in given:  # a rate would override it
        given = {"clip.fps": 0.0} | given
    config.data = with_settings(config.data, given)
    config = validate(config)
    published = get_spec(config.model.name)
    annotations = functools.partial(check_annotations, config, published.task)
    spec = resolve_spec(published, config.data, config.model.input)
    annotations = functools.partial(check_annotations, config, published.task)
    if not any(isinstance(value, VideoInput) for value in spec.inputs.values()):
        how = Check(decode=decode, timeout=config.data.reading.timeout)
        return config.data, how, kinds_of(published.task), annotations
    rules = {config.data.sampling.train, config.data.sampling.eval}
    pace = (1, 0.0) if rules <= set(UNSTRIDED_RULES) else (spec.video.stride, spec.video.fps or 0.0)
    how = Check(spec.video.num_frames, *pace, decode, config.data.reading.timeout)
    return config.data, how, kinds_of(published.task), annotations


def check(
    config: DataConfig,
    how: Check,
    *,
    kinds: frozenset[str] = LABELS,
    annotations: Annotations | None = None,
    out: str | Path = "check.csv",
    workers: int = 0,
    console: Console | None = None,
) -> int:
    """Open every video that `config` lists, and write the CSV report `out`, a line per video in the order of the list.

    Args:
      config: data settings; `train`, `eval`, `root`, `dataset` and `split` are used.
      how: criteria of the check.
      kinds: kinds of annotations required; empty: a CSV needs no labels, and a folder no subfolders.
      annotations: check of the annotations, as `vidjax.tasks.check_annotations`: expectations of key frames, and
        problems, which are printed; None: there is none.
      out: path of the report; rows are written as they are found, so that an interrupted check keeps its results.
      workers: number of videos checked in parallel; 0: the number of processor cores.
      console: console for progress and findings; None: standard output, with the bar on standard error.

    Returns:
      0 if all videos are in order, 1 if any is missing, unreadable or too short, or has wrong annotations, such as
      segments or key frames outside of it, or labels that training does not have.

    Raises:
      DataError: if the annotations cannot be used.
    """
    if not (config.train or config.eval):
        raise DataError("give the videos to check: a CSV file or folder, or a config that names one")
    rows = list_videos(config, kinds)
    if not rows:
        raise DataError(f"{config.train}: lists no videos")
    strange = unknown_labels(rows, training_labels(rows))
    counts: Counter[str] = Counter()
    output = console or Console()
    expected, wrong = annotations(rows) if annotations else (None, [])
    how = replace(how, key_frames=expected) if expected else how
    for line in wrong:
        output.print(f"annotations: {line}", highlight=False, markup=False, soft_wrap=True)
    with open(out, "w", newline="", encoding="utf-8") as file:
        report = csv.writer(file)
        report.writerow(COLUMNS)
        with progress_bar(console or Console(stderr=True)) as bar:
            task = bar.add_task("check", total=len(rows), info="")
            for finding in _findings(rows, how, folder_fps(config), workers or os.cpu_count() or 1):
                if finding.status == "ok" and finding.row in strange:
                    finding = replace(finding, status="wrong annotation", reason=strange[finding.row])
                counts[finding.status] += 1
                report.writerow(_row(finding))
                problems = counts.total() - counts["ok"]
                if finding.status != "ok" and problems <= _SHOWN:
                    bar.console.print(
                        f"{finding.status}: {finding.row.path} ({finding.reason})", highlight=False, markup=False,
                        soft_wrap=True,
                    )  # fmt: skip
                bar.update(task, advance=1, info=things(problems, "problem") if problems else "")
    found = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status] or status == "ok")
    mend = f"; --config.data.quarantine={out} trains without these" if counts["ok"] < len(rows) else ""
    line = f"{things(len(rows), 'video')}: {found}; report in {out}{mend}"
    output.print(line, highlight=False, markup=False, soft_wrap=True)
    return int(bool(wrong) or counts["ok"] < len(rows))


def _findings(rows: Sequence[Row], how: Check, rate: float, workers: int) -> Iterator[Finding]:
    """Yield findings in the order of the rows, checking a few files ahead; parts of one file are checked together."""
    files: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        files[row.path].append(row)
    pending: deque[Future[list[Finding]]] = deque()
    # Threads suffice: each has a decoding process of its own, which is killed if it stalls.
    with ThreadPoolExecutor(workers) as threads:
        try:
            for path, parts in files.items():
                pending.append(threads.submit(_look, how, path, parts, rate))
                if len(pending) > 4 * workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _look(how: Check, path: str, parts: list[Row], rate: float) -> list[Finding]:
    if parts[0].missing:
        return [Finding(part, "missing", "no such file") for part in parts]
    return how.look(path, parts, rate)


def _exists(path: str) -> bool:
    try:
        return exists(path)
    except VideoError:  # it cannot be looked up
        return True


def _row(finding: Finding) -> list[object]:
    values = {
        "path": finding.row.path,
        "status": finding.status,
        "frames": finding.frames,
        "fps": finding.fps and round(finding.fps, 4),
        "width": finding.width,
        "height": finding.height,
        "start": finding.row.start,
        "end": finding.row.end,
        "at": finding.row.at,
        "reason": finding.reason,
        "listed_at": finding.row.where,
    }
    return [values[column] for column in COLUMNS]
