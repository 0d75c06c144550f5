"""Reading of Flax's checkpoint files, as projects in Linen save them: one MessagePack file, or a NumPy archive."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

# Where training states keep the parameters, the newest layout first.
_PLACES = (("params",), ("optimizer", "target"), ("target",))


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
    return _flat(_parameters(content))


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


def _parameters(content: Mapping[str, Any]) -> Mapping[str, Any]:
    for place in _PLACES:
        inner: Any = content
        for name in place:
            inner = inner.get(name) if isinstance(inner, Mapping) else None
        if isinstance(inner, Mapping):
            return _parameters(inner)
    return content


def _flat(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        where = f"{path}.{name}" if path else name
        flat |= _flat(value, where) if isinstance(value, Mapping) else {where: np.asarray(value)}
    return flat
