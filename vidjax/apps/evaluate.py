"""Evaluate a trained model: what `eval.py` does."""

import dataclasses
from pathlib import Path
from typing import Any

from rich.console import Console

from vidjax import config as cfg
from vidjax import parallel
from vidjax.checks import validate
from vidjax.choices import WHOLE_VIDEO_RULES
from vidjax.data import datasets
from vidjax.data.clips import ClipReader
from vidjax.data.mirroring import pair
from vidjax.data.quarantine import mark, read
from vidjax.data.records import DataError, VideoSet, load_eval_set, load_sets
from vidjax.evaluation import report
from vidjax.evaluation.evaluate import evaluate, make_forward
from vidjax.evaluation.reconstruct import evaluate_reconstruction, make_reconstruct
from vidjax.models.state import split
from vidjax.training.checkpoints import Meta, load_model
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
      out: folder for `eval.json` and the rest; None: `folder`.
      console: where progress goes; None: standard output.

    Returns:
      What is written to `eval.json`.
    """
    console = (console or Console()) if parallel.is_writer() else Console(quiet=True)
    validate(config)
    mesh = parallel.make_mesh(config.mesh.data, fsdp=config.mesh.fsdp, model=config.mesh.model)
    dtype = parallel.compute_dtype(config.model.compute_dtype)
    model, meta, step = load_model(folder, step=step, sharding=parallel.replicated(mesh), dtype=dtype)
    videos = mark(pair(_eval_videos(config, meta), config.data.flip_pairs), read(config.data))
    classifies = meta.spec.objective == "classify"
    spec = meta.spec
    console.print(
        f"{meta.config.model.name} after update {step} on {things(len(videos), 'video')}, "
        f"{_clips(config)} × {things(config.eval.num_crops, 'crop')}; {parallel.describe(mesh)}",
        highlight=False,
    )
    _, params, stats = split(model)
    make, run = (make_forward, evaluate) if classifies else (make_reconstruct, evaluate_reconstruction)
    forward = make(model, spec, mesh, dtype)
    reader = ClipReader(spec, config.data)
    summary, scores = run(forward, params, stats, videos, reader, config.eval, mesh, console)
    summary["step"] = step
    out = Path(out or folder)
    if parallel.is_writer():
        if classifies:
            report.write(out, summary, scores, videos)
        else:
            report.write_reconstruction(out, summary, scores)
        report.show(summary, console)
        console.print(report.headline(summary), highlight=False, soft_wrap=True)
        console.print(f"results in {out / 'eval.json'}", highlight=False, soft_wrap=True)
    parallel.barrier("evaluated")
    return summary


def _clips(config: cfg.Config) -> str:
    if config.data.eval_sampling in WHOLE_VIDEO_RULES:
        return f"{config.data.eval_sampling}: as many clips as it takes"
    return things(config.eval.num_clips, "clip")


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
