"""Pickles that mean harm do none: nothing of theirs is run or changed, and memory stays with what the file holds."""

import argparse
import collections
import copyreg
import io
import pickle
import re
import tracemalloc

import numpy as np
import pytest

from vidjax import unpickle
from vidjax.unpickle import ForbiddenError, Repeats, Storage, load
from vidjax.weights.read import CheckpointError, read_state_dict


def text(value):
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def plain(value):
    return pickle.dumps(value, 2)[2:-1]


def named(module, name):
    return f"c{module}\n{name}\n".encode()


HOSTILE = [
    ("os", "system"), ("posix", "system"), ("nt", "system"), ("subprocess", "Popen"), ("builtins", "eval"),
    ("builtins", "exec"), ("__builtin__", "eval"), ("builtins", "getattr"), ("builtins", "__import__"),
    ("builtins", "open"), ("operator", "attrgetter"), ("functools", "partial"), ("importlib", "import_module"),
    ("pickle", "loads"), ("numpy", "load"), ("numpy", "memmap"), ("numpy.core.multiarray", "fromfile"),
    ("numpy.f2py", "compile"), ("torch", "load"), ("torch.hub", "load"), ("torch.utils.cpp_extension", "load"),
    ("torch._utils", "_rebuild_wrapper_subclass"), ("vidjax.unpickle", "_Function"), ("ctypes", "CDLL"),
    ("torch._utils", "_rebuild_tensor_v2.__globals__"), ("numpy", "dtype.__new__"), ("collections", "abc.sys"),
    ("torch", "FloatStorage.dtype"), ("torch", "Storage"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name"), HOSTILE, ids=str)
@pytest.mark.parametrize("opcode", ["GLOBAL", "STACK_GLOBAL", "INST"])
def test_names_that_are_not_about_weights_are_refused(module, name, opcode):
    content = {
        "GLOBAL": b"\x80\x02" + named(module, name) + text("echo harm") + b"\x85R.",
        "STACK_GLOBAL": b"\x80\x04" + text(module) + text(name) + b"\x93" + text("echo harm") + b"\x85R.",
        "INST": b"\x80\x02(" + text("echo harm") + b"i" + named(module, name)[1:] + b".",
    }[opcode]
    with pytest.raises(ForbiddenError, match=re.escape(f"{module}.{name}".replace("__builtin__", "builtins"))):
        load(io.BytesIO(content))


@pytest.mark.parametrize("opcode", [b"\x82\x05", b"\x83\x05\0", b"\x84\x05\0\0\0"])
def test_names_by_number_are_refused_too(opcode):
    copyreg.add_extension("os", "system", 5)
    try:
        with pytest.raises(ForbiddenError, match=r"os\.system"):
            load(io.BytesIO(b"\x80\x02" + opcode + text("echo harm") + b"\x85R."))
    finally:
        copyreg.remove_extension("os", "system", 5)


@pytest.mark.parametrize(
    "name",
    [*unpickle._KNOWN, ("torch", "FloatStorage"), ("torch", "float32")],
    ids=lambda name: ".".join(name),
)
def test_what_a_pickle_can_name_it_cannot_change(name):
    """Pickles may set attributes of whatever they have: of a function, its defaults; of a class, its methods."""
    before = {key: dict(getattr(value, "__dict__", {})) for key, value in unpickle._KNOWN.items()}
    state = b"}(" + b"".join(text(key) + text("harm") for key in ("__call__", "__setstate__", "dtype")) + b"u"
    for states in (state, b"N" + state + b"\x86", state + state + b"\x86"):
        try:
            found = load(io.BytesIO(b"\x80\x02" + named(*name) + states + b"b."))
        except Exception:
            continue
        assert "harm" not in [getattr(found, key, None) for key in ("__call__", "__setstate__", "dtype")]
    assert {key: dict(getattr(value, "__dict__", {})) for key, value in unpickle._KNOWN.items()} == before


@pytest.mark.parametrize("kind", [argparse.Namespace, collections.OrderedDict, collections.Counter])
def test_objects_keep_no_attributes_of_the_file(kind):
    value = kind()
    value.read = "anything"
    found = load(io.BytesIO(pickle.dumps(value, 2)))
    assert not hasattr(found, "read")


def array(kind, shape, data):
    """A pickled array by hand, whatever its parts claim."""
    dtype = named("numpy", "dtype") + text(kind) + b"K\0K\1\x87R(K\3" + text("<") + b"NNNJ\xff\xff\xff\xff"
    dtype += b"J\xff\xff\xff\xffK\0tb"
    empty = named("numpy.core.multiarray", "_reconstruct") + named("numpy", "ndarray") + b"K\0\x85U\1b\x87R"
    return empty + b"(K\1" + plain(shape) + dtype + b"\x89" + data + b"tb"


def data(count):
    return b"U" + bytes([count]) + bytes(count)


@pytest.mark.parametrize(
    ("kind", "shape", "count"),
    [
        ("f4", (2,), 7), ("f4", (2,), 9), ("f4", (2**40,), 8), ("f4", (-2,), 8), ("f4", (2.0,), 8), ("f4", ("a",), 8),
        ("f4", 2, 8), ("f400", (2,), 8), ("f4,O", (2,), 16), ("f4", (2**62, 4), 0),
    ],
)  # fmt: skip
def test_an_array_of_other_data_than_it_claims(tmp_path, kind, shape, count):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02}" + text("x") + array("f4", (2,), data(8)) + b"s.")
    np.testing.assert_array_equal(read_state_dict(path)["x"], [0, 0])
    path.write_bytes(b"\x80\x02}" + text("x") + array(kind, shape, data(count)) + b"s.")
    with pytest.raises(CheckpointError, match=r"a\.pkl: (is damaged|these entries among the weights are not arrays)"):
        read_state_dict(path)


@pytest.mark.parametrize("kind", ["O", "O8", "V8", "S4", "U1", "M8[s]"])
def test_bytes_never_become_addresses_of_objects(tmp_path, kind):
    content = b"\x80\x02}" + text("x") + array(kind, (1,), data(8)) + b"s."
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(CheckpointError, match="not arrays: 'x'"):
        read_state_dict(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02K\1r\xff\xff\xff\x7f.",  # the last entry of a memo of two thousand million
        b"\x80\x02K\x01p2000000000\n.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x04\x8d\xff\xff\xff\xff\0\0\0\0ab.",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\0\0\0ab.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fK\1.",
        b"\x80\x02" + named("builtins", "bytes") + b"J\xff\xff\xff\x7f\x85R.",
        b"\x80\x02" + named("builtins", "bytearray") + b"J\xff\xff\xff\x7f\x85R.",
        b"\x80\x02" + named("numpy", "dtype") + text("f4") + b"\x85RQ.",
    ],
    ids=["memo", "memo in text", "bytes8", "text8", "bytearray8", "frame", "bytes of", "bytearray of", "no storages"],
)
def test_memory_that_is_claimed_is_not_taken(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="damaged"):
            read_state_dict(tmp_path / "a.pkl")
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_a_mapping_within_itself_ends(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02}q\0" + text("model") + b"h\0s.")
    with pytest.raises(CheckpointError, match=r"a\.pkl: has no weights 16 levels deep, under model\.model"):
        read_state_dict(tmp_path / "a.pkl")


def test_views_of_few_bytes_are_bounded_over_the_whole_file(tmp_path):
    kind = unpickle.ELEMENTS["float32"]
    elements = unpickle.Elements(kind, Storage(tmp_path / "a", 4, 0), 0, 1, False, Repeats())
    for _ in range(4):
        unpickle.Tensor(elements, kind, 0, (2**24,), (0,))
    with pytest.raises(pickle.UnpicklingError, match="views of 83886080 elements"):
        unpickle.Tensor(elements, kind, 0, (2**24,), (0,))


def test_a_file_that_is_cut_while_it_is_read(tmp_path):
    (tmp_path / "a").write_bytes(bytes(8))
    storage = Storage(tmp_path / "a", 16, 0)
    with pytest.raises(OSError, match="has become shorter"):
        storage.read()


def test_transposed_arrays_of_every_protocol(tmp_path):
    values = np.arange(24.0, dtype=">f4").reshape(2, 3, 4)
    content = {"c": values, "f": np.asfortranarray(values), "k": values.transpose(1, 0, 2), "part": values[:, 1:, ::2]}
    for protocol in (2, 3, 4, 5):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol))
        found = read_state_dict(tmp_path / "a.pkl")
        for key, value in content.items():
            np.testing.assert_array_equal(found[key], value)
            assert found[key].flags.writeable
