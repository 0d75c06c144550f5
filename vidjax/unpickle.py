"""Safe reading of pickled weights, without running any function that they name.

A pickle builds its objects by calling functions that it names. Here, each name in `_KNOWN` is replaced by an object of
this module that only keeps the values; every other name is refused. No file can call a function of PyTorch or NumPy,
so PyTorch need not be installed, and NumPy's own unpickling, which trusts its input, is not used.
"""

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

# Most elements that all views of a file together may have beyond those of their storages. PyTorch's `expand` makes such
# views; without a bound, a file of a kilobyte could ask for any amount of memory.
_REPEATED = 2**26

# PyTorch's element types that NumPy can hold, by the name after `torch.`. Quantised numbers are read as the integers
# that store them, pairs of half floats as bytes.
ELEMENTS: dict[str, np.dtype] = {
    name: np.dtype(kind)
    for name, kind in {
        "float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": ml_dtypes.bfloat16,
        "int64": "<i8", "int32": "<i4", "int16": "<i2", "int8": "i1",
        "uint64": "<u8", "uint32": "<u4", "uint16": "<u2", "uint8": "u1", "bool": "?",
        "complex128": "<c16", "complex64": "<c8", "complex32": "V4",
        "qint8": "i1", "quint8": "u1", "qint32": "<i4", "quint4x2": "u1", "quint2x4": "u1",
        "float8_e4m3fn": ml_dtypes.float8_e4m3fn, "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
        "float8_e5m2": ml_dtypes.float8_e5m2, "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
        "float8_e8m0fnu": ml_dtypes.float8_e8m0fnu,
    }.items()
}  # fmt: skip
# PyTorch's storages by their element types: `torch.FloatStorage`.
STORAGES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64",
    "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool", "ComplexDouble": "complex128",
    "ComplexFloat": "complex64", "QInt8": "qint8", "QUInt8": "quint8", "QInt32": "qint32", "QUInt4x2": "quint4x2",
    "QUInt2x4": "quint2x4", "Untyped": "uint8",
}  # fmt: skip


class ForbiddenError(pickle.UnpicklingError):
    """A pickle that names something other than weights and plain values."""


def load(file: BinaryIO, find_storage: Callable[[Any], Any] | None = None) -> Any:
    """Read the next pickle of an open file, and leave the file at the end of the pickle.

    Args:
      file: a seekable file, open for reading in binary mode.
      find_storage: function from an id in the pickle to its `Elements`, as in PyTorch's files; None: there are none.

    Raises:
      ForbiddenError: if it names anything but weights and plain values.
      Exception: any exception, if it is damaged.
    """
    start = file.tell()
    # Lengths and numbers are checked before anything is built, since the unpickler allocates memory for them at once.
    for opcode, argument, position in pickletools.genops(_Bounded(file)):
        if "PUT" in opcode.name and argument > position - start + 256:
            raise pickle.UnpicklingError(f"it claims {argument} entries, but is shorter")
    file.seek(start)
    return _Unpickler(file, find_storage).load()


class _Bounded:
    """A file that never allocates more memory for a text than it has bytes left, whatever length the text claims."""

    def __init__(self, file: BinaryIO):
        start = file.tell()
        self._file, self._end = file, file.seek(0, io.SEEK_END)
        file.seek(start)
        self.tell, self.readline = file.tell, file.readline

    def read(self, count: int) -> bytes:
        return self._file.read(count if count < 2**20 else min(count, self._end - self.tell()))


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, find_storage: Callable[[Any], Any] | None):
        super().__init__(file, encoding="latin1")  # Python 2 wrote text and array data alike
        self._find_storage = find_storage

    def find_class(self, module: str, name: str) -> Any:
        # NumPy 2 has renamed its modules, and Python 3 its builtins; old and new files are read.
        module = re.sub(r"^numpy\._core\b", "numpy.core", module).replace("__builtin__", "builtins")
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module in ("torch", "torch.cuda", "torch.storage"):
            # for some time, `torch.storage._UntypedStorage`
            held = STORAGES.get(name.removesuffix("Storage").removeprefix("_"), "") if "Storage" in name else name
            if held in ELEMENTS:
                return ElementType(ELEMENTS[held])
        raise ForbiddenError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        if self._find_storage is None:
            raise pickle.UnpicklingError("it names storages, but has none")
        return self._find_storage(pid)


class _Sealed(type):
    """A class that a pickle cannot change, although pickles can set attributes of any object that they name."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise pickle.UnpicklingError(f"sets {name} of {cls.__name__}")


class Inert(metaclass=_Sealed):
    """An inert stand-in for an object beside the weights, such as a device or a training script's arguments."""

    __slots__ = ()

    def __new__(cls, *_: Any) -> "Inert":
        return object.__new__(cls)

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        """Ignore further values and attributes from the file."""


class _Dictionary(dict, metaclass=_Sealed):
    """A dictionary of any kind; attributes, such as the `_metadata` of PyTorch's state dicts, are dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Function(Inert):
    """A function that a pickle can call but not change."""

    __slots__ = ("_call",)

    def __new__(cls, call: Callable[..., Any]) -> "_Function":
        made = object.__new__(cls)
        made._call = call
        return made

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)


class ElementType(Inert):
    """An element type of PyTorch or NumPy."""

    __slots__ = ("dtype",)

    def __new__(cls, dtype: np.dtype | None) -> "ElementType":
        made = object.__new__(cls)
        made.dtype = dtype
        return made


class _NumpyType(ElementType):
    """NumPy's `dtype` of numbers; any other, such as objects and records, becomes None."""

    __slots__ = ()

    def __new__(cls, name: Any, *_: Any) -> "_NumpyType":
        numbers = isinstance(name, str) and re.fullmatch(r"[biufc]\d+", name)
        return super().__new__(cls, np.dtype(name) if numbers else None)

    def __setstate__(self, state: Any) -> None:
        """Take only the byte order from the file."""
        if self.dtype is not None and state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class Storage:
    """Bytes of a file that tensors share, mapped into memory on first use; writing to them does not change the file.

    Attributes:
      nbytes: number of bytes.
      place: offset of the first byte in the file; None: not known yet.
    """

    def __init__(self, path: Path, nbytes: int, place: int | None = None):
        self.path, self.nbytes, self.place = path, nbytes, place
        self._bytes: np.ndarray | None = None

    def read(self) -> np.ndarray:
        if self._bytes is None:
            assert self.place is not None
            if self.place + self.nbytes > self.path.stat().st_size:
                raise OSError(f"{self.path} has become shorter while it was read")
            if self.nbytes:
                self._bytes = np.asarray(np.memmap(self.path, np.uint8, "c", self.place, (self.nbytes,)))
            else:
                self._bytes = np.empty(0, np.uint8)
        return self._bytes


@dataclass
class Repeats:
    """Count of the elements that the views of a file have beyond those of their storages."""

    count: int = 0

    def add(self, elements: int) -> None:
        self.count += elements
        if self.count > _REPEATED:
            raise pickle.UnpicklingError(f"views of {self.count} elements in storages that have fewer")


class Elements(Inert):
    """A part of a storage as elements of one type, to which a PyTorch pickle refers by an id.

    Attributes:
      dtype: element type.
      storage: storage with the bytes.
      start, count: first element, and number of elements.
      swapped: whether the bytes of each element are in big-endian order.
      repeats: count of repeated elements for the whole file.
    """

    __slots__ = ("count", "dtype", "repeats", "start", "storage", "swapped")

    def __new__(
        cls, dtype: np.dtype, storage: Storage, start: int, count: int, swapped: bool, repeats: Repeats
    ) -> "Elements":
        made = object.__new__(cls)
        if not (whole(start) and whole(count) and (start + count) * dtype.itemsize <= storage.nbytes):
            raise pickle.UnpicklingError(f"elements {start}…{start + count} of a storage of {storage.nbytes} bytes")
        made.dtype, made.storage, made.start, made.count = dtype, storage, start, count
        made.swapped, made.repeats = swapped, repeats
        return made

    def read(self, dtype: np.dtype) -> np.ndarray:
        """Read all elements, as elements of type `dtype`."""
        size = self.dtype.itemsize
        data = self.storage.read()[self.start * size : (self.start + self.count) * size]
        if self.swapped:
            part = dtype.itemsize // (2 if dtype.kind == "c" else 1)
            data = data.view(f"u{part}").byteswap()
        return data.view(dtype)


class Tensor(Inert):
    """A view of a storage; `np.asarray` reads it.

    Args:
      elements: elements of the storage.
      dtype: element type of the view.
      offset: index of the first element of the view in the storage.
      shape, strides: shape and strides of the view; strides are counted in elements.
      conjugate, negative: operations that PyTorch defers until the values are read.
    """

    __slots__ = ("conjugate", "dtype", "elements", "negative", "offset", "shape", "strides")

    def __new__(
        cls,
        elements: Elements,
        dtype: np.dtype,
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        conjugate: bool = False,
        negative: bool = False,
    ) -> "Tensor":
        made = object.__new__(cls)
        shape, strides = tuple(shape), tuple(strides)
        if not (isinstance(elements, Elements) and len(shape) == len(strides) <= 64):
            raise pickle.UnpicklingError(f"a tensor of {len(shape)} axes and {len(strides)} strides")
        if not all(map(whole, (offset, *shape, *strides))) or math.prod(n or 1 for n in shape) > 2**48:
            raise pickle.UnpicklingError(f"a tensor of shape {shape}, strides {strides}, offset {offset}")
        count = elements.count * elements.dtype.itemsize // dtype.itemsize
        wanted = math.prod(shape)
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) if wanted else 0
        if wanted and last >= count:
            raise pickle.UnpicklingError(f"a tensor that reaches to element {last} of a storage of {count}")
        if wanted > count:
            elements.repeats.add(wanted)
        made.elements, made.dtype, made.offset, made.shape, made.strides = elements, dtype, offset, shape, strides
        made.conjugate, made.negative = conjugate, negative
        return made

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if not math.prod(self.shape):
            array = np.empty(self.shape, self.dtype)
        else:
            size = self.dtype.itemsize
            strides = tuple(step * size for step in self.strides)
            flat = self.elements.read(self.dtype)
            array = np.ndarray(self.shape, self.dtype, flat, self.offset * size, strides)
        array = -array if self.negative else array
        array = np.conj(array) if self.conjugate else array
        return np.array(array, dtype, copy=copy)


class _Array(Inert):
    """A NumPy array or scalar with its data in the pickle; `np.asarray` copies it."""

    __slots__ = ("axes", "data", "dtype", "order", "shape")

    def __new__(cls, *_: Any) -> "_Array":
        made = object.__new__(cls)
        made.data, made.dtype = b"", None
        return made

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        self.fill(shape, kind, "F" if fortran else "C", data)

    def fill(self, shape: Any, kind: Any, order: str, data: Any, axes: Any = None) -> "_Array":
        """Set shape, type, order of the axes and data."""
        if not (isinstance(kind, _NumpyType) and all(map(whole, shape))):
            raise pickle.UnpicklingError("an array of no type or shape")
        if kind.dtype is None:
            return self
        data = data.encode("latin1") if isinstance(data, str) else bytes(data)
        if math.prod(shape) * kind.dtype.itemsize != len(data):
            raise pickle.UnpicklingError(f"an array of shape {tuple(shape)} in {len(data)} bytes")
        self.shape, self.dtype, self.order, self.axes, self.data = tuple(shape), kind.dtype, order, axes, data
        return self

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.dtype is None:
            raise TypeError("an array of something other than numbers")
        order = "F" if self.order == "F" else "C"
        array = np.frombuffer(self.data, self.dtype).reshape(self.shape, order=order).copy(order)
        return np.asarray(array if self.axes is None else array.transpose(self.axes), dtype)


def whole(value: Any) -> bool:
    """Whether a value is a non-negative whole number."""
    return type(value) is int and value >= 0


def _tensor(
    elements: Elements, offset: Any, shape: Any, strides: Any, grad: Any = None, hooks: Any = None, bits: Any = None
) -> Tensor:
    """Stand-in for `_rebuild_tensor` and `_rebuild_tensor_v2`."""
    return _typed_tensor(elements, offset, shape, strides, grad, hooks, elements, bits)


def _typed_tensor(
    elements: Elements, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, kind: Any, bits: Any = None
) -> Tensor:
    """Stand-in for `_rebuild_tensor_v3`, with a storage of bytes."""
    bits = bits if isinstance(bits, dict) else {}
    return Tensor(elements, kind.dtype, offset, shape, strides, bool(bits.get("conj")), bool(bits.get("neg")))


def _of_type(call: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """Stand-in for `_rebuild_from_type_v2`: a tensor with attributes, which are dropped."""
    if not (isinstance(call, _Function) and kind is Inert):
        raise pickle.UnpicklingError("a tensor of no type")
    return call(*arguments)


def _bytes(value: Any = b"", encoding: str = "latin1") -> bytes:
    """Bytes, as Python 3 writes them in pickles that Python 2 can read."""
    if encoding not in ("latin1", "latin-1"):
        raise ForbiddenError(f"_codecs.encode to {encoding!r}")
    if not isinstance(value, str | bytes | bytearray):
        raise pickle.UnpicklingError("bytes of something else")
    return value.encode("latin1") if isinstance(value, str) else bytes(value)


def _named(name: str) -> Any:
    """Create a kind of `Inert` with the name that messages use."""
    return _Sealed(name, (Inert,), {"__slots__": ()})


_ARRAY_IN_PICKLE = _Function(lambda data, kind, shape, order, axes=None: _Array().fill(shape, kind, order, data, axes))
_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): Inert,
    ("numpy", "dtype"): _NumpyType,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _Function(lambda kind, data=b"": _Array().fill((), kind, "C", data)),
    ("numpy.core.numeric", "_frombuffer"): _ARRAY_IN_PICKLE,
    ("torch._utils", "_rebuild_tensor"): _Function(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Function(_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): _Function(_typed_tensor),
    ("torch._utils", "_rebuild_parameter"): _Function(lambda tensor, *_: tensor),
    ("torch._utils", "_rebuild_parameter_with_state"): _Function(lambda tensor, *_: tensor),
    ("torch._tensor", "_rebuild_from_type_v2"): _Function(_of_type),
    ("torch._utils", "_rebuild_sparse_tensor"): _named("SparseTensor"),
    ("torch._utils", "_rebuild_qtensor"): _named("QuantisedTensor"),
    ("torch._utils", "_rebuild_nested_tensor"): _named("NestedTensor"),
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _named("MetaTensor"),
    ("torch", "Tensor"): Inert,
    ("torch.nn.parameter", "Parameter"): Inert,
    ("torch", "Size"): tuple,
    ("torch", "device"): Inert,
    ("torch.serialization", "_get_layout"): Inert,
    ("torch", "per_tensor_affine"): Inert,
    ("torch", "per_tensor_symmetric"): Inert,
    ("torch", "per_channel_affine"): Inert,
    ("torch", "per_channel_symmetric"): Inert,
    ("torch", "per_channel_affine_float_qparams"): Inert,
    ("collections", "OrderedDict"): _Dictionary,
    ("collections", "Counter"): _Dictionary,
    ("argparse", "Namespace"): Inert,
    ("_codecs", "encode"): _Function(_bytes),
    ("builtins", "bytes"): _Function(_bytes),
    ("builtins", "bytearray"): _Function(_bytes),
    ("builtins", "set"): set,
    ("builtins", "complex"): complex,
}
