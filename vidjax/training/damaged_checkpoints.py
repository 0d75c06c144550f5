"""Detection of damaged checkpoints, which are set aside so that a run continues from the last intact one.

Killing a run while it writes a checkpoint causes no damage: Orbax writes under a temporary name and renames at the end.
Damage comes from full or failing disks and from incomplete copies.
"""

import errno
import json
import logging
import os
import shutil
from pathlib import Path

logger = logging.getLogger("vidjax")

_ASIDE = "damaged-"  # prefix of a damaged checkpoint's step, by which Orbax no longer takes it for a checkpoint
# Files of every array item of a checkpoint: names and shapes, and the index of the arrays.
_ARRAYS = ("_METADATA", "manifest.ocdbt")


def visible_damage(folder: Path) -> str | None:
    """Cheap integrity check: a missing or unreadable part of a checkpoint, or None. Array data is not read."""
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
    """Rename the checkpoint of `step`, with a warning."""
    broken, aside = checkpoints / str(step), checkpoints / f"{_ASIDE}{step}"
    if aside.exists():
        shutil.rmtree(aside)
    broken.rename(aside)
    logger.warning("the checkpoint %s is damaged and skipped (%s); it is kept as %s", broken, reason, aside.name)


def check(checkpoints: Path) -> list[str]:
    """Set visibly damaged checkpoints aside.

    Returns:
      If no intact checkpoint is left, the names of all that have been set aside, now or earlier; otherwise [].
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
    except (ValueError, NotADirectoryError):  # ValueError: invalid encoding or JSON
        return f"{path} cannot be read"
    return None


def _empty(path: Path) -> str | None:
    if not path.is_file():
        return f"{path} is missing"
    return None if path.stat().st_size else f"{path} is empty"


def first_line(error: Exception) -> str:
    """Type and first line of an error's message, at most 200 characters of it."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"


def write_reason(error: Exception) -> str:
    """Reason of a failed write: the system's message if one is among the error's causes, or else the first line."""
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
