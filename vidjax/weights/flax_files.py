"""Reading of Flax's checkpoints, as projects in Linen save them: a MessagePack file, a NumPy archive, or variables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

# Where training states keep the parameters, the newest layout first.
_PLACES = (("params",), ("optimizer", "target"), ("target",))

# Collections of variables with the weights of a module: trained ones and running statistics.
_COLLECTIONS = {"params", "batch_stats"}
_LEVELS = 32  # deepest nesting of modules: a malicious file can hold a mapping within itself


def is_msgpack(start: bytes) -> bool:
    """Whether a file that begins with these bytes may be a MessagePack mapping of at least one entry."""
    return start[:1] in (b"\xde", b"\xdf") or 0x81 <= start[0] <= 0x8F


def read_msgpack(path: Path) -> dict[str, Any]:
    """Read the parameters of a checkpoint by their paths, joined by dots.

    Args:
      path: file of a training state, whose parameters are at `params` or `optimizer.target`, or of parameters alone.

    Raises:
      Exception: of any kind, if the file is damaged; ValueError: if it holds no mapping.
    """
    from flax.serialization import msgpack_restore

    content = msgpack_restore(path.read_bytes())
    if not isinstance(content, Mapping):
        raise ValueError(f"a {type(content).__name__}, not a training state")
    return {path: np.asarray(value) for path, value in _flat(_parameters(content)).items()}


def read_archive_of_tree(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a NumPy archive (`.npz`) by their paths, joined by dots instead of slashes.

    NumPy knows no bfloat16 and stores it as two bytes without a type: these are read as the upper half of a float32.

    Raises:
      Exception: of any kind, if the file is damaged; ValueError: if it holds anything but arrays of numbers.
    """
    out = {}
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            array = archive[name]
            if array.dtype.kind == "V" and array.dtype.itemsize == 2:
                array = (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
            out[name.replace("/", ".")] = array
    return out


def flat_variables(content: Any) -> Any:
    """Flatten the variables of a Linen module to arrays by their paths, joined by dots: `params.Conv_0.kernel`.

    Args:
      content: mapping of nested arrays, `{"params": …}` or `{"params": …, "batch_stats": …}`; anything else is returned
        as it is.

    Raises:
      ValueError: if one mapping stands in several places, or within itself.
    """
    if not isinstance(content, Mapping) or "params" not in content or content.keys() - _COLLECTIONS:
        return content
    return _flat(content) if all(isinstance(part, Mapping) for part in content.values()) else content


def _parameters(content: Mapping[str, Any]) -> Mapping[str, Any]:
    for place in _PLACES:
        inner: Any = content
        for name in place:
            inner = inner.get(name) if isinstance(inner, Mapping) else None
        if isinstance(inner, Mapping):
            return _parameters(inner)
    return content


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    seen: set[int] = set()  # a file of a kilobyte could hold one mapping in any number of places

    def add(branch: Mapping[str, Any], path: tuple[str, ...]) -> None:
        if id(branch) in seen or len(path) > _LEVELS:
            raise ValueError(f"{'.'.join(path[:4])} holds a mapping that is elsewhere too, or too many levels")
        seen.add(id(branch))
        for name, value in branch.items():
            if isinstance(value, Mapping):
                add(value, (*path, str(name)))
            else:
                flat[".".join((*path, str(name)))] = value

    add(tree, ())
    return flat
