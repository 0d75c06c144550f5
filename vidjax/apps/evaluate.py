"""Evaluation of a trained model, as by `eval.py`."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

from rich.console import Console

from vidjax import config as cfg
from vidjax import parallel
from vidjax.config.spec import other_flow, resolve_spec
from vidjax.config.validate import validate
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import LabelSpace
from vidjax.errors import UserError
from vidjax.evaluation import report
from vidjax.evaluation.engine import compile_forward
from vidjax.evaluation.engine import run as run_evaluators
from vidjax.evaluation.identity import BEST, EARLIER, LAST, beside, caption, folder_name, identity, source
from vidjax.models.state import split
from vidjax.tasks import make_task
from vidjax.tasks.videos import load_eval_videos
from vidjax.training.checkpoints import best_step, find, is_checkpoint, load_model, run_folder, steps
from vidjax.wording import things
from vidjax.zero_shot import name_classes, read_labels

log = logging.getLogger("vidjax")


def evaluate_checkpoint(
    folder: str | Path,
    config: cfg.Config,
    *,
    step: int | None = None,
    out: str | Path | None = None,
    labels: str = "",
    console: Console | None = None,
) -> dict[str, Any]:
    """Score a checkpoint on the evaluation videos of `config` and write the report.

    Args:
      folder: a work directory of `train.py`, a folder of `vidjax convert`, or one step's folder.
      config: settings, of which `data`, `eval` and `mesh` are used; usually the checkpoint's own with a few changes.
      step: number of the update whose checkpoint is evaluated; None: the best by the run's metric or, without metrics,
        the newest.
      out: folder for `eval.json` and the other files; None: the run's folder for the evaluation that training does, too
        (the best checkpoint with the run's own views and videos), or else a new folder in it, named by the differences.
      labels: classes in words, for a network of videos and texts, see `vidjax.zero_shot.read_labels`; empty: none.
      console: console for progress; None: standard output.

    Returns:
      The content of `eval.json`.

    Raises:
      CheckpointFolderError: if there is no such checkpoint.
      ConfigError, DataError: if settings or videos cannot be used.
      UserError: if `out` has the result of a run, and this would be another.
    """
    console = (console or Console()) if parallel.is_writer() else Console(quiet=True)
    config = validate(config)
    mesh = parallel.mesh_of(config.mesh)
    dtype = parallel.compute_dtype(config.model.compute_dtype)
    model, meta, step = load_model(folder, step=step, sharding=parallel.replicated(mesh), dtype=dtype)
    own = validate(meta.config)
    if labels:
        names = read_labels(labels)
        meta = dataclasses.replace(meta, spec=name_classes(model, meta.spec, names), labels=LabelSpace(names))
    videos = load_eval_videos(config, meta.spec.task, meta.labels)
    spec = resolve_spec(meta.spec, config.data)
    if different := other_flow(meta.spec, spec):
        log.warning("%s: %s", folder, different)
    run, standing = run_folder(folder), _standing(folder, step)
    of = identity(config, spec, videos, step=step, checkpoint=standing)
    name = folder_name(own, config, None if standing == BEST else step)
    name = f"{name or 'eval'}_labels" if labels else name
    place = parallel.on_writer(lambda: str(_place(run, name, config, out)))
    console.print(
        f"{meta.config.model.name}: {caption(of)} ({things(len(videos), 'video')}); {parallel.describe(mesh)}",
        highlight=False,
        soft_wrap=True,
    )
    _, params, stats = split(model)
    task = make_task(config, spec, meta.labels, dtype)
    evaluators = {name: make(videos) for name, make in task.evaluators.items()}
    forwards = {name: compile_forward(model, each.forward, mesh) for name, each in evaluators.items()}
    reader = ExampleReader(spec, config.data)
    outcome = run_evaluators(forwards, evaluators, (params, stats), videos, reader, config.eval, mesh, console)
    summary = outcome.summary | of
    if parallel.is_writer():
        title = f"{run.resolve().name}, {meta.config.model.name}: {caption(of)}"
        report.write(place, summary, evaluators.values(), title)
        _write_config(Path(place), run, config)
        report.show(summary, console)
        console.print(report.closing(summary, Path(place)), highlight=False, soft_wrap=True)
    parallel.barrier("evaluated")
    return summary


def _standing(folder: str | Path, step: int) -> str:
    """Standing of the checkpoint of `step` among those of its run."""
    everything = find(Path(folder))[0]
    best, there = best_step(everything), steps(everything)
    return BEST if step == best or len(there) == 1 else LAST if step == there[-1] else EARLIER


def _place(run: Path, name: str, config: cfg.Config, out: str | Path | None) -> Path:
    """The folder for the results; see `out` of `evaluate_checkpoint`, and `name` of `folder_name`."""
    if out is None:
        return beside(run, name, source(config.data))
    out = Path(out)
    if is_checkpoint(out) and (name or out.resolve() != run.resolve()):
        raise UserError(
            f"--out={out}: that folder has a run and its own result, which this evaluation would replace; choose "
            f"another, or omit --out for one in {run}"
        )
    return out


def _write_config(out: Path, run: Path, config: cfg.Config) -> None:
    """Write `config.json` beside an evaluation, for `vidjax compare`; a run's own is not replaced."""
    path = out / "config.json"
    if out.resolve() != run.resolve() or not path.exists():
        path.write_text(json.dumps(cfg.to_dict(config), indent=2) + "\n", encoding="utf-8")
