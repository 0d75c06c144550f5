"""Checkpoints that cannot be read: found, named and put aside, so that a run goes on from the last whole one.

A kill while a checkpoint is written leaves none of these: Orbax writes under a temporary name and renames at the end.
They come of full or broken disks and of copies cut short.
"""

import errno
import json
import logging
import os
import shutil
from pathlib import Path

logger = logging.getLogger("vidjax")

_ASIDE = "damaged-"  # the name that a checkpoint gets, before its step; Orbax takes it for none of its own
# What every array item of a checkpoint has: names and shapes, and the index of the arrays.
_ARRAYS = ("_METADATA", "manifest.ocdbt")


def visible_damage(folder: Path) -> str | None:
    """What of one checkpoint is absent or unreadable at a glance, or None; arrays themselves show it when restored."""
    described = _json_problem(folder / "_CHECKPOINT_METADATA")
    if described:
        return described
    items = json.loads((folder / "_CHECKPOINT_METADATA").read_text()).get("item_handlers")
    if not isinstance(items, dict):
        return f"{folder / '_CHECKPOINT_METADATA'} lists no items"
    for name in items:
        item = folder / name
        if not item.is_dir():
            return f"{item} is missing"
        if name in ("meta", "metrics"):
            problem = _json_problem(item / ("metadata" if name == "meta" else "metrics"))
        else:
            problem = _json_problem(item / _ARRAYS[0]) or _empty(item / _ARRAYS[1])
        if problem:
            return problem
    return None


def put_aside(checkpoints: Path, step: int, reason: str) -> None:
    """Rename the checkpoint of `step`, and say so."""
    broken, aside = checkpoints / str(step), checkpoints / f"{_ASIDE}{step}"
    if aside.exists():
        shutil.rmtree(aside)
    broken.rename(aside)
    logger.warning("the checkpoint %s is damaged and left out (%s); it is kept as %s", broken, reason, aside.name)


def check(checkpoints: Path) -> list[str]:
    """Put aside what is visibly damaged.

    Returns:
      The names of all that have been put aside, now or before, if no whole checkpoint is left.
    """
    steps = sorted(int(p.name) for p in checkpoints.iterdir() if p.name.isdigit()) if checkpoints.is_dir() else []
    whole = []
    for step in steps:
        if reason := visible_damage(checkpoints / str(step)):
            put_aside(checkpoints, step, reason)
        else:
            whole.append(step)
    return [] if whole or not checkpoints.is_dir() else sorted(p.name for p in checkpoints.glob(f"{_ASIDE}*"))


def _json_problem(path: Path) -> str | None:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return f"{path} is missing"
    except (ValueError, NotADirectoryError):  # of the encoding or of JSON
        return f"{path} cannot be read"
    return None


def _empty(path: Path) -> str | None:
    if not path.is_file():
        return f"{path} is missing"
    return None if path.stat().st_size else f"{path} is empty"


def first_line(error: Exception) -> str:
    """What went wrong in a line of bearable length."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"


def write_reason(error: Exception) -> str:
    """Why a write failed: the system's word for it if it is found among an error's causes, or the first line."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    for one in chain:
        if isinstance(one, OSError) and one.errno:
            return f"{os.strerror(one.errno)}"
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO):
            if os.strerror(number) in str(one):
                return os.strerror(number)
    return first_line(error)
