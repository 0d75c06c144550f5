"""Features of long videos over sliding windows, one file per video (`vidjax features RUN VIDEOS OUT`)."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from vidjax.apps.clip_network import ClipNetwork
from vidjax.config import Config
from vidjax.data.listing.load import list_videos
from vidjax.data.listing.paths import VIDEO_SUFFIXES
from vidjax.data.listing.segment_files import declares_segments
from vidjax.data.listing.sources import open_sources, read_rows
from vidjax.data.reading.feature_file import read_feature_file
from vidjax.data.reading.windows import WindowReader, Windows
from vidjax.data.records import Segments
from vidjax.data.text import DataError
from vidjax.errors import UserError
from vidjax.progress import progress_bar
from vidjax.video import VideoError
from vidjax.wording import things

_LISTED = 10  # unreadable videos shown
_TOGETHER = 256  # vectors written at a time


@dataclass(frozen=True)
class Job:
    """A video, and the file for its features."""

    video: str
    out: Path


def features(
    run: str,
    videos: str | None,
    out: str | None,
    *,
    settings: Sequence[str] = (),
    stride: int = 0,
    window: int = 0,
    fps: float = 0.0,
    half: bool = False,
    step: int | None = None,
    batch_size: int | None = None,
) -> int:
    """Compute the features of videos over sliding windows, and write a file for each; complete files stay.

    Args:
      run: work directory of a run, or folder written by `convert`.
      videos: video, folder, list of videos (CSV, JSON Lines), or annotations of segments; None: those of the config.
      out: folder for the files; None: `data.features.folder` of the config.
      settings: `--config=FILE` and `--config.field=value`, for videos and folder.
      stride: frames from window to window; 0: half a window.
      window: frames of a window; 0: those of the network's clips.
      fps: rate at which frames are taken, frames per second; 0: the network's or else the videos' own.
      half: store float16 instead of float32.
      step: update number of the checkpoint; None: the best.
      batch_size: clips that go through the network at a time; None: 4 on CPUs, 16 on accelerators.

    Returns:
      0, or 1 if any video could not be read.

    Raises:
      DataError: if there are no videos, or two of them would have the same file.
      UserError: if settings cannot be used, or there are files of another network, stride, window or rate.
    """
    console = Console(stderr=True)
    jobs, where = _jobs(videos, out, settings, console)
    network = ClipNetwork(run, step=step, batch_size=batch_size)
    writer = Writer(network, Windows.of(network.spec.video, stride, window), fps, half)
    todo = [job for job in jobs if not writer.is_done(job.out)]
    bad: list[tuple[str, str]] = []
    with progress_bar(console) as bar:
        task = bar.add_task("features", total=len(jobs), completed=len(jobs) - len(todo), info="")
        for job in todo:
            name = os.path.basename(job.video)
            try:
                for share in writer.write(job):
                    bar.update(task, info=f"{name} {100 * share:.0f} %")
            except VideoError as error:
                bad.append((job.video, error.reason))
            bar.advance(task)
    for video, reason in bad[:_LISTED]:
        console.print(f"[yellow]unreadable:[/] {video}: {reason}", highlight=False, soft_wrap=True)
    if len(bad) > _LISTED:
        console.print(f"[yellow]… and {len(bad) - _LISTED} more[/]")
    there = f", {len(jobs) - len(todo)} were there" if len(todo) < len(jobs) else ""
    left = f", {len(bad)} could not be read" if bad else ""
    print(f"features of {things(len(todo) - len(bad), 'video')} ({writer.words}){there}{left}; in {where}")
    return int(bool(bad))


def _jobs(videos: str | None, out: str | None, settings: Sequence[str], console: Console) -> tuple[list[Job], Path]:
    if settings:
        from vidjax.config.files import read_config
        from vidjax.config.validate import validate

        config = validate(read_config(list(settings), videos))
        found, out = _configured(config, console), out or config.data.features.folder
    elif videos is None:
        raise UserError("give VIDEOS and OUT, or --config=FILE with data.train and data.features.folder")
    else:
        found = listed(videos)
    if not out:
        raise UserError("give OUT, the folder for the features, or config.data.features.folder")
    folder, taken = Path(out).expanduser(), {}
    places = files_of(found, folder)
    for path, place in places.items():
        if (other := taken.setdefault(place.stem, path)) != path:
            raise DataError(f"{path} and {other} have the same name, by which features are found; rename one")
    return [Job(path, place) for path, place in places.items()], folder


def files_of(videos: Sequence[str], folder: Path) -> dict[str, Path]:
    """File `NAME.npz` of each video in a folder, which has the videos' own folders from the one that all are in.

    Raises:
      DataError: if two videos have the same file.
    """
    root = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in videos])
    places, taken = {}, {}
    for path in videos:
        places[path] = folder / Path(os.path.relpath(os.path.abspath(path), root)).with_suffix(".npz")
        if (other := taken.setdefault(places[path], path)) != path:
            raise DataError(f"{path} and {other} have the same name but for the suffix; rename one")
    return places


def _configured(config: Config, console: Console) -> list[str]:
    """Videos for training and evaluation that a config lists, generated first if it asks for that."""
    from vidjax.data.synthetic import write_asked
    from vidjax.tasks import kinds_of, task_of

    write_asked(config.data, console)
    data = replace(config.data, features=replace(config.data.features, folder=""))
    return list(dict.fromkeys(row.path for row in list_videos(data, kinds_of(task_of(config)))))


def listed(videos: str) -> list[str]:
    """Paths of the videos that a file, a folder or a list names, each once.

    Raises:
      DataError: if a folder has no videos, or a list cannot be used.
    """
    path = Path(videos).expanduser()
    if path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir():
        return [videos]
    kinds = frozenset({Segments.kind}) if declares_segments(path) else frozenset()
    rows = read_rows(open_sources(videos, "", kinds, need_files=False), kinds)
    return list(dict.fromkeys(row.path for row in rows))


class Writer:
    """Writer of the features of videos.

    Args:
      network: network of the features.
      windows: windows over the videos.
      fps: rate at which frames are taken; 0: the network's or else each video's own.
      half: whether to store float16.
    """

    def __init__(self, network: ClipNetwork, windows: Windows, fps: float = 0.0, half: bool = False):
        self._network, self._windows, self._fps = network, windows, fps or network.spec.video.fps or 0.0
        self._dtype = np.dtype(np.float16 if half else np.float32)

    @property
    def words(self) -> str:
        """Description of the windows and the network."""
        rate = f" at {self._fps:g} frames/s" if self._fps else ""
        return (
            f"windows of {things(self._windows.window, 'frame')}, {self._windows.stride} apart{rate}; "
            f"{self._network.spec.name} {self._network.fingerprint}"
        )

    def is_done(self, path: Path) -> bool:
        """Whether a complete file with these features is there.

        Raises:
          UserError: if the file there has features of another network, stride, window or rate.
        """
        if not path.exists():
            return False
        try:
            stated = read_feature_file(str(path)).stated
        except VideoError as error:
            raise UserError(f"{path}: {error.reason}; remove it, or give another folder") from None
        expected = {
            "model": self._network.fingerprint,
            "stride": self._windows.stride,
            "window": self._windows.window,
            "fps": self._fps,
        }
        for name, value in expected.items():
            if value and stated.get(name) != value:
                raise UserError(
                    f"{path}: has features with {name} = {stated.get(name)}, not {value}; give another folder, or the "
                    "same settings"
                )
        return True

    def write(self, job: Job) -> Iterator[float]:
        """Write the features of a video: aside at first, then under their name; yields the share that is done.

        Raises:
          VideoError: if the video cannot be read.
        """
        job.out.parent.mkdir(parents=True, exist_ok=True)
        raw, part = (job.out.with_name(f"{job.out.name}.{end}") for end in ("raw", "part"))
        try:
            with WindowReader(job.video, self._network.spec, self._network.data, self._windows, self._fps) as reader:
                count = len(reader)
                yield from self._vectors(reader, raw, count)
                vectors = np.memmap(raw, self._dtype, "r").reshape(count, -1)
                with open(part, "wb") as file:
                    np.savez(
                        file, features=vectors, times=self._windows.times(count, reader.fps), **self._facts(reader)
                    )
                del vectors
            part.replace(job.out)
        finally:
            raw.unlink(missing_ok=True)
            part.unlink(missing_ok=True)

    def _facts(self, reader: WindowReader) -> dict[str, Any]:
        network, windows = self._network, self._windows
        return {
            "stride": np.float64(windows.stride),
            "window": np.float64(windows.window),
            "fps": np.float64(reader.fps),
            "duration": np.float64(reader.duration),
            "model": np.array(network.fingerprint),
            "model_name": np.array(network.spec.name),
        }

    def _vectors(self, reader: WindowReader, raw: Path, count: int) -> Iterator[float]:
        rows: list[np.ndarray] = []
        with open(raw, "wb") as file:
            for number, outputs in enumerate(self._network(reader.clips()), 1):
                rows.append(outputs["features"].astype(self._dtype))
                if len(rows) == _TOGETHER or number == count:
                    np.stack(rows).tofile(file)
                    rows = []
                    yield number / count
