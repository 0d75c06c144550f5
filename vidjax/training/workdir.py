"""Ownership of a work directory: one run, one config, one training at a time, the same settings in every process."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from vidjax import config as cfg
from vidjax import parallel
from vidjax.data.fingerprint import fingerprint
from vidjax.data.records import VideoSet
from vidjax.training import checkpoints as ckpt

logger = logging.getLogger("vidjax")

# Settings that may change when a run is continued: except for rounding, none of them changes the result.
_MAY_CHANGE = (
    "data.reading.", "train.keep_last", "train.log_every", "train.eval_epochs", "train.checkpoint_epochs",
    "train.compilation_cache", "eval.batch_size", "eval.every", "optimizer.offload", "mesh.", "model.remat",
    "model.scan_blocks",
)  # fmt: skip
_LENGTH = ("train.epochs", "train.steps")
_LOCK = ".lock"
_TEACHER = "teacher.txt"  # fingerprint of its weights
_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class WorkdirError(ckpt.CheckpointFolderError):
    """Raised if a work directory cannot be made or written, is in use, or belongs to a run with other settings."""


def refuse_changes(workdir: Path, old: cfg.Config, new: cfg.Config) -> None:
    """Refuse to continue a run with a config that changes its result.

    Raises:
      WorkdirError: if settings changed that must not; names each, and what to do instead.
    """
    changed = [d for d in ckpt.differences(old, new) if not d.startswith(_MAY_CHANGE)]
    if not changed:
        return
    message = [f"{workdir} holds a run with another config; choose a new --workdir, or repeat that run's settings:"]
    message += [f"  {d}" for d in changed]
    views = [d for d in changed if d.startswith("eval.")]
    if len(views) < len(changed):
        why = "to train for longer" if any(d.startswith(_LENGTH) for d in changed) else "to start from its weights"
        message.append(f"{why}: a new --workdir and --config.model.init_from={workdir}")
    if views:
        flags = " ".join(f"--config.eval.{name}={getattr(new.eval, name)}" for name in _changed_views(old, new))
        message.append(
            f"to evaluate it with other views, beside its own result: python eval.py --workdir={workdir} {flags}"
        )
    raise WorkdirError("\n".join(message))


def _changed_views(old: cfg.Config, new: cfg.Config) -> list[str]:
    return [
        name for name in ("num_clips", "num_crops", "ensemble") if getattr(old.eval, name) != getattr(new.eval, name)
    ]


def refuse_classes(workdir: Path, old: Sequence[str], new: Sequence[str]) -> None:
    """Refuse to continue a run whose classes differ from the data's present ones.

    Raises:
      WorkdirError: if the classes or their order differ.
    """
    if tuple(old) != tuple(new):
        raise WorkdirError(
            f"{workdir} was trained on the classes {', '.join(old)}, but the data now has {', '.join(new)}; "
            "choose a new --workdir"
        )


def refuse_another_teacher(workdir: Path, teacher: str, fingerprint: str) -> None:
    """Note by which weights a run is taught, or refuse to continue it with others.

    Args:
      workdir: work directory.
      teacher: folder of the teacher, for the message.
      fingerprint: fingerprint of its weights, see `vidjax.models.fingerprint`.

    Raises:
      WorkdirError: if it was taught by others; a file of an earlier version, which lacks the note, is completed.
    """
    path = workdir / _TEACHER
    if ckpt.is_checkpoint(workdir) and path.exists():
        if (there := path.read_text(encoding="utf-8").strip()) != fingerprint:
            raise WorkdirError(
                f"{workdir} was taught by weights with the fingerprint {there}, but {teacher} now holds {fingerprint}: "
                "put those back, or choose a new --workdir"
            )
        return
    path.write_text(f"{fingerprint}\n", encoding="utf-8")


def check(workdir: Path, config: cfg.Config) -> None:
    """Refuse a work directory that holds checkpoints of another config, according to its `config.json`.

    Raises:
      WorkdirError: if settings changed, see `refuse_changes`.
    """
    try:
        old = cfg.from_dict(json.loads((workdir / "config.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, json.JSONDecodeError):  # absent or cut off: the checkpoints hold the config too
        return
    if ckpt.is_checkpoint(workdir):
        refuse_changes(workdir, old, config)


def claim(workdir: Path, config: cfg.Config) -> None:
    """Check a work directory and write its `config.json` atomically.

    Raises:
      WorkdirError: if settings changed, see `refuse_changes`.
    """
    check(workdir, config)
    temporary = workdir / "config.tmp"
    temporary.write_text(json.dumps(cfg.to_dict(config), indent=2) + "\n", encoding="utf-8")
    temporary.replace(workdir / "config.json")


def try_place(workdir: Path) -> None:
    """Check that a training could write to `workdir`, leaving nothing behind; for dry runs.

    Raises:
      WorkdirError: if it could not; as in `lock`.
    """
    with _usable(workdir):
        if workdir.is_dir():
            tempfile.TemporaryFile(dir=workdir).close()
        else:
            os.rmdir(tempfile.mkdtemp(dir=_there_of(workdir)))


def _there_of(path: Path) -> Path:
    """The path itself, or else its nearest existing parent."""
    return next(place for place in (path, *path.absolute().parents) if os.path.lexists(place))


@contextlib.contextmanager
def _usable(workdir: Path) -> Generator[None, None, None]:
    """Context that turns an `OSError` into a `WorkdirError` naming the obstacle."""
    try:
        yield
    except OSError as error:
        place, reason = _there_of(workdir), error.strerror or str(error)
        if not place.is_dir():
            reason = f"{place} is not a folder"
        elif isinstance(error, FileNotFoundError):
            reason = f"{place} does not accept new folders"
        elif place != workdir:
            reason += f", in {place}"
        what = f"{workdir} cannot be {'written' if workdir.is_dir() else 'made'}"
        raise WorkdirError(f"the work directory {what}: {reason}; choose another --workdir") from error


@contextlib.contextmanager
def lock(workdir: Path, work: str = "training", given: str = "--workdir") -> Generator[None, None, None]:
    """Context that keeps other trainings out of `workdir`; the system releases the lock whenever the process ends.

    It is a file-system lock, which shared file systems (NFS) support too; without that support nothing is locked.

    Args:
      workdir: folder to lock, made if absent.
      work: what is done in the folder, for the message.
      given: how a user names the folder, for the message.

    Raises:
      WorkdirError: if another process trains there, which is named, or the folder cannot be made or written.
    """
    with _usable(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        locked = open(workdir / _LOCK, "a+", encoding="utf-8")  # noqa: SIM115 - closed below
    # Not flock: processes forked for decoding would keep the lock after this one is killed.
    with locked as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS_HERE:
                logger.debug("%s cannot be locked: %s", workdir, error)
            else:
                file.seek(0)
                raise WorkdirError(
                    f"another {work} is running in {workdir} ({file.read().strip() or 'unknown process'}); "
                    f"wait for it to end, stop it, or choose another {given}"
                ) from None
        else:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
        yield


def check_alike(config: cfg.Config, *sets: VideoSet) -> None:
    """Refuse to train if the processes have different settings or different videos.

    Raises:
      ConfigError: on every process, if they differ; names the differences.
    """
    lines = [f"{name} = {value}" for name, value in sorted(_flat(cfg.to_dict(config)).items())]
    seen = [f"{len(videos)} {name} videos" for videos, name in zip(sets, ("training", "evaluation"), strict=True)]
    all_of_them = parallel.gather_lists([[*lines, *seen, f"a list of videos with digest {fingerprint(*sets)}"]])
    for number, theirs in enumerate(all_of_them):
        differing = [f"{b} (process 0: {a})" for a, b in zip(all_of_them[0], theirs, strict=True) if a != b]
        if differing:
            raise cfg.ConfigError(
                f"process {number} has {'; '.join(differing)}: give all processes the same command and the same files"
            )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
