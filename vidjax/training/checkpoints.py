"""Self-contained Orbax checkpoints: their format, and reading and writing models. `saving` keeps those of a run.

`folder/checkpoints/STEP/` holds three items: `model` (parameters and batch statistics as they are evaluated: the
moving average if there is one), `meta` (config, spec, class names) and, for a run that can be resumed, `train`
(optimiser state, step, raw weights if they differ from the evaluated ones). A folder without `train` is a model, never
a run to resume.
"""

import dataclasses
import json
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
from jax.sharding import Mesh, NamedSharding

from vidjax import config as cfg
from vidjax import parallel
from vidjax.data.records import LabelSpace
from vidjax.errors import UserError
from vidjax.models.build import build_model
from vidjax.models.low_rank import summed, without_pairs
from vidjax.models.state import Arrays, merge, split
from vidjax.tasks import make_task
from vidjax.training import damaged_checkpoints

FOLDER = "checkpoints"


class CheckpointFolderError(UserError):
    """Raised for a folder without the expected kind of checkpoint; names the folder and what was expected."""


# Version of the format that `Meta` writes; unnumbered formats of earlier versions are read too.
FORMAT = 2


@dataclass(frozen=True)
class Meta:
    """Metadata of a checkpoint: all that is needed to use its model."""

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
        """Restore metadata from the values of `to_dict`, including those of older versions.

        Raises:
          CheckpointFolderError: if a newer version wrote the checkpoint.
        """
        if (number := values.get("format", 1)) > FORMAT:
            raise CheckpointFolderError(
                f"the checkpoint has format {number}, but this version of vidjax reads formats up to {FORMAT}: install "
                "a newer version"
            )
        labels = LabelSpace.from_dict(values.get("labels", values))
        return cls(cfg.from_dict(values["config"]), cfg.Spec.from_dict(values["spec"]), labels)


def handlers() -> dict[str, ocp.CheckpointHandler]:
    """Orbax handlers by item; given by name, so that a manager that has saved nothing knows them too."""
    return {
        "model": ocp.StandardCheckpointHandler(),
        "train": ocp.StandardCheckpointHandler(),
        "meta": ocp.JsonCheckpointHandler(),
    }


def save_model(folder: str | Path, model: nnx.Module, meta: Meta) -> Path:
    """Write a model that is ready for `load_model`, evaluation, prediction and `init_from`.

    Returns:
      Absolute path of the folder.

    Raises:
      CheckpointFolderError: if the folder already holds checkpoints.
    """
    folder = Path(folder).absolute()
    if (folder / FOLDER).exists():
        raise CheckpointFolderError(f"{folder} already holds checkpoints; choose another folder or remove it")
    _, params, stats = split(model)
    with ocp.CheckpointManager(folder / FOLDER, item_handlers=handlers()) as manager:
        args = ocp.args.Composite(
            model=ocp.args.StandardSave({"params": params, "stats": stats}), meta=ocp.args.JsonSave(meta.to_dict())
        )
        manager.save(0, args=args)
    return folder


def is_checkpoint(folder: str | Path) -> bool:
    """Whether `load_model` would find checkpoints in a folder."""
    return bool(find(Path(folder))[1])


def steps(folder: str | Path) -> list[int]:
    """Steps, in ascending order, of the checkpoints that `load_model` would find in a folder."""
    return find(Path(folder))[1]


def load_model(
    folder: str | Path,
    *,
    step: int | None = None,
    sharding: NamedSharding | None = None,
    dtype: Any = None,
    pairs: bool = False,
    as_stored: bool = False,
    mesh: Mesh | None = None,
) -> tuple[nnx.Module, Meta, int]:
    """Load a trained model in evaluation mode from a run or model folder.

    Args:
      folder: work directory, its `checkpoints` folder, or the folder of one step.
      step: step of the checkpoint; None: the best by the run's metric or, without metrics, the newest.
      sharding: placement of the arrays; None: replicated over all devices.
      dtype: type of activations; None: the config's `compute_dtype`.
      pairs: whether the network keeps its low-rank pairs, if it was trained with some.
      as_stored: whether parameters keep the type in which they are stored, such as bfloat16; otherwise they are
        float32.
      mesh: mesh over whose devices the parameters are split as in training, in the place of `sharding`; None: none.

    Returns:
      `(model, meta, step)`. Without `pairs`, the products of low-rank pairs are added to the kernels: the model and
      the metadata are those of a plain network.

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
        model = abstract_model(meta, dtype)
        graphdef, params, stats = split(model)
        like: Any = {"params": params, "stats": stats}
        places = parallel.state_sharding(like, mesh) if mesh else jax.tree.map(lambda _: sharding, like)
        try:
            check_fit(manager, step, like)
            types = manager.item_metadata(step)["model"].tree if as_stored else like
            like = jax.tree.map(
                lambda x, place, stored: jax.ShapeDtypeStruct(x.shape, stored.dtype, sharding=place),
                like, places, {kind: types.get(kind) or {} for kind in like},
            )  # fmt: skip
            items = manager.restore(step, args=ocp.args.Composite(model=ocp.args.StandardRestore(like)))
        except (UserError, PermissionError, MemoryError, jax.errors.JaxRuntimeError):
            raise
        except Exception as error:
            others = ", ".join(str(s) for s in steps if s != step)
            raise CheckpointFolderError(
                f"{checkpoints / str(step)} is damaged: {damaged_checkpoints.first_line(error)}. "
                + (f"There are also checkpoints of steps {others}" if others else "There is no other checkpoint there")
            ) from error
    params, stats = items.model["params"], items.model["stats"]
    if meta.config.model.lora_rank and not pairs:
        params = without_pairs(summed(model)(params))
        meta = as_loaded(meta)
        graphdef, _, _ = split(abstract_model(meta, dtype))
    return merge(graphdef, params, stats), meta, step


def as_loaded(meta: Meta) -> Meta:
    """Metadata of the network that `load_model` returns: without low-rank pairs."""
    model = dataclasses.replace(meta.config.model, lora_rank=0)
    return dataclasses.replace(meta, config=dataclasses.replace(meta.config, model=model))


def abstract_model(meta: Meta, dtype: Any = None) -> nnx.Module:
    """Model of a checkpoint with abstract arrays, in evaluation mode.

    Args:
      meta: the checkpoint's metadata.
      dtype: type of activations; None: the config's `compute_dtype`.
    """
    dtype = dtype or parallel.compute_dtype(meta.config.model.compute_dtype)
    head = make_task(meta.config, meta.spec, meta.labels, dtype).head
    return build_model(meta.config, len(meta.labels.names), dtype=dtype, abstract=True, head=head)


def best_step(folder: str | Path) -> int | None:
    """Step of the best checkpoint by the run's metric, the default of `load_model`; None: none was evaluated.

    Args:
      folder: work directory or its `checkpoints` folder.

    Raises:
      CheckpointFolderError: if the folder holds no checkpoint.
    """
    checkpoints, steps = find(Path(folder))
    _need_steps(folder, steps)
    with _reading(checkpoints, read_meta(checkpoints, steps[-1]).config.train.best_metric) as manager:
        return manager.best_step() if _has_metrics(manager) else None


def metric_value(metrics: Mapping[str, float], name: str) -> float:
    """Value that ranks checkpoints: the metric, or minus infinity if it is not finite (without videos, for example)."""
    return metrics[name] if math.isfinite(metrics[name]) else -math.inf


def load_meta(folder: str | Path) -> Meta:
    """Load config, spec and classes of the newest checkpoint in a run or model folder.

    Raises:
      CheckpointFolderError: if the folder holds no checkpoint.
    """
    checkpoints, steps = find(Path(folder))
    _need_steps(folder, steps)
    return read_meta(checkpoints, steps[-1])


def find(folder: Path) -> tuple[Path, list[int]]:
    """Find the folder of the step folders, and its complete steps (only one if `folder` is a step's own folder)."""
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
    """Work directory or converted model that contains `folder`, which may be its `checkpoints` or a step's folder."""
    folder = Path(folder).expanduser()
    checkpoints, _ = find(folder)
    if checkpoints.name != FOLDER:
        return checkpoints if checkpoints != folder.absolute() else folder
    return folder if checkpoints.parent == folder.absolute() else checkpoints.parent


def mismatches(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Lines for the arrays that a checkpoint (`there`) and a model (`here`) do not have in common with equal shape."""
    stored = {path: tuple(array.shape) for path, array in there.items()}
    own = {path: tuple(array.shape) for path, array in here.items()}
    return [
        f"  {path}: {stored.get(path, 'absent')} in the checkpoint, {own.get(path, 'absent')} in the model"
        for path in sorted(stored.keys() | own.keys())
        if stored.get(path) != own.get(path)
    ]


def check_fit(manager: ocp.CheckpointManager, step: int, like: Mapping[str, Arrays]) -> None:
    """Check names and shapes of a checkpoint's model against `like` before reading any array.

    Raises:
      CheckpointFolderError: if they differ; names every array that does.
    """
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
    """Read the metadata of the checkpoint of `step` in the folder `checkpoints`."""
    return Meta.from_dict(ocp.JsonCheckpointHandler().restore(epath.Path(checkpoints / str(step) / "meta")))


def _reading(checkpoints: Path, best_metric: str) -> ocp.CheckpointManager:
    """Read-only Orbax manager, without its warning that it is read-only."""
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
    """Settings that differ between two configs, each as `model.name: 'a' → 'b'`."""
    a, b = dataclasses.asdict(old), dataclasses.asdict(new)

    def walk(a: Any, b: Any, name: str) -> list[str]:
        if isinstance(a, dict) and isinstance(b, dict) and name != "model.kwargs":
            return [line for key in a for line in walk(a[key], b[key], f"{name}.{key}" if name else key)]
        # Tuples among the arguments of a network are stored as lists.
        return [] if a == b or json.dumps(a) == json.dumps(b) else [f"{name}: {a!r} → {b!r}"]

    return walk(a, b, "")
