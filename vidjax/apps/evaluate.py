"""Evaluate a trained model: what `eval.py` does."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from vidjax import config as cfg
from vidjax import parallel
from vidjax.config.validate import validate
from vidjax.data.listing import datasets
from vidjax.data.listing.mirroring import pair
from vidjax.data.listing.quarantine import mark, read
from vidjax.data.reading.clips import ClipReader
from vidjax.data.records import DataError, VideoSet, load_eval_set, load_sets
from vidjax.data.spec import resolve_spec
from vidjax.errors import UserError
from vidjax.evaluation import report
from vidjax.evaluation.evaluate import evaluate, make_forward
from vidjax.evaluation.identity import BEST, EARLIER, LAST, beside, caption, folder_name, identity, source
from vidjax.evaluation.reconstruct import evaluate_reconstruction, make_reconstruct
from vidjax.models.state import split
from vidjax.training.checkpoints import Meta, best_step, find, is_checkpoint, load_model, run_folder, steps
from vidjax.wording import things


def evaluate_checkpoint(
    folder: str | Path,
    config: cfg.Config,
    *,
    step: int | None = None,
    out: str | Path | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Score a checkpoint on the evaluation videos of `config` and write the report.

    Args:
      folder: a work directory of `train.py`, a folder of `vidjax convert`, or one step's folder.
      config: `data`, `eval` and `mesh` are used; usually the checkpoint's own with some fields changed.
      step: which checkpoint; None: the best by the run's metric or, without metrics, the newest.
      out: folder for `eval.json` and the rest; None: that of the run for what its training evaluates too, the best
        checkpoint with the run's own views and videos, and for anything else a new one in it, named by what differs.
      console: where progress goes; None: standard output.

    Returns:
      What is written to `eval.json`.

    Raises:
      CheckpointFolderError: if there is no such checkpoint.
      ConfigError, DataError: for settings or videos that cannot be used.
      UserError: if `out` has the result of a run, and this would be another.
    """
    console = (console or Console()) if parallel.is_writer() else Console(quiet=True)
    config = validate(config)
    mesh = parallel.make_mesh(config.mesh.data, fsdp=config.mesh.fsdp, model=config.mesh.model)
    dtype = parallel.compute_dtype(config.model.compute_dtype)
    model, meta, step = load_model(folder, step=step, sharding=parallel.replicated(mesh), dtype=dtype)
    videos = mark(pair(_eval_videos(config, meta), config.task.classify.flip_pairs), read(config.data))
    spec = resolve_spec(meta.spec, config.data, meta.spec.input)
    run, standing = run_folder(folder), _standing(folder, step)
    of = identity(config, spec, videos, step=step, checkpoint=standing)
    name = folder_name(validate(meta.config), config, None if standing == BEST else step)
    place = parallel.on_writer(lambda: str(_place(run, name, config, out)))
    classifies = meta.spec.objective == "classify"
    console.print(
        f"{meta.config.model.name}: {caption(of)} ({things(len(videos), 'video')}); {parallel.describe(mesh)}",
        highlight=False,
        soft_wrap=True,
    )
    _, params, stats = split(model)
    make, score = (make_forward, evaluate) if classifies else (make_reconstruct, evaluate_reconstruction)
    forward = make(model, spec, mesh, dtype)
    reader = ClipReader(spec, config.data)
    summary, scores = score(forward, params, stats, videos, reader, config.eval, mesh, console)
    summary |= of
    if parallel.is_writer():
        report.write(place, summary, scores, videos, f"{run.resolve().name}, {meta.config.model.name}: {caption(of)}")
        _write_config(Path(place), run, config)
        report.show(summary, console)
        console.print(report.closing(summary, Path(place)), highlight=False, soft_wrap=True)
    parallel.barrier("evaluated")
    return summary


def _standing(folder: str | Path, step: int) -> str:
    """What the checkpoint of `step` is among those of its run."""
    everything = find(Path(folder))[0]
    best, there = best_step(everything), steps(everything)
    return BEST if step == best or len(there) == 1 else LAST if step == there[-1] else EARLIER


def _place(run: Path, name: str, config: cfg.Config, out: str | Path | None) -> Path:
    """The folder to write to; see `out` of `evaluate_checkpoint`, and `name` of `folder_name`."""
    if out is None:
        return beside(run, name, source(config.data))
    out = Path(out)
    if is_checkpoint(out) and (name or out.resolve() != run.resolve()):
        raise UserError(
            f"--out={out}: that folder has a run and its own result, which this evaluation is not; choose another, or "
            f"leave --out away for one in {run}"
        )
    return out


def _write_config(out: Path, run: Path, config: cfg.Config) -> None:
    """`config.json` beside an evaluation, so that `vidjax compare` can read it; a run's own stays as it is."""
    path = out / "config.json"
    if out.resolve() != run.resolve() or not path.exists():
        path.write_text(json.dumps(cfg.to_dict(config), indent=2) + "\n", encoding="utf-8")


def _eval_videos(config: cfg.Config, meta: Meta) -> VideoSet:
    """The evaluation videos, labelled with the checkpoint's classes."""
    if meta.spec.objective != "classify":
        if config.data.eval and not config.data.dataset:
            return load_eval_set(config.data.eval, config.data.root, meta.class_names, meta.multi_label)
        return load_sets(config.data, config.seed, labelled=False)[1]
    if config.data.dataset:
        videos = datasets.load_eval_set(config.data)
        if videos.class_names != meta.class_names:
            raise DataError(f"config.data.dataset = {config.data.dataset!r} has other classes than the checkpoint")
        return dataclasses.replace(videos, multi_label=meta.multi_label)
    if config.data.eval:
        return load_eval_set(config.data.eval, config.data.root, meta.class_names, meta.multi_label)
    if not config.data.train:
        raise DataError("give the videos to evaluate: --config.data.eval=FILE.csv or a folder")
    _, videos = load_sets(config.data, config.seed)
    if videos.class_names != meta.class_names:
        raise DataError(f"{config.data.train} now has other classes than the checkpoint; give --config.data.eval")
    return dataclasses.replace(videos, multi_label=meta.multi_label)
