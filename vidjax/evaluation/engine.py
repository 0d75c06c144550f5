"""The evaluation loop: decode the views of a video set, run the network, and pass its outputs to evaluators.

A clip is one view: one window of time and one crop. Only the evaluators interpret the network's outputs.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from rich.console import Console

from vidjax import parallel
from vidjax.batch import Batch
from vidjax.config import ConfigError, EvalConfig
from vidjax.data.pipeline import BadRecord, eval_batches
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import VideoSet
from vidjax.evaluation.evaluator import Evaluator, Rows
from vidjax.models.low_rank import summed
from vidjax.models.state import Arrays, in_float32, merge, split
from vidjax.progress import progress_bar

# (params, stats, inputs (B, …), int32 numbers (B,)) → outputs
Forward = Callable[[Arrays, Arrays, Mapping[str, jax.Array], jax.Array], Any]


def compile_forward(
    model: nnx.Module, forward: Callable[[nnx.Module, Mapping[str, jax.Array], jax.Array], Any], mesh: Mesh
) -> Forward:
    """Compile a function of parameters, statistics, inputs and clip numbers, in evaluation mode.

    Args:
      model: model whose structure is used; it is put into evaluation mode.
      forward: function to compile, such as `Evaluator.forward`.
      mesh: mesh of the devices that share a batch.
    """
    model.eval()
    graphdef, _, _ = split(model)
    add_up = summed(model)

    def run(params: Arrays, stats: Arrays, inputs: Mapping[str, jax.Array], number: jax.Array) -> Any:
        with parallel.kernels_on(mesh):
            return forward(merge(graphdef, add_up(in_float32(params)), stats), inputs, number)

    return jax.jit(run, out_shardings=parallel.batch_sharding(mesh))


@dataclass
class Outcome:
    """Outcome of an evaluation.

    Attributes:
      summary: figures of `eval.json`.
      evaluators: evaluators that computed the figures, by name.
    """

    summary: dict[str, Any]
    evaluators: Mapping[str, Evaluator]


def run(
    forwards: Mapping[str, Forward],
    evaluators: Mapping[str, Evaluator],
    weights: tuple[Arrays, Arrays],
    videos: VideoSet,
    reader: ExampleReader,
    config: EvalConfig,
    mesh: Mesh,
    console: Console | None = None,
) -> Outcome:
    """Decode every view of a video set once and pass the network's outputs to the evaluators.

    Args:
      forwards: compiled functions from `compile_forward`, by evaluator.
      evaluators: new evaluators, by name.
      weights: parameters and statistics, placed on the mesh.
      videos: videos to evaluate.
      reader: reader of views.
      config: views per video and videos per step; the latter is rounded up to a multiple of the devices.
      mesh: mesh of the devices that share a batch.
      console: console for a progress bar; None: no bar.

    Returns:
      The evaluators, and a summary: their figures by level, with the names of the `levels`; their names and details;
      `coverage`, the share of videos that could be read; `num_videos`, the number of these; `num_views` per video, or
      the maximum if it varies; `unreadable`: list of `{"path", "reason"}`; `unheard`, if there are any: the same of
      videos whose sound is missing or cannot be read.

    Raises:
      ConfigError: if crops are mirrored but the classes tell left from right.
    """
    if config.num_crops == 10 and videos.labels.directional:
        raise ConfigError(
            "config.eval.num_crops = 10: half of the crops are mirrored, and these labels tell left from right; use 5"
        )
    batches = batches_of(videos, reader, config, mesh, console)
    readable, most, bad = collect(forwards, evaluators, weights, batches, mesh)
    summary: dict[str, Any] = {"levels": [], "evaluators": list(evaluators)}
    for evaluator in evaluators.values():
        figures = evaluator.summary()
        for level, values in figures.items():
            summary[level] = summary.get(level, {}) | values
        summary["levels"] = list(dict.fromkeys([*summary["levels"], *figures]))
    summary |= {"coverage": readable / len(videos), "num_videos": readable, "num_views": most}
    for evaluator in evaluators.values():
        summary |= evaluator.details()
    summary["unreadable"] = [{"path": b.path, "reason": b.reason} for b in bad if not b.unheard]
    if unheard := [{"path": b.path, "reason": b.reason} for b in bad if b.unheard]:
        summary["unheard"] = unheard
    return Outcome(summary, evaluators)


def collect(
    forwards: Mapping[str, Forward],
    evaluators: Mapping[str, Evaluator],
    weights: tuple[Arrays, Arrays],
    batches: Iterable[Batch],
    mesh: Mesh,
) -> tuple[int, int, tuple[BadRecord, ...]]:
    """Run the network over evaluation batches, of which each process has its rows.

    Returns:
      Number of videos that could be read, largest number of views of one, and videos that, or whose sound, could not
      be read.
    """
    sharding = parallel.batch_sharding(mesh)
    readable, most, bad = 0, 0, []
    for batch in batches:
        columns = parallel.gather(parallel.place({k: batch[k] for k in ("index", "mask", "views")}, sharding))
        keep = columns["mask"]
        readable += int(keep.sum())
        # One view at a time: the 30 views of a video need not fit on the devices together.
        for view, inputs in enumerate(views_of(batch)):
            most = max(most, view + 1)
            real = keep & (view < columns["views"])
            asked = {name: e for name, e in evaluators.items() if e.wants(np.where(real, columns["index"], -1), view)}
            if not asked:
                continue
            number = (np.maximum(batch["index"], 0) * 1000 + view).astype(np.int32)
            placed = parallel.place((inputs, number), sharding)
            rows = Rows(columns["index"][real], view, columns["views"][real])
            for name, evaluator in asked.items():
                outputs = parallel.gather(forwards[name](*weights, *placed))
                evaluator.add(rows, jax.tree.map(lambda x, real=real: x[real], outputs))
        bad += batch["bad"]
    return readable, most, gather_bad(bad)


def batches_of(
    videos: VideoSet, reader: ExampleReader, config: EvalConfig, mesh: Mesh, console: Console | None = None
) -> Iterator[Batch]:
    """This process's rows of every batch, with a progress bar on `console`; None: no bar.

    Args:
      videos: videos to evaluate.
      reader: reader of views.
      config: views per video and videos per batch; the latter is rounded up to a multiple of the devices.
      mesh: mesh of the devices that share a batch.
    """
    shards = parallel.batch_shards(mesh)
    batch_size = -(-config.batch_size // shards) * shards
    batches = eval_batches(
        videos, reader, batch_size=batch_size, num_clips=config.num_clips, num_crops=config.num_crops,
        process=parallel.process_rank(),
    )  # fmt: skip
    with progress_bar(console or Console(quiet=True)) as bar:
        task = bar.add_task("evaluate", total=len(videos), info="")
        for i, batch in enumerate(batches):
            yield batch
            bar.update(task, completed=min(len(videos), (i + 1) * batch_size))


def views_of(batch: Batch) -> list[dict[str, np.ndarray]]:
    """Inputs of single views, `(B, …)` by name, as many as the process with the longest videos has."""
    inputs = batch["inputs"]
    count = next(iter(inputs.values())).shape[1]
    most = max(parallel.gather_lists([count]))
    return [{name: array[:, min(view, count - 1)] for name, array in inputs.items()} for view in range(most)]


def gather_bad(bad: Iterable[BadRecord]) -> tuple[BadRecord, ...]:
    """Videos unreadable on any process, in the order of the records."""
    rows = parallel.gather_lists([dataclasses.astuple(b) for b in bad])
    return tuple(BadRecord(*fields) for fields in sorted(rows))


def cadences(asked: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Interval, in evaluations, at which each evaluator runs.

    Args:
      asked: entries of `config.eval.every`, `NAME=N` each.
      names: names of the evaluators; the first one ranks checkpoints and always runs.

    Raises:
      ConfigError: if an entry is malformed; names the evaluators.
    """
    every = dict.fromkeys(names, 1)
    for entry in asked:
        name, _, number = entry.partition("=")
        if name not in names[1:] or not number.isdigit() or not int(number):
            others = ", ".join(names[1:]) or "none beside the first, which always runs"
            raise ConfigError(f"config.eval.every: {entry!r} must be NAME=N with NAME one of: {others}")
        every[name] = int(number)
    return every


def levels(summary: Mapping[str, Any]) -> list[str]:
    """Levels at which an `eval.json` has figures, also for older versions, which do not list them."""
    if "levels" in summary:
        return list(summary["levels"])
    others = ("views", "spec", "data", "per_class", "per_category")
    return [
        name
        for name, figures in summary.items()
        if isinstance(figures, dict) and name not in others and all(not isinstance(x, dict) for x in figures.values())
    ]


def flat_metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """Flatten a summary to `{"clip/top1": …, "video/top1": …}`, for logs and for choosing the best checkpoint."""
    return {f"{level}/{name}": value for level in levels(summary) for name, value in summary[level].items()}
