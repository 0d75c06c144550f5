"""Checkpoints with Orbax, each complete in itself: what lies in one, models written and read. `saving` has a run's.

Under `folder/checkpoints/STEP/` lie three items: `model` (parameters and batch statistics as they are evaluated: the
moving average if there is one), `meta` (config, spec, class names) and, for a run that can go on, `train` (optimiser
state, step, raw weights if they differ from the evaluated ones). A folder without `train` is a model, never a run to
resume.
"""

import dataclasses
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from flax import nnx
from jax.sharding import NamedSharding

from vidjax import config as cfg
from vidjax import parallel
from vidjax.data.records import LabelSpace
from vidjax.errors import UserError
from vidjax.models.build import build_model
from vidjax.models.state import Arrays, merge, split
from vidjax.tasks import make_task
from vidjax.training import damaged_checkpoints

FOLDER = "checkpoints"


class CheckpointFolderError(UserError):
    """A folder holds no checkpoint of the kind asked for; the message names it and says what was expected."""


# Of what `Meta` writes; those of versions before it had a number are read too.
FORMAT = 2


@dataclass(frozen=True)
class Meta:
    """What a checkpoint says about its model, so that it can be used without anything else."""

    config: cfg.Config
    spec: cfg.Spec  # as trained: with the config's clip length, rate and size
    labels: LabelSpace

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "config": cfg.to_dict(self.config),
            "spec": self.spec.to_dict(),
            "labels": self.labels.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Meta":
        """From what `to_dict` made, also of older versions.

        Raises:
          CheckpointFolderError: for a checkpoint of a newer version.
        """
        if (number := values.get("format", 1)) > FORMAT:
            raise CheckpointFolderError(
                f"the checkpoint has format {number}, and this version of vidjax reads up to {FORMAT}: install a newer "
                "one"
            )
        labels = LabelSpace.from_dict(values.get("labels", values))
        return cls(cfg.from_dict(values["config"]), cfg.Spec.from_dict(values["spec"]), labels)


def handlers() -> dict[str, ocp.CheckpointHandler]:
    """Who reads and writes each item: named, so that a manager that has saved nothing knows them too."""
    return {
        "model": ocp.StandardCheckpointHandler(),
        "train": ocp.StandardCheckpointHandler(),
        "meta": ocp.JsonCheckpointHandler(),
    }


def save_model(folder: str | Path, model: nnx.Module, meta: Meta) -> Path:
    """Write a model that is ready for `load_model`, evaluation, prediction and `init_from`.

    Returns:
      The folder.

    Raises:
      CheckpointFolderError: if the folder holds checkpoints already.
    """
    folder = Path(folder).absolute()
    if (folder / FOLDER).exists():
        raise CheckpointFolderError(f"{folder} holds checkpoints already; choose another folder or remove it")
    _, params, stats = split(model)
    with ocp.CheckpointManager(folder / FOLDER, item_handlers=handlers()) as manager:
        args = ocp.args.Composite(
            model=ocp.args.StandardSave({"params": params, "stats": stats}), meta=ocp.args.JsonSave(meta.to_dict())
        )
        manager.save(0, args=args)
    return folder


def is_checkpoint(folder: str | Path) -> bool:
    """Whether `load_model` would find checkpoints there."""
    return bool(find(Path(folder))[1])


def steps(folder: str | Path) -> list[int]:
    """The steps of the checkpoints that `load_model` would find there, rising."""
    return find(Path(folder))[1]


def load_model(
    folder: str | Path, *, step: int | None = None, sharding: NamedSharding | None = None, dtype: Any = None
) -> tuple[nnx.Module, Meta, int]:
    """A trained model in evaluation mode, from a run or model folder.

    Args:
      folder: a work directory, its `checkpoints` folder, or one step's folder.
      step: which checkpoint; None: the best by the run's metric or, without metrics, the newest.
      sharding: placement of the arrays; None: replicated over all devices.
      dtype: what activations are computed in; None: the config's `compute_dtype`.

    Returns:
      `(model, meta, step)`.

    Raises:
      CheckpointFolderError: if there is no such checkpoint.
    """
    checkpoints, steps = find(Path(folder))
    _need_steps(folder, steps)
    if checkpoints / str(steps[-1]) == Path(folder).expanduser().absolute():
        step = steps[-1]
    sharding = sharding or parallel.replicated(parallel.make_mesh())
    meta = read_meta(checkpoints, steps[-1])
    with _reading(checkpoints, meta.config.train.best_metric) as manager:
        if step is None:
            step = manager.best_step() if _has_metrics(manager) else manager.latest_step()
        if step not in steps:
            raise CheckpointFolderError(
                f"{checkpoints}: no checkpoint of step {step}; there are {', '.join(map(str, steps))}"
            )
        meta = read_meta(checkpoints, step)
        dtype = dtype or parallel.compute_dtype(meta.config.model.compute_dtype)
        head = make_task(meta.config, meta.spec, meta.labels, dtype).head
        model = build_model(meta.config, len(meta.labels.names), dtype=dtype, abstract=True, head=head)
        graphdef, params, stats = split(model)
        like = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), {"params": params, "stats": stats}
        )
        try:
            check_fit(manager, step, like)
            items = manager.restore(step, args=ocp.args.Composite(model=ocp.args.StandardRestore(like)))
        except (UserError, PermissionError, MemoryError, jax.errors.JaxRuntimeError):
            raise
        except Exception as error:
            others = ", ".join(str(s) for s in steps if s != step)
            raise CheckpointFolderError(
                f"{checkpoints / str(step)} is damaged: {damaged_checkpoints.first_line(error)}. "
                + (f"There are checkpoints of steps {others} too" if others else "There is no other checkpoint there")
            ) from error
    return merge(graphdef, **items.model), meta, step


def best_step(folder: str | Path) -> int | None:
    """The step of the checkpoint that is best by the run's metric, which `load_model` takes; None: none was evaluated.

    Args:
      folder: a work directory or its `checkpoints` folder.

    Raises:
      CheckpointFolderError: if it holds no checkpoint.
    """
    checkpoints, steps = find(Path(folder))
    _need_steps(folder, steps)
    with _reading(checkpoints, read_meta(checkpoints, steps[-1]).config.train.best_metric) as manager:
        return manager.best_step() if _has_metrics(manager) else None


def metric_value(metrics: Mapping[str, float], name: str) -> float:
    """What checkpoints are ranked by: the metric, or minus infinity where it is not finite (of no videos, say)."""
    return metrics[name] if math.isfinite(metrics[name]) else -math.inf


def load_meta(folder: str | Path) -> Meta:
    """Config, spec and classes of the newest checkpoint in a run or model folder.

    Raises:
      CheckpointFolderError: if there is none.
    """
    checkpoints, steps = find(Path(folder))
    _need_steps(folder, steps)
    return read_meta(checkpoints, steps[-1])


def find(folder: Path) -> tuple[Path, list[int]]:
    """The folder that holds the step folders, and the complete steps in it (one, if `folder` is a step's own)."""
    folder = folder.expanduser().absolute()
    if folder.name.isdigit() and (folder / "meta").exists():
        return folder.parent, [int(folder.name)]
    for candidate in (folder / FOLDER, folder):
        if candidate.is_dir():
            steps = [int(p.name) for p in candidate.iterdir() if p.name.isdigit() and (p / "meta").exists()]
            if steps:
                return candidate, sorted(steps)
    return folder, []


def run_folder(folder: str | Path) -> Path:
    """The work directory or converted model that `folder`, which may be its `checkpoints` or one step's, belongs to."""
    folder = Path(folder).expanduser()
    checkpoints, _ = find(folder)
    if checkpoints.name != FOLDER:
        return checkpoints if checkpoints != folder.absolute() else folder
    return folder if checkpoints.parent == folder.absolute() else checkpoints.parent


def mismatches(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """A line for every path that a checkpoint (`there`) and a model (`here`) do not both have with one shape."""
    stored = {path: tuple(array.shape) for path, array in there.items()}
    own = {path: tuple(array.shape) for path, array in here.items()}
    return [
        f"  {path}: {stored.get(path, 'absent')} in the checkpoint, {own.get(path, 'absent')} in the model"
        for path in sorted(stored.keys() | own.keys())
        if stored.get(path) != own.get(path)
    ]


def check_fit(manager: ocp.CheckpointManager, step: int, like: Mapping[str, Arrays]) -> None:
    """Compare names and shapes before anything is read."""
    stored = manager.item_metadata(step)["model"].tree
    problems = [line for kind in ("params", "stats") for line in mismatches(stored.get(kind) or {}, like[kind])]
    if problems:
        raise CheckpointFolderError(
            f"{manager.directory / str(step)} does not fit this model; choose the config it was trained with:\n"
            + "\n".join(problems)
        )


def _need_steps(folder: str | Path, steps: list[int]) -> None:
    if not steps:
        raise CheckpointFolderError(
            f"{folder}: no vidjax checkpoint there; give a --workdir of train.py or a folder of `vidjax convert`"
        )


def read_meta(checkpoints: Path, step: int) -> Meta:
    """What the checkpoint of `step` in the folder `checkpoints` says about its model."""
    return Meta.from_dict(ocp.JsonCheckpointHandler().restore(epath.Path(checkpoints / str(step) / "meta")))


def _reading(checkpoints: Path, best_metric: str) -> ocp.CheckpointManager:
    """Orbax's manager, for reading alone; it need not warn that this is what it does."""
    options = ocp.CheckpointManagerOptions(
        read_only=True, save_interval_steps=0, create=False, best_fn=lambda metrics: metric_value(metrics, best_metric)
    )
    absl = logging.getLogger("absl")
    absl.addFilter(_not_that_it_only_reads)
    try:
        return ocp.CheckpointManager(checkpoints, item_handlers=handlers(), options=options)
    finally:
        absl.removeFilter(_not_that_it_only_reads)


def _not_that_it_only_reads(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Given directory is read only")


def _has_metrics(manager: ocp.CheckpointManager) -> bool:
    return any(manager.metrics(step) for step in manager.all_steps())


def differences(old: cfg.Config, new: cfg.Config) -> list[str]:
    """Settings that differ between two configs, as `model.name: 'a' → 'b'`."""
    a, b = dataclasses.asdict(old), dataclasses.asdict(new)

    def walk(a: Any, b: Any, name: str) -> list[str]:
        if isinstance(a, dict) and isinstance(b, dict) and name != "model.kwargs":
            return [line for key in a for line in walk(a[key], b[key], f"{name}.{key}" if name else key)]
        return [] if a == b else [f"{name}: {a!r} → {b!r}"]

    return walk(a, b, "")
