"""Classes of very many videos, as Parquet files (`vidjax predict-many RUN SOURCE OUT`).

Each file has the rows of one shard: `path`, `part_start`, `part_end` (seconds; null: the whole file), `error` (empty,
or why the video could not be used), `class` and `score` of the best class (null with an error), and `scores`, the
probabilities of all classes (NaN with an error), whose names are in the file's metadata under `vidjax`.
"""

import functools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from rich.console import Console

from vidjax.apps.embed import list_videos
from vidjax.data.records import Record
from vidjax.inputs import to_dict
from vidjax.parts.folder import PartFolder, from_parquet, parquet, to_parquet
from vidjax.parts.ray_engine import on_ray, uses_ray
from vidjax.parts.work import Plan, digest, work
from vidjax.predictions import Prediction
from vidjax.predictor import Predictor
from vidjax.progress import progress_bar
from vidjax.wording import things

SHARD = 256  # videos of a file
_REPEATED = ["class", "error"]  # columns in which values recur
_LISTED = 10  # unreadable videos shown


@dataclass(frozen=True)
class Views:
    """Which checkpoint sees which views of a video.

    Attributes:
      num_clips: clips per video; None: as in the run's config.
      num_crops: crops per clip; None: as in the run's config.
      batch_size: views that go through the network at a time; None: 1 on CPUs, 16 on accelerators.
      step: update number of the checkpoint; None: the best.
    """

    num_clips: int | None = None
    num_crops: int | None = None
    batch_size: int | None = None
    step: int | None = None


class _Work:
    """Everything that computes shards: the same in one process, in one of several, and in a worker of Ray.

    Args:
      run: work directory of a run, or folder written by `convert`.
      source: list, folder or video.
      out: folder for the results.
      views: checkpoint and views.
      shard_size: videos of a shard.
    """

    def __init__(self, run: str, source: str, out: str, views: Views, shard_size: int):
        self.folder = PartFolder(out)
        self.records = list_videos([source])
        self.predictor = Predictor(run, top=1, num_clips=views.num_clips, num_crops=views.num_crops, step=views.step)
        self.predictor.need_classes()
        self.plan = Plan(
            len(self.records),
            digest(f"{record.path}\0{record.start}\0{record.end}" for record in self.records),
            shard_size,
            _origin(self.predictor),
            {"run": os.path.abspath(run), "step": views.step, "source": source},
        )
        self.batch_size = views.batch_size or (1 if jax.default_backend() == "cpu" else 16)
        self.table = PredictionTable(self.predictor.class_names)

    def of(self, shard: int) -> Sequence[Record]:
        """Videos of a shard."""
        return self.plan.of(self.records, shard)

    def do(self, shards: Sequence[int], advance: Callable[[], None]) -> None:
        """Compute and write shards, one after the other, videos ahead; `advance` is called after every video."""

        def save(shard: int, inputs: Sequence[Record], rows: list[Prediction]) -> None:
            self.folder.write(self.plan.part(shard), self.table.to_bytes(inputs, rows))

        work(
            ((shard, self.of(shard)) for shard in shards),
            functools.partial(self.predictor.stream, batch_size=self.batch_size),
            save,
            advance,
        )


def _shard_writer(*arguments: Any) -> Callable[[int], int]:
    """Function that computes and writes one shard, and returns the number of its videos; for workers of Ray."""
    own = _Work(*arguments)

    def write(shard: int) -> int:
        own.do([shard], lambda: None)
        return len(own.of(shard))

    return write


def predict_many(
    run: str,
    source: str,
    out: str,
    views: Views | None = None,
    *,
    shard_size: int = SHARD,
    rank: int = 0,
    count: int = 1,
    engine: str = "local",
    workers: int = 0,
) -> int:
    """Predict the classes of videos, shard by shard; shards that have a file in `out` stay as they are.

    A file that cannot be read is a row with an error, and no failure of the command.

    Args:
      run: work directory of a run, or folder written by `convert`.
      source: CSV file with a column `path`, JSON Lines, folder, or video, or the address of one.
      out: path or address of the folder for the results: a new one, or that of the same command.
      views: checkpoint and views; None: the best, and as in the run's config.
      shard_size: videos of a shard.
      rank, count: number of this process, and how many share the work; each takes every `count`-th shard.
      engine: "local": this process; "ray": the workers of a Ray cluster, see `vidjax.parts.ray_engine`. Paths must be
        the same on all of its machines.
      workers: workers of Ray; 0: one per GPU, or per four processors.

    Returns:
      0.

    Raises:
      PlanError: if `out` has the results of other videos, another network or other settings, or other files.
      DataError: if `source` names no videos.
      UserError: if the network has no classes, pyarrow or Ray is not installed, or processes are given for Ray.
    """
    parquet()  # an error for a missing package comes before any work
    with_ray = uses_ray(engine, workers, count)
    arguments = (run, source, out, views or Views(), shard_size)
    own = _Work(*arguments)
    plan, folder = own.plan, own.folder
    plan.claim(folder)
    there = set(folder.names())
    todo = [shard for shard in plan.own(rank, count) if plan.part(shard) not in there]
    folder.clear([plan.part(shard) for shard in todo])
    total = sum(len(own.of(shard)) for shard in plan.own(rank, count))
    before = total - sum(len(own.of(shard)) for shard in todo)
    with progress_bar(Console(stderr=True)) as bar:
        task = bar.add_task("predict", total=total, completed=before, info="")
        try:
            if with_ray and todo:
                for rows in on_ray(functools.partial(_shard_writer, *arguments), todo, workers):
                    bar.advance(task, rows)
            else:
                own.do(todo, lambda: bar.advance(task))
        except KeyboardInterrupt:
            raise KeyboardInterrupt("whole shards are kept; the same command goes on from there") from None
    _report(plan, folder, rank, count, before)
    return 0


def _origin(predictor: Predictor) -> dict[str, Any]:
    """What makes the predictions."""
    return {
        "model": predictor.spec.name,
        "fingerprint": predictor.fingerprint,
        "classes": list(predictor.class_names),
        "inputs": to_dict(predictor.spec.inputs),
        "sampling": predictor.sampling,
    }


class PredictionTable:
    """Rows of predictions as Parquet files, of which all have the same columns and types.

    Args:
      class_names: K names of the classes.
    """

    def __init__(self, class_names: Sequence[str]):
        import pyarrow as pa

        fields = {
            "path": pa.string(),
            "part_start": pa.float64(),
            "part_end": pa.float64(),
            "error": pa.string(),
            "class": pa.string(),
            "score": pa.float64(),
            "scores": pa.list_(pa.float32(), len(class_names)),
        }
        self._nothing = np.full(len(class_names), np.nan, np.float32)  # null lists of fixed length are not read back
        told = json.dumps({"format": 1, "classes": list(class_names)}, ensure_ascii=False)
        self.schema = pa.schema(fields.items(), metadata={"vidjax": told})

    def to_bytes(self, videos: Sequence[Record], predictions: Sequence[Prediction]) -> bytes:
        """The Parquet file of videos and their predictions, in the same order."""
        import pyarrow as pa

        best = [prediction.classes[0] if prediction.classes else None for prediction in predictions]
        columns = {
            "path": [video.path for video in videos],
            "part_start": [video.start for video in videos],
            "part_end": [video.end for video in videos],
            "error": [prediction.error for prediction in predictions],
            "class": [None if each is None else each.name for each in best],
            "score": [None if each is None else each.score for each in best],
            "scores": [self._nothing if p.scores is None else p.scores.astype(np.float32) for p in predictions],
        }
        arrays = [pa.array(columns[field.name], field.type) for field in self.schema]
        return to_parquet(pa.Table.from_arrays(arrays, schema=self.schema), _REPEATED)


def _report(plan: Plan, folder: PartFolder, rank: int, count: int, before: int) -> None:
    """Say what is in the folder now."""
    names = set(folder.names())
    parts = [plan.part(shard) for shard in range(plan.shards) if plan.part(shard) in names]
    console = Console()
    if len(parts) < plan.shards:
        console.print(
            f"process {rank} of {count} is done; {len(parts)} of {plan.shards} files are in {folder} so far",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        return
    bad, shown = 0, []
    for name in parts:
        rows = from_parquet(folder.read(name), ["path", "error"]).to_pylist()
        wrong = [row for row in rows if row["error"]]
        bad += len(wrong)
        shown += wrong[: _LISTED - len(shown)]
    for row in shown:
        console.print(f"[yellow]unreadable:[/] {row['path']}: {row['error']}", highlight=False, soft_wrap=True)
    if bad > len(shown):
        console.print(f"[yellow]… and {bad - len(shown)} more; the column error has all[/]")
    told = f", {before} of them before" if before else ""
    console.print(
        f"{things(plan.inputs - bad, 'video')} predicted, {bad} unreadable{told}: "
        f"{things(len(parts), 'Parquet file')} in {folder}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
