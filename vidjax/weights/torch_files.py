"""PyTorch's files, read and written without PyTorch: zip archives, and the older legacy pickles.

The archive holds the pickle of the saved object, `NAME/data.pkl`, and each storage as it is in memory,
`NAME/data/KEY`. Legacy files consist of three small pickles, the pickle of the object, and the storages.
Format: PyTorch's `torch/serialization.py`.
"""

import io
import math
import pickle
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vidjax.unpickle import ELEMENTS, STORAGES, Elements, ElementType, Repeats, Storage, load

# Start of a legacy file: a pickle of this number, then one of the format's version.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
_LOCAL_HEADER = 30  # bytes before the name of a file in a zip archive
_ALIGNMENT = 64  # of storages in an archive, as PyTorch writes them


def read_archive(path: Path) -> Any:
    """Read the object saved in a zip archive: plain values, and `Tensor`s that read their storages on demand.

    Raises:
      ForbiddenError: if it holds more than weights.
      ValueError: if it is an archive that `torch.save` did not write.
      Exception: any exception, if it is damaged.
    """
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        members = {info.filename: info for info in archive.infolist()}
        roots = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError(f"it has {len(roots)} files data.pkl, where torch.save writes one")
        (root,) = roots
        if f"{root}constants.pkl" in members:
            raise ValueError("it is a TorchScript program; load it with torch.jit.load and save its state_dict()")

        def place(name: str) -> tuple[int, int]:
            """Start and length of a file in the archive, bytes."""
            info = members[root + name]
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
                raise ValueError(f"{name} is compressed, which torch.save never does")
            file.seek(info.header_offset)
            header = file.read(_LOCAL_HEADER)
            start = info.header_offset + _LOCAL_HEADER + sum(np.frombuffer(header, "<u2", 2, 26).tolist())
            if header[:4] != b"PK\x03\x04" or start + info.file_size > path.stat().st_size:
                raise ValueError(f"{name} is not where the archive says")
            return start, info.file_size

        def content(name: str) -> bytes:
            start, size = place(name)
            file.seek(start)
            return file.read(size)

        swapped = f"{root}byteorder" in members and content("byteorder").strip() == b"big"
        storages: dict[str, Storage] = {}
        repeats = Repeats()

        def find(pid: Any) -> Elements:
            kind, key, count, *_ = _storage(pid)
            if key not in storages:
                start, size = place(f"data/{key}")
                storages[key] = Storage(path, size, start)
            return Elements(kind.dtype, storages[key], 0, count, swapped, repeats)

        return load(io.BytesIO(content("data.pkl")), find)


def read_legacy(path: Path) -> Any:
    """Read the object saved in a file of PyTorch before 1.6, like `read_archive`."""
    storages: dict[str, tuple[Storage, int]] = {}  # with the number of elements
    repeats = Repeats()

    def find(pid: Any) -> Elements:
        kind, key, count, *view = _storage(pid)
        size = kind.dtype.itemsize
        if key not in storages:
            storages[key] = (Storage(path, count * size), count)
        # Early versions could save a part of a storage by itself: key, first element, number of elements.
        start, count = view[0][1:] if view and view[0] is not None else (0, count)
        return Elements(kind.dtype, storages[key][0], start, count, False, repeats)

    with path.open("rb") as file:
        if load(file) != LEGACY_MAGIC or load(file) != _LEGACY_VERSION:
            raise ValueError("it is of an unknown version")
        load(file)  # the machine that wrote it; its storages are little-endian on any
        content = load(file, find)
        for key in load(file):
            count = int.from_bytes(file.read(8), "little")
            storage, expected = storages[key]
            place = file.tell()
            if count != expected or place + storage.nbytes > path.stat().st_size:
                raise ValueError(f"storage {key} of {storage.nbytes} bytes is missing")
            storage.place = place
            file.seek(place + storage.nbytes)
    if absent := [key for key, (storage, _) in storages.items() if storage.place is None]:
        raise ValueError(f"storage {absent[0]} is missing")
    return content


def _storage(pid: Any) -> tuple[Any, ...]:
    """Type, key, count and further fields of a storage from its id in a pickle; its device is ignored."""
    if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and isinstance(pid[1], ElementType)):
        raise pickle.UnpicklingError("it names something that is not a storage")
    _, kind, key, _, count, *view = pid
    return kind, key, count, *view


def write_archive(file: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping of arrays, possibly nested, as `torch.save` writes one of tensors.

    Args:
      file: path to write; an existing file is replaced.
      content: `{name: array}` or `{name: {name: array}}`, of element types that PyTorch has.
    """
    arrays: list[np.ndarray] = []
    data = b"\x80\x02" + _pickled(content, arrays) + b"."
    root = file.stem
    with file.open("wb") as out, zipfile.ZipFile(out, "w") as archive:
        _add(out, archive, f"{root}/data.pkl", data)
        _add(out, archive, f"{root}/byteorder", sys.byteorder.encode())
        for number, array in enumerate(arrays):
            _add(out, archive, f"{root}/data/{number}", array.reshape(-1).view(np.uint8).data)
        _add(out, archive, f"{root}/version", b"3\n")


def _add(out: BinaryIO, archive: zipfile.ZipFile, name: str, data: bytes | memoryview) -> None:
    """Add a file to the archive, with its first byte at a multiple of `_ALIGNMENT`."""
    info = zipfile.ZipInfo(name)
    start = out.tell() + _LOCAL_HEADER + len(name.encode()) + 4
    padding = -start % _ALIGNMENT
    info.extra = b"FB" + padding.to_bytes(2, "little") + bytes(padding)
    archive.writestr(info, data)


# PyTorch's storages by NumPy's element types.
_WRITABLE = {
    np.dtype(ELEMENTS[name]): f"{held}Storage"
    for held, name in STORAGES.items()
    if held not in ("Untyped", "QInt8", "QUInt8", "QInt32", "QUInt4x2", "QUInt2x4")
}


def _pickled(content: Mapping[str, Any], arrays: list[np.ndarray]) -> bytes:
    """The opcodes that build a mapping; its arrays are appended to `arrays`."""
    out = [b"}"]
    for name, value in content.items():
        item = _pickled(value, arrays) if isinstance(value, Mapping) else _tensor(value, arrays)
        out.append(_plain(name) + item + b"s")
    return b"".join(out)


def _tensor(value: Any, arrays: list[np.ndarray]) -> bytes:
    array = np.asarray(value)
    array = np.array(array, array.dtype.newbyteorder("="), order="C")
    if array.dtype not in _WRITABLE:
        raise TypeError(f"PyTorch has no tensors of {array.dtype}")
    storage = b"ctorch\n" + _WRITABLE[array.dtype].encode() + b"\n"
    name = b"(" + _plain("storage") + storage + _plain(str(len(arrays))) + _plain("cpu") + _plain(array.size) + b"tQ"
    arrays.append(array)
    strides = tuple(math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim))
    view = _plain(0) + _plain(array.shape) + _plain(strides)
    no_gradient = b"\x89" + b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + name + view + no_gradient + b"tR"


def _plain(value: Any) -> bytes:
    """The opcodes that put a text, a number or a tuple of numbers on the stack."""
    return pickle.dumps(value, 2)[2:-1]
