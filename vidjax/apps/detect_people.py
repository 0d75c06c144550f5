"""Who does what in a video, with a trained network of boxes: detections, tubes, and the video with both drawn on it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from vidjax import parallel
from vidjax.config.spec import resolve_spec
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.reading.open_video import open_video
from vidjax.data.records import LabelSpace, VideoSet
from vidjax.errors import UserError
from vidjax.evaluation import engine, linking
from vidjax.models.state import split
from vidjax.progress import progress_bar
from vidjax.tasks import make_task
from vidjax.tasks.detect.ava_files import write_classes, write_detections
from vidjax.tasks.detect.clips import KeyFrameClips, boxes_of_video, most_boxes
from vidjax.tasks.detect.detectors import make_detector
from vidjax.tasks.detect.people import person_boxes
from vidjax.tasks.detect.proposals import read_boxes, stem
from vidjax.training.checkpoints import load_model
from vidjax.video.draw import draw_boxes, redraw, track_colour
from vidjax.wording import things

TUBES = "tubes.json"


@dataclass(frozen=True, eq=False)
class Found:
    """Boxes of a video's key frames, one row each, in the order of time.

    Attributes:
      times: times of the F key frames, seconds, float64 `(F,)`, rising.
      frame: place of each box's key frame in `times`, int64 `(N,)`.
      box: corners as shares of the picture, float64 `(N, 4)`.
      scores: score of each class, float64 `(N, K)`; NaN: not classified.
    """

    times: np.ndarray
    frame: np.ndarray
    box: np.ndarray
    scores: np.ndarray


def detect_people(
    folder: str | Path,
    video: str,
    *,
    out: str | Path,
    boxes: str = "",
    detector: str = "",
    bank: str = "",
    every: float = 1.0,
    least: float = 0.8,
    min_score: float = 0.3,
    top: int = 3,
    step: int | None = None,
    draw: bool = True,
    console: Console | None = None,
) -> int:
    """Classify the boxes in a video's key frames; write detections, tubes and the video with both drawn on it.

    Args:
      folder: work directory of a run, or folder written by `convert`.
      video: path of the video.
      out: folder for the results, created if necessary.
      boxes: file of boxes, see `vidjax.tasks.detect.proposals.read_boxes`; the key frames are those that it names.
      detector: detector of people instead, see `vidjax.tasks.detect.detectors.make_detector`.
      bank: long-term feature bank with the video, for a network that reads one; empty: the run's own.
      every: seconds between the key frames of a detector.
      least: least score of a box.
      min_score: least score of a class in tubes and on the video.
      top: most classes written at a box.
      step: update number of the checkpoint; None: the best.
      draw: whether to write the video.
      console: console for progress and the last line; None: standard error and standard output.

    Returns:
      0.

    Raises:
      UserError: if neither or both of `boxes` and `detector` are given, the network takes no boxes, or a file cannot be
        used.
      VideoError: if the video cannot be decoded.
    """
    if bool(boxes) == bool(detector):
        raise UserError(
            "give the boxes to classify: --boxes FILE with path,time,x1,y1,x2,y2, or --detector such as "
            f"detr_r50=detr-resnet-50{', not both' if boxes else ''}"
        )
    for name, value in (("--least", least), ("--min-score", min_score)):
        if not 0 <= value <= 1:
            raise UserError(f"{name} {value:g}: must be a score, 0…1")
    progress = console or Console(stderr=True)
    mesh = parallel.make_mesh(1)
    model, meta, _ = load_model(folder, step=step, sharding=parallel.replicated(mesh))
    most_boxes(meta.spec, str(folder))
    meta = _with_bank(meta, bank)
    rate = meta.config.data.folder_fps or 25.0
    with open_video(video, folder_fps=rate) as reader, progress_bar(progress) as bar:
        times, given = _given(boxes, video, least, reader.duration) if boxes else _looked_for(
            reader, make_detector(detector), every, least, bar
        )  # fmt: skip
    found = _classified(model, meta, video, times, given, mesh, progress)
    place, names = Path(out), meta.labels.names
    place.mkdir(parents=True, exist_ok=True)
    title = Path(stem(video)).name
    write_detections(place, title, times[found.frame], found.box, found.scores, names)
    write_classes(place, names)
    tubes = _tubes(found, min_score)
    linking.write_tubes(place / TUBES, {title: tubes}, names)
    files = ["detections.csv", TUBES]
    if draw:
        with open_video(video, folder_fps=rate) as reader, progress_bar(progress) as bar:
            task = bar.add_task("draw", total=len(reader), info="")
            paint = _Painter(found, names, min_score, top)
            redraw(reader, place / f"{title}.mp4", paint, advance=lambda count: bar.advance(task, count))
        files.append(f"{title}.mp4")
    summary = f"{things(len(found.box), 'box', 'boxes')} in {things(len(times), 'key frame')}, "
    summary += f"{things(len(tubes), 'tube')} with a score of {min_score:g} or more"
    line = f"{summary}; {', '.join(files)} in {place}"
    (console or Console()).print(line, highlight=False, markup=False, soft_wrap=True)
    return 0


def _with_bank(meta: Any, bank: str) -> Any:
    """The run's facts with a feature bank; a network that reads none is refused."""
    if not bank:
        return meta
    config = meta.config
    config = replace(config, data=replace(config.data, clip=replace(config.data.clip, bank=bank)))
    resolve_spec(meta.spec, config.data)
    return replace(meta, config=config)


_Rows = list[np.ndarray]  # boxes (n, 4) of each key frame


def _given(text: str, video: str, least: float, duration: float) -> tuple[np.ndarray, _Rows]:
    """Key frames and boxes of a file."""
    times, rows = boxes_of_video(read_boxes(text, least), video, least)
    if outside := [time for time in times.tolist() if not 0 <= time <= duration]:
        raise UserError(f"{text}: the time {outside[0]:g} s is outside of {video}, which lasts {duration:.2f} s")
    return times, rows


def _looked_for(reader: Any, detector: Any, every: float, least: float, bar: Any) -> tuple[np.ndarray, _Rows]:
    """Key frames, `every` seconds from the middle of the first such part on, and the people in them."""
    times = np.arange(every / 2, reader.duration, every)
    times = times if len(times) else np.array([reader.duration / 2])
    task = bar.add_task("look for people", total=len(times), info="")
    people = person_boxes(reader, times, detector, least=least, advance=lambda count: bar.advance(task, count))
    return times, [people.box[people.index == i] for i in range(len(times))]


def _classified(
    model: Any, meta: Any, video: str, times: np.ndarray, given: _Rows, mesh: Any, console: Console
) -> Found:
    """Scores of all boxes; key frames with more boxes than the network takes at once are several clips."""
    clips = KeyFrameClips.of(video, times, given, most_boxes(meta.spec, "the run"))
    records = clips.records
    if not records:
        return Found(times, clips.frame, clips.box, np.zeros((0, len(meta.labels.names))))
    videos = VideoSet(records, LabelSpace(meta.labels.names, meta.labels.several))
    evaluation = replace(meta.config.eval, num_clips=1, batch_size=min(meta.config.eval.batch_size, len(records)))
    config = replace(meta.config, eval=evaluation)
    task = make_task(config, meta.spec, videos.labels, parallel.compute_dtype(config.model.compute_dtype))
    evaluator: Any = task.evaluators["boxes"](videos)
    forwards = {"boxes": engine.compile_forward(model, evaluator.forward, mesh)}
    _, params, stats = split(model)
    reader = ExampleReader(meta.spec, config.data)
    batches = engine.batches_of(videos, reader, config.eval, mesh, console)
    _, _, bad = engine.collect(forwards, {"boxes": evaluator}, (params, stats), batches, mesh)
    if bad:
        raise UserError(f"{bad[0].path}: {bad[0].reason}")
    scores = evaluator.detections
    return Found(times, clips.frame, clips.box, np.concatenate([scores[i] for i in range(len(records))]))


def _tubes(found: Found, min_score: float) -> list[linking.Tube]:
    """Tubes of one class each."""
    rows, label = np.nonzero(np.nan_to_num(found.scores) >= min_score)
    frame, box, score = found.frame[rows], found.box[rows], found.scores[rows, label]
    number = linking.link_classes(frame, box, score, label)
    return linking.make_tubes(number, frame, found.times[frame], box, score, label)


class _Painter:
    """Draws the boxes of the people at a time, with the best classes of each.

    Args:
      found: boxes with their scores.
      names: names of the classes.
      least: least score of a class that is written.
      top: most classes written at a box.
    """

    def __init__(self, found: Found, names: Sequence[str], least: float, top: int):
        number = linking.link_tracks(found.frame, found.box)
        times, ones = found.times[found.frame], np.ones(len(number))
        self._tracks = linking.make_tubes(number, found.frame, times, found.box, ones)
        self._labels = {
            tube.number: [self._label(found.scores[row], names, least, top) for row in self._rows(found, number, tube)]
            for tube in self._tracks
        }
        gaps = np.diff(found.times)
        self._hold = float(np.median(gaps)) / 2 if len(gaps) else 0.5

    @staticmethod
    def _rows(found: Found, number: np.ndarray, tube: linking.Tube) -> list[int]:
        rows = np.flatnonzero(number == tube.number)
        return rows[np.argsort(found.frame[rows], kind="stable")].tolist()

    @staticmethod
    def _label(scores: np.ndarray, names: Sequence[str], least: float, top: int) -> str:
        best = [k for k in np.argsort(-np.nan_to_num(scores), kind="stable")[:top] if scores[k] >= least]
        return "\n".join(f"{names[k]} {100 * scores[k]:.0f} %" for k in best)

    def __call__(self, frame: np.ndarray, time: float) -> None:
        """Draw on a frame, uint8 `(H, W, 3)`, in place."""
        boxes, labels, colours = [], [], []
        for tube in self._tracks:
            if (box := tube.at(time, self._hold)) is not None:
                boxes.append(box)
                labels.append(self._labels[tube.number][int(np.abs(tube.times - time).argmin())])
                colours.append(track_colour(tube.number))
        if boxes:
            draw_boxes(frame, np.stack(boxes), labels, colours)
