"""Long-term feature banks: vectors of the boxes of whole videos (`vidjax bank RUN VIDEOS OUT --boxes FILE`)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from vidjax import parallel
from vidjax.apps.features import files_of, listed
from vidjax.config import Spec
from vidjax.data.reading.bank import check_bank, write_bank
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import Boxes, LabelSpace, Record, VideoSet
from vidjax.data.text import DataError
from vidjax.errors import UserError
from vidjax.evaluation import engine
from vidjax.evaluation.evaluator import Rows
from vidjax.models.fingerprint import weights_fingerprint
from vidjax.models.roi_head import RoiHead
from vidjax.models.state import split
from vidjax.nn.enter import enter
from vidjax.progress import progress_bar
from vidjax.tasks.detect.clips import KeyFrameClips, boxes_of_video, most_boxes
from vidjax.tasks.detect.objective import box_name
from vidjax.tasks.detect.proposals import read_boxes
from vidjax.tasks.videos import load_videos
from vidjax.training.checkpoints import load_model
from vidjax.wording import things


def feature_bank(
    run: str,
    videos: str | None,
    out: str | None,
    *,
    boxes: str = "",
    least: float = 0.9,
    settings: Sequence[str] = (),
    batch_size: int | None = None,
    step: int | None = None,
) -> int:
    """Compute the vectors of the boxes of videos, and write a file for each; complete files stay.

    Args:
      run: run of a network of boxes that reads no bank itself.
      videos: video, folder or list of videos; None: those of the config.
      out: folder of the bank; None: `data.clip.bank` of the config.
      boxes: files of boxes of the videos, see `vidjax.tasks.detect.proposals.read_boxes`.
      least: least score of those boxes.
      settings: `--config=FILE` and `--config.field=value` of the experiment that will read the bank: its key frames,
        with the boxes that training and evaluation are asked about.
      batch_size: clips that go through the network at a time; None: as in the evaluation of the run.
      step: update number of the checkpoint; None: the best.

    Returns:
      0, or 1 if any video could not be read.

    Raises:
      DataError, UserError: if files or settings cannot be used, or files of another network are there.
    """
    console = Console(stderr=True)
    if bool(settings) == bool(videos):
        raise UserError(
            "give VIDEOS and OUT with --boxes FILE, or --config=FILE, the experiment that will read the bank, not both"
        )
    if bool(boxes) != bool(videos):
        raise UserError("--boxes: needed for VIDEOS, and not taken with --config, which says which boxes there are")
    network = _BoxNetwork(run, step, batch_size)
    if videos:
        given = read_boxes(boxes, least)
        by_video = {
            path: KeyFrameClips.of(path, *boxes_of_video(given, path, least), network.most).records
            for path in listed(videos)
        }
    else:
        by_video, out = _configured(settings, out, network.most)
    if not out:
        raise UserError("give OUT, the folder of the bank, or config.data.clip.bank")
    folder = Path(out).expanduser()
    places = files_of(list(by_video), folder)
    todo = [path for path, file in places.items() if not _is_done(file, network.fingerprint, path)]
    bad: list[str] = []
    with progress_bar(console) as bar:
        task = bar.add_task("feature bank", total=len(by_video), completed=len(by_video) - len(todo), info="")
        for path in todo:
            bar.update(task, info=Path(path).name)
            found = network(by_video[path])
            if isinstance(found, str):
                bad.append(path)
                console.print(f"[yellow]unreadable:[/] {path}: {found}", highlight=False, soft_wrap=True)
            else:
                write_bank(places[path], *found, model=network.fingerprint, video=path)
            bar.advance(task)
    there = f", {len(by_video) - len(todo)} were there" if len(todo) < len(by_video) else ""
    left = f", {len(bad)} could not be read" if bad else ""
    print(
        f"vectors of the boxes of {things(len(todo) - len(bad), 'video')} ({network.name} {network.fingerprint}, "
        f"{network.width} numbers each){there}{left}; in {folder}"
    )
    return int(bool(bad))


_ByVideo = Mapping[str, Sequence[Record]]


def _configured(settings: Sequence[str], out: str | None, most: int) -> tuple[_ByVideo, str]:
    """Clips of an experiment's key frames by video, and the folder of its bank."""
    from vidjax.config.files import read_config
    from vidjax.config.validate import validate
    from vidjax.data.synthetic import write_asked

    config = validate(read_config(list(settings), None))
    write_asked(config.data, Console(stderr=True))
    by_video: dict[str, list[Record]] = {}
    for videos in load_videos(config):
        for record in videos.records:
            if isinstance(record.annotation, Boxes) and record.annotation.asked:
                rows = np.array(record.annotation.asked, np.float64)
                clips = KeyFrameClips.of(record.path, np.array([record.annotation.at]), [rows], most)
                by_video.setdefault(record.path, []).extend(clips.records)
    if not by_video:
        raise DataError("the experiment has no boxes: a bank is of annotated or detected boxes in key frames")
    return by_video, out or config.data.clip.bank


def _is_done(file: Path, fingerprint: str, video: str) -> bool:
    """Whether a video has its file in the bank."""
    if file.exists():
        check_bank(file, fingerprint, video)
    return file.exists()


class _BoxNetwork:
    """Network of boxes, which gives the vectors of the boxes of a video's clips."""

    def __init__(self, run: str, step: int | None, batch_size: int | None):
        self._mesh = parallel.make_mesh(1)
        model, meta, _ = load_model(run, step=step, sharding=parallel.replicated(self._mesh))
        self.most = most_boxes(meta.spec, run)
        head = getattr(model, "head", None)
        if not isinstance(head, RoiHead) or "bank" in head.reads:
            raise UserError(f"{run}: {meta.spec.name} reads a bank; make the bank by a network that reads none")
        first = head if head.hidden is None else head.hidden
        self.name, self.width, self.fingerprint = meta.spec.name, first.in_features, weights_fingerprint(model)
        dtype = parallel.compute_dtype(meta.config.model.compute_dtype)
        self._make = lambda: _Vectors(meta.spec, dtype)
        self._forward = engine.compile_forward(model, self._make().forward, self._mesh)
        self._weights = split(model)[1:]
        self._reader = ExampleReader(meta.spec, meta.config.data)
        evaluation = meta.config.eval
        self._eval = replace(evaluation, num_clips=1, num_crops=1, batch_size=batch_size or evaluation.batch_size)

    def __call__(self, records: Sequence[Record]) -> tuple[np.ndarray, np.ndarray] | str:
        """Times `(N,)` and vectors `(N, D)` of the boxes of clips of one video, or why it cannot be read."""
        collected: Any = self._make()
        videos = VideoSet(tuple(records), LabelSpace(()))
        batches = engine.batches_of(videos, self._reader, self._eval, self._mesh)
        _, _, bad = engine.collect({"": self._forward}, {"": collected}, self._weights, batches, self._mesh)
        if bad:
            return bad[0].reason
        times, rows = [np.zeros(0)], [np.zeros((0, self.width), np.float32)]
        for index, record in enumerate(records):
            assert isinstance(record.annotation, Boxes)  # made so
            own = collected.found[index][: len(record.annotation.asked)]
            rows.append(own)
            times.append(np.full(len(own), record.annotation.at))
        return np.concatenate(times), np.concatenate(rows)


class _Vectors:
    """Collector of what the classifier reads of each box, by the index of the clip."""

    def __init__(self, spec: Spec, dtype: Any):
        self._spec, self._dtype = spec, dtype
        self.found: dict[int, np.ndarray] = {}

    def forward(self, network: Any, inputs: Mapping[str, jax.Array], number: jax.Array) -> jax.Array:
        """Compute the vectors of the boxes of B clips, float32 `(B, R, D)`."""
        del number  # nothing is drawn
        entered = enter(inputs, self._spec.inputs, self._dtype)
        return network.head.vectors(network.encode(entered).maps, entered[box_name(self._spec)])

    def wants(self, index: np.ndarray, view: int) -> bool:
        """Whether a batch has any clip."""
        return bool((index >= 0).any())

    def add(self, rows: Rows, outputs: np.ndarray) -> None:
        """Keep the vectors of a batch."""
        self.found.update(zip(rows.index.tolist(), np.asarray(outputs), strict=True))
