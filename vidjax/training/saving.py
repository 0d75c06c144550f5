"""The checkpoints of a run: saved in the background, restored, and set aside if damaged."""

import contextlib
import logging
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from vidjax import parallel
from vidjax.errors import UserError
from vidjax.training import checkpoints as ckpt
from vidjax.training import damaged_checkpoints
from vidjax.training.step import TrainState


class CheckpointWriteError(UserError):
    """Raised if a checkpoint cannot be written; gives the reason and the last intact checkpoint."""


class RunCheckpoints:
    """The checkpoints of one run: the last `keep_last` and the best by `best_metric`.

    Visibly damaged ones are set aside with a warning.

    Raises:
      CheckpointFolderError: if there are checkpoints, but all are damaged.
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
        folder = Path(workdir).absolute() / ckpt.FOLDER
        if lost := parallel.on_writer(lambda: damaged_checkpoints.check(folder)):
            raise ckpt.CheckpointFolderError(_all_damaged(folder, lost))
        self._writing: int | None = None  # the update of the last save that was begun
        self._failed = False
        logging.getLogger("absl").addFilter(_said_later)
        self._manager = ocp.CheckpointManager(folder, options=options, item_handlers=ckpt.handlers())

    def _metric(self, metrics: Mapping[str, float]) -> float:
        return ckpt.metric_value(metrics, self._best_metric)

    @property
    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint; None: there is none."""
        return self._manager.latest_step()

    def is_evaluated(self, step: int) -> bool:
        """Whether a checkpoint of `step` with metrics exists."""
        return step in self._manager.all_steps() and self._manager.metrics(step) is not None

    @property
    def best_step(self) -> int | None:
        """Step of the best checkpoint, the later of two equal ones; None: none was saved with metrics."""
        step = self._manager.best_step()
        return step if step is not None and self.is_evaluated(step) else None

    def best_model(self, like: TrainState) -> tuple[int, dict[str, Any]]:
        """Load the best checkpoint: its step, and `{"params", "stats"}` as they are evaluated, placed as in `like`.

        Unreadable checkpoints are set aside. If the best is `like` itself, or no checkpoint was evaluated, the arrays
        of `like` are returned without reading anything.
        """
        own, _ = _items(like)
        while (step := self.best_step) is not None and step != int(like.step):
            model = jax.tree.map(ocp.utils.to_shape_dtype_struct, own)
            items, reason = self._restore(step, model=model)
            if not self._without_damaged(step, reason):
                return step, items.model
        return int(like.step), own

    def save(self, state: TrainState, meta: ckpt.Meta, metrics: Mapping[str, float] | None = None) -> None:
        """Write the state in the background, after waiting for an earlier save to end.

        Raises:
          CheckpointWriteError: if the earlier checkpoint, or this one, could not be written.
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
        """Restore the newest readable checkpoint with the shapes and placement of `like`; set unreadable ones aside.

        Raises:
          CheckpointFolderError: if the newest checkpoint is a model rather than a training state of this run, belongs
            to another model, or none can be read.
        """
        folder, lost = Path(self._manager.directory), []
        while (step := self.latest_step) is not None:
            if not (folder / str(step) / "train").exists():
                raise ckpt.CheckpointFolderError(
                    f"{folder / str(step)} holds a model but no training state: it is not this run's. Choose an empty "
                    "--workdir and start from the model with --config.model.init_from=FOLDER"
                )
            model, train = jax.tree.map(ocp.utils.to_shape_dtype_struct, _items(like))
            names = self._sums_of(step, train["metrics"])
            train["metrics"] = {old: train["metrics"][new or "loss"] for old, new in names.items()}
            items, reason = self._restore(step, model=model, train=train)
            if not self._without_damaged(step, reason):
                raw = items.train.pop("raw", None) or items.model
                ema = items.model if like.ema else {}
                sums = items.train.pop("metrics")
                metrics = like.metrics | {new: sums[old] for old, new in names.items() if new}
                return TrainState(params=raw["params"], stats=raw["stats"], ema=ema, metrics=metrics, **items.train)
            lost.append(str(step))
        raise ckpt.CheckpointFolderError(_all_damaged(folder, lost))

    def _sums_of(self, step: int, own: Mapping[str, Any]) -> dict[str, str]:
        """Name of each sum in a checkpoint → its current name; empty: the sum no longer exists, as older versions kept
        some that the task does not have."""
        try:
            stored = self._manager.item_metadata(step)["train"].tree["metrics"]
        except Exception:  # a damaged checkpoint, reported when it is restored
            return {name: name for name in own}
        today = {name: _RENAMED_SUMS.get(name, name) for name in stored}
        return {old: new if new in own else "" for old, new in today.items()}

    def _restore(self, step: int, **like: dict[str, Any]) -> tuple[Any, str]:
        """Items of one checkpoint by name, or None and the reason why they cannot be read."""
        args = ocp.args.Composite(**{name: ocp.args.StandardRestore(shapes) for name, shapes in like.items()})
        try:
            ckpt.check_fit(self._manager, step, like["model"])
            return self._manager.restore(step, args=args), ""
        except (UserError, PermissionError, MemoryError, jax.errors.JaxRuntimeError):
            raise
        except Exception as error:  # the readers of its many files raise errors of many kinds
            return None, damaged_checkpoints.first_line(error)

    def _without_damaged(self, step: int, reason: str) -> bool:
        """Set a checkpoint aside if any process could not read it, for its `reason`; returns whether it was."""
        reasons = [r for r in parallel.gather_lists([reason]) if r]  # if one process cannot read it, none uses it
        if reasons:
            folder = Path(self._manager.directory)
            parallel.on_writer(lambda: damaged_checkpoints.put_aside(folder, step, reasons[0]))
            self._manager.reload()
        return bool(reasons)

    def latest_meta(self) -> ckpt.Meta:
        """Read the metadata of the newest checkpoint."""
        step = self.latest_step
        assert step is not None  # a run has saved one
        return ckpt.read_meta(Path(self._manager.directory), step)

    def wait(self) -> None:
        """Wait until everything is on disk.

        Raises:
          CheckpointWriteError: if a checkpoint could not be written.
        """
        with self._writes():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait and release the manager. After a failed write, no further error is raised."""
        try:
            with contextlib.suppress(Exception) if self._failed else self._writes():
                self._manager.close()
        finally:
            logging.getLogger("absl").removeFilter(_said_later)

    @contextlib.contextmanager
    def _writes(self) -> Generator[None, None, None]:
        try:
            yield
        except (UserError, jax.errors.JaxRuntimeError):
            raise
        except Exception as error:  # OSError, or TensorStore's version of it
            self._failed = True
            reason = damaged_checkpoints.write_reason(error)
            if reason == damaged_checkpoints.first_line(error) and jax.process_count() > 1:
                raise  # not a disk error: another process may be gone
            folder = Path(self._manager.directory)
            whole = [s for s in ckpt.find(folder)[1] if s != self._writing]
            good = f"That of update {whole[-1]} is intact" if whole else "There is no earlier one"
            raise CheckpointWriteError(
                f"the checkpoint of update {self._writing} could not be written to {folder}: "
                f"{reason}. {good}; make room, and the same command continues"
            ) from error


# Sums in training states of older versions → their current names.
_RENAMED_SUMS = {"clips": "weight"}


def _said_later(record: logging.LogRecord) -> bool:
    """Whether to log an Orbax record: not the tracebacks of its threads, whose errors `wait` and `save` raise."""
    return not (record.exc_info and "orbax" in record.pathname)


def _items(state: TrainState) -> tuple[dict[str, Any], dict[str, Any]]:
    raw = {"params": state.params, "stats": state.stats}
    train = {"step": state.step, "opt_state": state.opt_state, "metrics": state.metrics}
    if state.ema:
        train["raw"] = raw
    return state.ema or raw, train


def _all_damaged(folder: Path, lost: Sequence[str]) -> str:
    return (
        f"{folder}: every checkpoint of this run is damaged ({', '.join(lost)}); nothing is left to continue from. Put "
        "back a copy under its number, or choose a new --workdir (or remove this one) to start from the beginning"
    )
