"""Reading of checkpoint files, folders and state dicts as `{key: NumPy array}`, from any framework or wrapper.

Formats are recognised by content, not by file name. Pickles, including PyTorch's, are read without PyTorch, by an
unpickler that builds arrays and plain values and never runs code from the file.
"""

import json
import os
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from vidjax.errors import UserError
from vidjax.unpickle import ForbiddenError, load
from vidjax.weights.flax_files import flat_variables, is_msgpack, read_archive_of_tree, read_msgpack
from vidjax.weights.torch_files import LEGACY_MAGIC, read_archive, read_legacy

# Entries under which training scripts save the state dict, beside the epoch, the optimiser and the like.
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "module", "encoder", "blobs")
# Entry of the weights' moving average, which is what such checkpoints are evaluated with; it is read if it is there.
AVERAGE = "state_dict_ema"
_LEVELS = 16  # deepest nesting of these entries: a damaged or malicious file can hold a mapping within itself
# Prefixes that wrapper modules (DataParallel, torch.compile, a Lightning module) add to every key.
PREFIXES = ("module.", "_orig_mod.", "model.")

_HALVES = ("float16", "bfloat16")
# Start of a legacy PyTorch file: a pickle of this number.
_TORCH_MAGIC = LEGACY_MAGIC.to_bytes(10, "little")


class CheckpointError(UserError):
    """A checkpoint that cannot be read or does not fit the model; the message names the file or keys, and a remedy.

    Attributes:
      problems: all mismatches of a checkpoint that does not fit, `{kind: [keys or parameters]}`; the message names the
        first ten of each kind.
    """

    def __init__(self, message: str, problems: Mapping[str, Sequence[str]] | None = None):
        super().__init__(message)
        self.problems = {title: tuple(lines) for title, lines in (problems or {}).items()}


class SourceError(CheckpointError):
    """A checkpoint whose keys fit the model, but not for certain its weights: sources differ in what shapes hide."""


def read_state_dict(
    checkpoint: str | os.PathLike | Mapping[str, Any], prefixes: tuple[str, ...] = PREFIXES, *, halves: bool = False
) -> dict[str, np.ndarray]:
    """Read the arrays of a checkpoint by their keys.

    Args:
      checkpoint: a PyTorch file (`.pth`, `.pt`, `.pyth`, `.th`, `.ckpt`, `.bin`; zip or legacy pickle), a plain pickle
        of NumPy arrays (caffe2's `.pkl`; from Python 2 too), a `.safetensors` file, a training state of Flax in
        MessagePack, parameters of Flax in a NumPy archive (`.npz`; slashes in names become dots), a folder as
        transformers saves it (whole or in shards), or a mapping of PyTorch tensors, NumPy or JAX arrays. Variables of a
        Flax Linen module, `params` and perhaps `batch_stats`, have their paths, joined by dots, as keys. The arrays may
        be nested under the names in `WRAPPERS`, several levels deep; entries beside these names are ignored. Where
        there is a moving average of the weights, `AVERAGE`, it is taken.
      prefixes: prefixes removed, repeatedly, if every key has them.
      halves: whether 16-bit floats of files remain 16-bit, so that they can stay in the files until they are used.

    Returns:
      `{key: array}`; without `halves`, 16-bit floats as float32; other types unchanged. Arrays of safetensors and of
      PyTorch's zip archives are mapped into memory: what is not used is not read.

    Raises:
      CheckpointError: if it cannot be read, holds code, or has something other than arrays among the arrays.
      FileNotFoundError: if there is no such file.
    """
    if isinstance(checkpoint, Mapping):
        where, content = "the state dict", checkpoint
    elif isinstance(checkpoint, str | os.PathLike):
        where, content = str(checkpoint), _read_path(Path(checkpoint))
    else:
        hint = " Give its state_dict()." if hasattr(checkpoint, "state_dict") else ""
        raise CheckpointError(f"a checkpoint is a path or a mapping of arrays, not {type(checkpoint).__name__}.{hint}")
    content = _unwrapped(content, where)
    try:
        content = flat_variables(content)
    except ValueError as error:
        raise CheckpointError(f"{where}: is no tree of weights ({error}). Fetch it again.") from None
    arrays, odd = {}, []
    for key, value in content.items():
        array = _array(value) if isinstance(key, str) else None
        if array is None:
            odd.append(f"{key!r} ({type(value).__name__})")
        else:
            arrays[key] = array if halves else in_float32(array)
    if odd:
        raise CheckpointError(
            f"{where}: these entries among the weights are not arrays: {', '.join(odd)}. "
            f"Give only the weights, or nest them under {', '.join(WRAPPERS)}."
        )
    if not arrays:
        raise CheckpointError(f"{where}: holds no weights")
    start = len(common_start(arrays, prefixes))
    return {key[start:]: array for key, array in arrays.items()}


def common_start(keys: Collection[str], prefixes: Sequence[str] = PREFIXES) -> str:
    """Prefixes, one after the other, with which every one of the keys begins."""
    start = ""
    while prefix := next((p for p in prefixes if keys and all(key.startswith(start + p) for key in keys)), ""):
        start += prefix
    return start


def _unwrapped(content: Any, where: str) -> Mapping[Any, Any]:
    """Return the innermost mapping under the names in `WRAPPERS`."""
    path = []
    while True:
        if not isinstance(content, Mapping):
            at = f" under {'.'.join(path)}" if path else ""
            hint = " Save its state_dict() instead." if hasattr(content, "state_dict") else ""
            raise CheckpointError(f"{where}: has a {type(content).__name__}{at}, not a state dict.{hint}")
        averaged = isinstance(content.get(AVERAGE), Mapping)
        inner = [AVERAGE] if averaged else [name for name in WRAPPERS if isinstance(content.get(name), Mapping)]
        if not inner:
            return content
        if len(inner) > 1:
            raise CheckpointError(
                f"{where}: has several state dicts, {' and '.join(inner)}. Read the file and give the one you want."
            )
        path.append(inner[0])
        content = content[inner[0]]
        if len(path) > _LEVELS:
            raise CheckpointError(f"{where}: has no weights {_LEVELS} levels deep, under {'.'.join(path[:4])}.…")


def _array(value: Any) -> np.ndarray | None:
    """Convert a tensor or array to a NumPy array, 16-bit floats of tensors to float32; None for anything else."""
    if hasattr(value, "detach") and hasattr(value, "numpy"):  # a PyTorch tensor, without importing PyTorch
        value = value.detach().cpu()
        if str(value.dtype) in ("torch.bfloat16", "torch.float16"):
            value = value.float()
        try:
            value = value.numpy()
        except (RuntimeError, TypeError):  # sparse and quantised tensors
            return None
    if not isinstance(value, np.ndarray | np.generic) and not hasattr(value, "__array__"):
        return None
    try:
        array = np.asarray(value)
    except TypeError:  # a pickled array of objects
        return None
    if array.dtype.name in _HALVES:
        return array
    return array if array.dtype.kind in "fiub" and array.dtype.isbuiltin != 2 else None  # 2: 8-bit floats


def in_float32(array: np.ndarray) -> np.ndarray:
    """An array with 16-bit floats as float32; other types are unchanged."""
    return array.astype(np.float32) if array.dtype.name in _HALVES else array


def _read_path(path: Path) -> Any:
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(256)
    if not size:
        raise CheckpointError(f"{path}: the file is empty. Fetch it again.")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path}: is a Git LFS pointer, not the file itself. Run `git lfs pull`.")
    if start.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        raise CheckpointError(f"{path}: is a web page, not a checkpoint. Fetch it again from the direct address.")
    # A safetensors file starts with the length of its JSON header.
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 100_000_000:
        return _read_safetensors(path)
    if start.startswith(b"PK"):
        if _is_numpy_archive(path):
            return _read_with(read_archive_of_tree, path)
        return _read_with(read_archive, path)
    if start.startswith(b"\x80"):
        return _read_with(read_legacy if _TORCH_MAGIC in start else _read_pickle, path)
    if is_msgpack(start):
        return _read_with(read_msgpack, path)
    raise CheckpointError(
        f"{path}: is neither a PyTorch file (zip or pickle), safetensors, a NumPy archive nor Flax's MessagePack; it "
        f"starts with {start[:16]!r}."
    )


def _is_numpy_archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return all(name.endswith(".npy") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _read_with(reader: Callable[[Path], Any], path: Path) -> Any:
    """Read a file of pickles, and turn any failure into a `CheckpointError`."""
    try:
        return reader(path)
    except ForbiddenError as error:
        raise _refused(path, str(error)) from None
    except Exception as error:  # a damaged file can make the reader raise anything
        raise _broken(path, (str(error).strip() or type(error).__name__).splitlines()[0]) from error


def _read_pickle(path: Path) -> Any:
    """Read a plain pickle of arrays, such as caffe2's, written by Python 2."""
    with path.open("rb") as file:
        return load(file)


def _refused(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: refused, because it holds more than weights ({reason}), and loading that would run code from the "
        "file. Nothing was run. If you trust its origin, load it where it was written and save only the weights: "
        "torch.save(model.state_dict(), …) or safetensors."
    )


def _broken(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path}: is damaged, incomplete or not a checkpoint ({reason}). Fetch it again.")


# Safetensors' names of element types.
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
    "BF16": ml_dtypes.bfloat16,
}  # fmt: skip


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a file, mapped into memory: what is not used is not read, and nothing is held twice."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):  # checks the header, and the length of the file against it
            pass
    except SafetensorError as error:
        raise _broken(path, str(error)) from error
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(start - 8))
    empty = path.stat().st_size == start
    data = np.empty(0, np.uint8) if empty else np.asarray(np.memmap(path, np.uint8, "r", offset=start))
    out = {}
    for key, tensor in header.items():
        if key == "__metadata__":
            continue
        dtype, (first, end) = tensor["dtype"], tensor["data_offsets"]
        if dtype in _DTYPES:
            array = data[first:end].view(_DTYPES[dtype])
        else:
            raise CheckpointError(f"{path}: {key} has elements of type {dtype}. Convert it to float32 first.")
        out[key] = array.reshape(tensor["shape"])
    return out


def _read_folder(path: Path) -> dict[str, Any]:
    """Read a folder saved by transformers: one file, or shards and an index of their keys."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (path / name).is_file():
            return _read_path(path / name)
    for name in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        if (path / name).is_file():
            return _read_shards(path / name)
    raise CheckpointError(
        f"{path}: the folder holds no known kind of checkpoint. Expected model.safetensors or pytorch_model.bin, "
        "whole or with an index of shards, beside a config.json, as transformers' save_pretrained writes them. "
        "(Folders trained or converted by vidjax itself are read by vidjax.load_model.)"
    )


def _read_shards(index: Path) -> dict[str, Any]:
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(places.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index}: is not an index of shards: it needs weight_map (key to file).") from error
    if absent := [name for name in shards if not (index.parent / name).is_file()]:
        raise CheckpointError(f"{index}: names shards that are missing: {', '.join(absent)}. Fetch them too.")
    content: dict[str, Any] = {}
    for name in shards:
        content |= _read_path(index.parent / name)
    if absent := [key for key in places if key not in content]:
        raise CheckpointError(f"{index}: these keys are in no shard: {', '.join(absent)}. Fetch the shards again.")
    return content
