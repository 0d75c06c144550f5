"""Segments of actions in long videos (`vidjax localise RUN VIDEO --out DIR`)."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.console import Console

from vidjax import parallel
from vidjax.apps.clip_network import ClipNetwork
from vidjax.apps.features import Job, Writer, listed
from vidjax.apps.follow import follow_videos
from vidjax.apps.timeline import Timeline, write_subtitles, write_timeline, write_video
from vidjax.config import ReadingConfig
from vidjax.data.pipeline import eval_batches
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.reading.feature_file import Grid
from vidjax.data.reading.windows import WindowReader, Windows
from vidjax.data.records import Record, VideoSet
from vidjax.errors import UserError
from vidjax.evaluation.engine import collect, compile_forward
from vidjax.inputs import SequenceInput
from vidjax.models.fingerprint import weights_fingerprint
from vidjax.models.state import split
from vidjax.progress import progress_bar
from vidjax.tasks import make_task
from vidjax.tasks.localise.detections import Detections, of_scores, video_id, write_results
from vidjax.tasks.localise.runs import RunSettings, smooth
from vidjax.training.checkpoints import load_meta, load_model
from vidjax.video import VideoError
from vidjax.wording import things

LEAST = 0.3  # score from which segments are shown
_EVALUATOR = "segments"  # of the tasks whose networks find segments
_NO_SMOOTHING = "none"

Tell = Callable[[str], None]


def localise(
    run: str,
    videos: str,
    out: str,
    *,
    features_run: str | None = None,
    video: bool = False,
    follow: bool = False,
    least: float | None = None,
    smoothing: str | None = None,
    stride: int = 0,
    window: int = 0,
    fps: float = 0.0,
    batch_size: int | None = None,
    step: int | None = None,
) -> int:
    """Find the segments of actions in videos, and write JSON, subtitles and a timeline of each.

    Args:
      run: run of a classifier, whose scores over time become segments, or of a network that localises.
      videos: video, folder, or list of videos.
      out: folder for the results, created if necessary.
      features_run: run of the network that computes the features which a network that localises reads.
      video: whether to write each video with its segments drawn on it.
      follow: whether to print events as they come, from a causal network, instead of segments.
      least: score from which segments are shown in pictures and subtitles; None: 0.3.
      smoothing: smoothing of a classifier's scores, "median", "gaussian" or "none"; None: median.
      stride, window, fps, batch_size, step: as for `vidjax.apps.features.features`.

    Returns:
      0, or 1 if any video could not be read.

    Raises:
      UserError: if the run, or the combination of options, cannot be used.
    """
    paths, folder = listed(videos), Path(out).expanduser()
    meta = load_meta(run)
    reads_features = any(isinstance(value, SequenceInput) for value in meta.spec.inputs.values())
    finds_segments = _EVALUATOR in make_task(meta.config, meta.spec, meta.labels).evaluators
    if follow and (finds_segments or video):
        raise UserError("--follow is for a causal classifier of video, and writes no --video; leave one of them out")
    if bool(features_run) != reads_features:
        raise UserError(
            f"{run}: reads features; give --features-run, the run of the network that computes them"
            if reads_features
            else f"{run}: reads videos itself; leave out --features-run"
        )
    if follow:
        if smoothing or stride or batch_size:
            raise UserError("--follow sees frame after frame; leave out --smoothing, --stride and --batch-size")
        network = ClipNetwork(run, step=step, batch_size=1)
        network.needs_classes(run)
        folder.mkdir(parents=True, exist_ok=True)
        return follow_videos(network, paths, folder, window=window, fps=fps, least=LEAST if least is None else least)
    if finds_segments and smoothing:
        raise UserError("--smoothing is for the scores of a classifier; leave it out")
    finder: Finder
    if finds_segments and not features_run:
        if stride or window or fps:
            raise UserError(f"{run}: sees clips as in training; --stride, --window and --fps are for other networks")
        finder = _OfClips(run, batch_size=batch_size, step=step)
    elif features_run:
        finder = _OfFeatures(
            run, features_run, folder, stride=stride, window=window, fps=fps, batch_size=batch_size, step=step
        )
    else:
        finder = ScoreFinder(
            run, smoothing or "median", stride=stride, window=window, fps=fps, batch_size=batch_size, step=step
        )
    return _localise(finder, paths, folder, video, LEAST if least is None else least)


@dataclass(frozen=True)
class Segments:
    """Segments of a video, and what its timeline shows besides.

    Attributes:
      found: the segments, seconds.
      duration: length of the video, seconds.
      times: times of the scores, seconds, `(T,)`; None: there are none.
      scores: scores over time, `(T, K)`; None: there are none.
    """

    found: Detections
    duration: float
    times: np.ndarray | None = None
    scores: np.ndarray | None = None

    def timeline(self, path: str, names: tuple[str, ...], least: float) -> Timeline:
        """What is shown of the video at `path`: its segments with a score of `least` or more."""
        return Timeline(path, self.duration, names, self.found.best_of_each_place(least), self.times, self.scores)


class Finder(Protocol):
    """Way to find the segments of a video."""

    classes: tuple[str, ...]
    reading: ReadingConfig
    facts: dict[str, str]

    def find(self, path: str, tell: Tell) -> Segments:
        """Find the segments of a video; `tell` is called with what is under way."""
        ...


def _localise(finder: Finder, paths: list[str], folder: Path, video: bool, least: float) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    console, names = Console(stderr=True), finder.classes
    entries, bad, count = {}, [], 0
    with progress_bar(console) as bar:
        task = bar.add_task("localising", total=len(paths), info="")
        for path in paths:
            try:
                result = finder.find(path, lambda info: bar.update(task, info=info))
                line = result.timeline(path, names, least)
                entries[video_id(path)] = result.found.entries(names)
                count += len(line.found)
                write_timeline(folder / f"{video_id(path)}.png", line)
                write_subtitles(folder / f"{video_id(path)}.srt", line)
                if video:
                    said = f"drawing {os.path.basename(path)}"
                    write_video(
                        folder / f"{video_id(path)}.mp4", line, finder.reading,
                        lambda share, said=said: bar.update(task, info=f"{said} {100 * share:.0f} %"),
                    )  # fmt: skip
            except VideoError as error:
                bad.append((path, error.reason))
            bar.advance(task)
    write_results(folder / "segments.json", entries, **finder.facts)
    for path, reason in bad:
        console.print(f"[yellow]unreadable:[/] {path}: {reason}", highlight=False, soft_wrap=True)
    print(
        f"{things(count, 'segment')} with a score of {least:g} or more in {things(len(entries), 'video')}"
        f"{f', {len(bad)} could not be read' if bad else ''}: {folder}/segments.json, and a timeline (.png) and "
        f"subtitles (.srt){' and a video (.mp4)' if video else ''} of each in {folder}"
    )
    return int(bool(bad))


class ScoreFinder:
    """Segments from the scores of a classifier over time.

    Args:
      run: run of the classifier.
      smoothing: smoothing of its scores, "median", "gaussian" or "none".
      stride, window, fps, batch_size, step: as for `vidjax.apps.features.features`; 0 and None: the defaults.

    Attributes:
      classes: names of the classes.
      reading: settings of reading.
      facts: what finds the segments, for their file.

    Raises:
      UserError: if the network takes anything but one video, or has no classes.
    """

    def __init__(
        self,
        run: str,
        smoothing: str = "median",
        *,
        stride: int = 0,
        window: int = 0,
        fps: float = 0.0,
        batch_size: int | None = None,
        step: int | None = None,
    ):
        self._network = ClipNetwork(run, step=step, batch_size=batch_size)
        self._network.needs_classes(run)
        self._windows, self._fps = Windows.of(self._network.spec.video, stride, window), fps
        self._rules = RunSettings(smoothing="" if smoothing == _NO_SMOOTHING else smoothing)
        self.classes, self.reading = self._network.classes, self._network.data.reading
        self.facts = {
            "model": self._network.spec.name,
            "fingerprint": self._network.fingerprint,
            "method": "thresholds",
        }

    def find(self, path: str, tell: Tell) -> Segments:
        """Find the segments of a video."""
        with WindowReader(path, self._network.spec, self._network.data, self._windows, self._fps) as reader:
            rows = []
            for number, outputs in enumerate(self._network(reader.clips()), 1):
                rows.append(outputs["scores"].astype(np.float32))
                if number % 16 == 0:
                    tell(f"{os.path.basename(path)} {100 * number / len(reader):.0f} %")
            grid = Grid.of_frames(self._windows.stride, self._windows.window, reader.fps)
            scores, duration = np.stack(rows), reader.duration
        times = grid.seconds(np.arange(len(scores)))
        smoothed = smooth(scores, self._rules.smoothing, self._rules.width)
        return Segments(of_scores(scores, grid, duration, self._rules), duration, times, smoothed)


class _OfFeatures:
    """Segments from the features of one network, by another one that was trained on such features."""

    def __init__(
        self,
        run: str,
        features_run: str,
        folder: Path,
        *,
        stride: int,
        window: int,
        fps: float,
        batch_size: int | None,
        step: int | None,
    ):
        meta = load_meta(run)
        network, wanted = ClipNetwork(features_run, batch_size=batch_size), meta.config.data.features
        if wanted.model and wanted.model != network.fingerprint:
            raise UserError(
                f"{run} was trained on features of another network than {features_run}: their fingerprints are "
                f"{wanted.model} and {network.fingerprint}; give the run with which its features were computed"
            )
        for name, given in (("stride", stride), ("window", window), ("fps", fps)):
            if given and getattr(wanted, name) and given != getattr(wanted, name):
                raise UserError(
                    f"--{name} {given:g}: {run} was trained on features with {name} {getattr(wanted, name):g}"
                )
        windows = Windows.of(network.spec.video, stride or round(wanted.stride), window or round(wanted.window))
        own = network.spec.video.fps
        self._writer = Writer(network, windows, fps or (wanted.fps if own is None else 0.0) or 0.0)
        self._folder = folder / "features"
        self._segments = _Localiser(run, step, batch_size=1, folder="")
        self.classes, self.reading = meta.labels.names, network.data.reading
        self.facts = {"model": meta.spec.name, "features": network.spec.name, "fingerprint": network.fingerprint}

    def find(self, path: str, tell: Tell) -> Segments:
        """Find the segments of a video; its features are kept in the folder `features` of the results."""
        job = Job(path, self._folder / f"{video_id(path)}.npz")
        if not self._writer.is_done(job.out):
            for share in self._writer.write(job):
                tell(f"{os.path.basename(path)} {100 * share:.0f} %")
        return self._segments.of(str(job.out))


class _OfClips:
    """Segments by a network that finds them in clips of video."""

    def __init__(self, run: str, *, batch_size: int | None, step: int | None):
        self._segments, meta = _Localiser(run, step, batch_size=batch_size or 1), load_meta(run)
        self.classes, self.reading = meta.labels.names, meta.config.data.reading
        self.facts = {"model": meta.spec.name, "fingerprint": self._segments.fingerprint}

    def find(self, path: str, tell: Tell) -> Segments:
        """Find the segments of a video."""
        tell(os.path.basename(path))
        return self._segments.of(path)


class _Localiser:
    """Network that finds segments, with the evaluator of its task, which decodes them.

    Args:
      run: folder of the run.
      step: number of its update; None: the best.
      batch_size: videos at a time.
      folder: folder of features instead of that of the run; None: the run's.
    """

    def __init__(self, run: str, step: int | None, *, batch_size: int, folder: str | None = None):
        self._mesh, self._batch_size = parallel.make_mesh(1), batch_size
        model, meta, _ = load_model(run, step=step, sharding=parallel.replicated(self._mesh))
        config, self.fingerprint = meta.config, weights_fingerprint(model)
        if folder is not None:
            features = replace(config.data.features, folder=folder)
            config = replace(config, data=replace(config.data, features=features))
        task = make_task(config, meta.spec, meta.labels, parallel.compute_dtype(config.model.compute_dtype))
        self._make: Any = task.evaluators[_EVALUATOR]
        self._labels, self._reader = meta.labels, ExampleReader(meta.spec, config.data)
        self._weights = split(model)[1:]
        self._forward = compile_forward(model, self._make(VideoSet((), meta.labels)).forward, self._mesh)

    def of(self, path: str) -> Segments:
        """Segments in the file at `path`.

        Raises:
          VideoError: if it cannot be read.
        """
        videos = VideoSet((Record(path),), self._labels)
        evaluator = self._make(videos)
        batches = eval_batches(videos, self._reader, batch_size=self._batch_size, num_clips=1, num_crops=1)
        _, _, bad = collect({_EVALUATOR: self._forward}, {_EVALUATOR: evaluator}, self._weights, batches, self._mesh)
        if bad:
            raise VideoError(bad[0].path, bad[0].reason)
        return Segments(*evaluator.detections(0))
