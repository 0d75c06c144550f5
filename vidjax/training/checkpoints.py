"""Checkpoints with Orbax: atomic, the best one and the last few kept, each complete in itself.

Under `folder/checkpoints/STEP/` lie three items: `model` (parameters and batch statistics as they are evaluated: the
moving average if there is one), `meta` (config, spec, class names) and, for a run that can go on, `train` (optimiser
state, step, raw weights if they differ from the evaluated ones). A folder without `train` is a model, never a run to
resume.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax import nnx
from jax.sharding import NamedSharding

from vidjax import config as cfg
from vidjax import parallel
from vidjax.errors import UserError
from vidjax.models.registry import abstract_model, create_model, get_variant
from vidjax.models.state import Arrays, merge, split
from vidjax.training import damage
from vidjax.training.step import TrainState

logger = logging.getLogger("vidjax")

_FOLDER = "checkpoints"


class CheckpointFolderError(UserError):
    """A folder holds no checkpoint of the kind asked for; the message names it and says what was expected."""


class CheckpointWriteError(UserError):
    """A checkpoint could not be written; the message says why, and which one is the last that was."""


@dataclass(frozen=True)
class Meta:
    """What a checkpoint says about its model, so that it can be used without anything else."""

    config: cfg.Config
    spec: cfg.Spec  # as trained: with the config's clip length, rate and size
    class_names: tuple[str, ...]
    multi_label: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {
            "config": cfg.to_dict(self.config),
            "spec": cfg.to_dict(self.spec),
            "class_names": list(self.class_names),
            "multi_label": self.multi_label,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Meta":
        return cls(
            cfg.from_dict(values["config"]),
            cfg.from_dict(values["spec"], cfg.Spec),
            tuple(values["class_names"]),
            values["multi_label"],
        )


class RunCheckpoints:
    """The checkpoints of one run: the last `keep_last` and the one that is best by `best_metric`.

    Those that are visibly damaged are put aside with a warning.

    Raises:
      CheckpointFolderError: if there were some, and all are damaged.
    """

    def __init__(self, workdir: str | Path, keep_last: int, best_metric: str):
        policies = ocp.checkpoint_managers
        self._best_metric = best_metric
        best = policies.BestN(get_metric_fn=self._metric, n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep_last), best]),
            best_fn=self._metric,
            cleanup_tmp_directories=True,
        )
        folder = Path(workdir).absolute() / _FOLDER
        if lost := parallel.on_writer(lambda: damage.check(folder)):
            raise CheckpointFolderError(_all_damaged(folder, lost))
        self._writing: int | None = None  # the update of the last save that was begun
        self._failed = False
        self._manager = ocp.CheckpointManager(folder, options=options, item_handlers=_handlers())

    def _metric(self, metrics: Mapping[str, float]) -> float:
        return metrics[self._best_metric]

    @property
    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint."""
        return self._manager.latest_step()

    def best(self) -> tuple[int, float] | None:
        """Step and value of the best checkpoint, if any was saved with metrics."""
        step = self._manager.best_step()
        metrics = None if step is None else self._manager.metrics(step)
        return None if metrics is None else (step, metrics[self._best_metric])

    def save(self, state: TrainState, meta: Meta, metrics: Mapping[str, float] | None = None) -> None:
        """Write the state in the background; an earlier save still under way is waited for.

        Raises:
          CheckpointWriteError: if that earlier one, or this, could not be written.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        model, train = _items(state)
        args = ocp.args.Composite(
            model=ocp.args.StandardSave(model),
            train=ocp.args.StandardSave(train),
            meta=ocp.args.JsonSave(meta.to_dict()),
        )
        with self._writes():
            self._manager.wait_until_finished()
            self._writing = step
            self._manager.save(step, args=args, metrics=dict(metrics) if metrics else None, force=True)

    def restore(self, like: TrainState) -> TrainState:
        """The newest checkpoint that can be read, with the shapes and placement of `like`; newer ones are put aside.

        Raises:
          CheckpointFolderError: if the newest checkpoint is a model that was put there, not a state of this run; if it
            is of another model; or if none can be read.
        """
        folder, lost = Path(self._manager.directory), []
        while (step := self.latest_step) is not None:
            if not (folder / str(step) / "train").exists():
                raise CheckpointFolderError(
                    f"{folder / str(step)} holds a model but no training state: it is not this run's. Choose an empty "
                    "--workdir and start from the model with --config.model.init_from=FOLDER"
                )
            state, reason = self._read(step, like)
            # What one process cannot read, all do without.
            reasons = [r for r in parallel.gather_lists([reason]) if r]
            if not reasons:
                return state
            parallel.on_writer(lambda s=step, r=reasons[0]: damage.put_aside(folder, s, r))
            lost.append(str(step))
            self._manager.reload()
        raise CheckpointFolderError(_all_damaged(folder, lost))

    def _read(self, step: int, like: TrainState) -> tuple[TrainState | None, str]:
        """One checkpoint, or None and why it cannot be read."""
        model, train = jax.tree.map(ocp.utils.to_shape_dtype_struct, _items(like))
        args = ocp.args.Composite(model=ocp.args.StandardRestore(model), train=ocp.args.StandardRestore(train))
        try:
            _check_fit(self._manager, step, model, train)
            items = self._manager.restore(step, args=args)
        except (UserError, PermissionError, MemoryError, jax.errors.JaxRuntimeError):
            raise
        except Exception as error:  # whatever the readers of its many files make of what they find
            return None, damage.first_line(error)
        raw = items.train.pop("raw", None) or items.model
        ema = items.model if like.ema else {}
        return TrainState(params=raw["params"], stats=raw["stats"], ema=ema, **items.train), ""

    def latest_meta(self) -> Meta:
        """What the newest checkpoint says about its model."""
        return _read_meta(Path(self._manager.directory), self.latest_step)

    def wait(self) -> None:
        """Return when everything is on disk.

        Raises:
          CheckpointWriteError: if it could not be written.
        """
        with self._writes():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """`wait`, and let go of what writes. After a failed write nothing more is raised."""
        with contextlib.suppress(Exception) if self._failed else self._writes():
            self._manager.close()

    @contextlib.contextmanager
    def _writes(self) -> Iterator[None]:
        try:
            yield
        except (UserError, jax.errors.JaxRuntimeError):
            raise
        except Exception as error:  # OSError, or what TensorStore makes of it
            self._failed = True
            reason = damage.write_reason(error)
            if reason == damage.first_line(error) and jax.process_count() > 1:
                raise  # not of the disk: another process may be gone
            folder = Path(self._manager.directory)
            whole = [s for s in _find(folder)[1] if s != self._writing]
            good = f"That of update {whole[-1]} is whole" if whole else "There is none from before"
            raise CheckpointWriteError(
                f"the checkpoint of update {self._writing} could not be written to {folder}: "
                f"{reason}. {good}; make room, and the same command continues"
            ) from error


def _handlers() -> dict[str, ocp.CheckpointHandler]:
    """Who reads and writes each item: named, so that a manager that has saved nothing knows them too."""
    return {
        "model": ocp.StandardCheckpointHandler(),
        "train": ocp.StandardCheckpointHandler(),
        "meta": ocp.JsonCheckpointHandler(),
    }


def _items(state: TrainState) -> tuple[dict[str, Any], dict[str, Any]]:
    raw = {"params": state.params, "stats": state.stats}
    train = {"step": state.step, "opt_state": state.opt_state, "metrics": state.metrics}
    if state.ema:
        train["raw"] = raw
    return state.ema or raw, train


def save_model(folder: str | Path, model: nnx.Module, meta: Meta) -> Path:
    """Write a model that is ready for `load_model`, evaluation, prediction and `init_from`.

    Returns:
      The folder.

    Raises:
      CheckpointFolderError: if the folder holds checkpoints already.
    """
    folder = Path(folder).absolute()
    if (folder / _FOLDER).exists():
        raise CheckpointFolderError(f"{folder} holds checkpoints already; choose another folder or remove it")
    _, params, stats = split(model)
    with ocp.CheckpointManager(folder / _FOLDER, item_handlers=_handlers()) as manager:
        args = ocp.args.Composite(
            model=ocp.args.StandardSave({"params": params, "stats": stats}), meta=ocp.args.JsonSave(meta.to_dict())
        )
        manager.save(0, args=args)
    return folder


def is_checkpoint(folder: str | Path) -> bool:
    """Whether `load_model` would find checkpoints there."""
    return bool(_find(Path(folder))[1])


def steps(folder: str | Path) -> list[int]:
    """The steps of the checkpoints that `load_model` would find there, rising."""
    return _find(Path(folder))[1]


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
    checkpoints, steps = _find(Path(folder))
    _need_steps(folder, steps)
    if checkpoints / str(steps[-1]) == Path(folder).expanduser().absolute():
        step = steps[-1]
    sharding = sharding or parallel.replicated(parallel.make_mesh())
    meta = _read_meta(checkpoints, steps[-1])
    with ocp.CheckpointManager(
        checkpoints, item_handlers=_handlers(), options=_read_only(meta.config.train.best_metric)
    ) as manager:
        if step is None:
            step = manager.best_step() if _has_metrics(manager) else manager.latest_step()
        if step not in steps:
            raise CheckpointFolderError(
                f"{checkpoints}: no checkpoint of step {step}; there are {', '.join(map(str, steps))}"
            )
        meta = _read_meta(checkpoints, step)
        dtype = dtype or parallel.compute_dtype(meta.config.model.compute_dtype)
        model = build_model(meta.config, len(meta.class_names), dtype=dtype, abstract=True)
        graphdef, params, stats = split(model)
        like = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), {"params": params, "stats": stats}
        )
        try:
            _check_fit(manager, step, like)
            items = manager.restore(step, args=ocp.args.Composite(model=ocp.args.StandardRestore(like)))
        except (UserError, PermissionError, MemoryError, jax.errors.JaxRuntimeError):
            raise
        except Exception as error:
            others = ", ".join(str(s) for s in steps if s != step)
            raise CheckpointFolderError(
                f"{checkpoints / str(step)} is damaged: {damage.first_line(error)}. "
                + (f"There are checkpoints of steps {others} too" if others else "There is no other checkpoint there")
            ) from error
    return merge(graphdef, **items.model), meta, step


def load_meta(folder: str | Path) -> Meta:
    """Config, spec and classes of the newest checkpoint in a run or model folder.

    Raises:
      CheckpointFolderError: if there is none.
    """
    checkpoints, steps = _find(Path(folder))
    _need_steps(folder, steps)
    return _read_meta(checkpoints, steps[-1])


def load_arrays(folder: str | Path) -> tuple[Arrays, Meta]:
    """Parameters and statistics of a checkpoint by path, for starting another model from it."""
    model, meta, _ = load_model(folder)
    _, params, stats = split(model)
    return params | stats, meta


def build_model(config: cfg.Config, num_classes: int, *, dtype: Any, abstract: bool = False) -> nnx.Module:
    """The model that `config.model` describes, freshly initialised or, if `abstract`, as shapes alone."""
    model = config.model
    kwargs = dict(model.kwargs)
    if config.data.num_frames and get_variant(model.name).fixed_length:
        kwargs.setdefault("num_frames", config.data.num_frames)
    probe_options = _probe_options(model)
    if model.dropout >= 0:
        (probe_options if model.probe else kwargs)["dropout"] = model.dropout
    if model.drop_path >= 0:
        kwargs["drop_path"] = model.drop_path
    if model.remat:
        kwargs["remat"] = model.remat

    arguments = {"num_classes": num_classes, "dtype": dtype, "input": model.input, **kwargs}
    if model.probe:
        arguments |= {"probe": model.probe, "probe_options": probe_options}
    try:
        return (
            abstract_model(model.name, **arguments)
            if abstract
            else create_model(model.name, seed=config.seed, **arguments)
        )
    except TypeError as error:
        raise cfg.ConfigError(
            f"config.model.name = {model.name!r} does not take all of {sorted(kwargs)}: {error}"
        ) from error
    except ValueError as error:
        if model.probe and not isinstance(error, UserError):
            raise cfg.ConfigError(f"config.model.probe = {model.probe!r} for {model.name}: {error}") from error
        if isinstance(error, UserError) or not kwargs:
            raise
        raise cfg.ConfigError(f"config.model.name = {model.name!r} with {kwargs}: {error}") from error


def _probe_options(model: cfg.ModelConfig) -> dict[str, Any]:
    if model.probe == "attentive":
        return {"blocks": model.probe_blocks, "heads": model.probe_heads}
    return {"norm": model.probe_norm} if model.probe else {}


def _find(folder: Path) -> tuple[Path, list[int]]:
    """The folder that holds the step folders, and the complete steps in it (one, if `folder` is a step's own)."""
    folder = folder.expanduser().absolute()
    if folder.name.isdigit() and (folder / "meta").exists():
        return folder.parent, [int(folder.name)]
    for candidate in (folder / _FOLDER, folder):
        if candidate.is_dir():
            steps = [int(p.name) for p in candidate.iterdir() if p.name.isdigit() and (p / "meta").exists()]
            if steps:
                return candidate, sorted(steps)
    return folder, []


def mismatches(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """A line for every path that a checkpoint (`there`) and a model (`here`) do not both have with one shape."""
    stored = {path: tuple(array.shape) for path, array in there.items()}
    own = {path: tuple(array.shape) for path, array in here.items()}
    return [
        f"  {path}: {stored.get(path, 'absent')} in the checkpoint, {own.get(path, 'absent')} in the model"
        for path in sorted(stored.keys() | own.keys())
        if stored.get(path) != own.get(path)
    ]


def _all_damaged(folder: Path, lost: Sequence[str]) -> str:
    return (
        f"{folder}: every checkpoint of this run is damaged ({', '.join(lost)}); nothing is left to continue from. Put "
        "back a copy under its number, or choose a new --workdir (or remove this one) to start from the beginning"
    )


def _check_fit(
    manager: ocp.CheckpointManager, step: int, like: Mapping[str, Arrays], train: Mapping[str, Any] | None = None
) -> None:
    """Compare names and shapes before anything is read."""
    stored = manager.item_metadata(step)["model"].tree
    problems = [line for kind in ("params", "stats") for line in mismatches(stored.get(kind) or {}, like[kind])]
    if problems:
        raise CheckpointFolderError(
            f"{manager.directory / str(step)} does not fit this model; choose the config it was trained with:\n"
            + "\n".join(problems)
        )
    if train is not None and (
        other := set(manager.item_metadata(step)["train"].tree["metrics"]) ^ set(train["metrics"])
    ):
        raise CheckpointFolderError(
            f"{manager.directory / str(step)} was written by another version of vidjax (it differs in "
            f"{', '.join(sorted(other))}); continue it with that, or start anew from it with --config.model.init_from"
        )


def _need_steps(folder: str | Path, steps: list[int]) -> None:
    if not steps:
        raise CheckpointFolderError(
            f"{folder}: no vidjax checkpoint there; give a --workdir of train.py or a folder of `vidjax convert`"
        )


def _read_meta(checkpoints: Path, step: int) -> Meta:
    return Meta.from_dict(ocp.JsonCheckpointHandler().restore(checkpoints / str(step) / "meta"))


def _read_only(best_metric: str) -> ocp.CheckpointManagerOptions:
    return ocp.CheckpointManagerOptions(read_only=True, best_fn=lambda metrics: metrics[best_metric])


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
