"""PyTorch's own files against `torch.load`, to the bit, and files written here that it reads."""

import pickle
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers import needs
from vidjax.unpickle import ELEMENTS, Tensor
from vidjax.weights.read import CheckpointError, read_state_dict
from vidjax.weights.torch_files import read_archive, read_legacy, write_archive

torch = needs("torch")

# What PyTorch says of element types that it is about to drop, or has half of.
pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor"),
    pytest.mark.filterwarnings("ignore:ComplexHalf"),
]
READERS = {"zip": read_archive, "legacy": read_legacy}
DTYPES = [name for name in ELEMENTS if not name.startswith("q")]  # quantised tensors are no weights


def save(content, path, writer):
    torch.save(content, path, _use_new_zipfile_serialization=writer == "zip")


def bits(tensor):
    """A tensor's bytes, as it would lie in memory by itself."""
    alone = tensor.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format).reshape(-1)
    return alone.view(torch.uint8).numpy().tobytes() if alone.numel() else b""


def assert_same(found, tensor):
    assert isinstance(found, Tensor)
    array = np.asarray(found)
    assert array.shape == tuple(tensor.shape)
    assert array.dtype == ELEMENTS[str(tensor.dtype).removeprefix("torch.")]
    assert array.tobytes() == bits(tensor)


def drawn(dtype, count=24):
    """A tensor of random bits, which hit every special value."""
    dtype = getattr(torch, dtype)
    size = torch.empty(0, dtype=dtype).element_size()
    data = np.random.default_rng(0).integers(0, 2 if dtype == torch.bool else 256, count * size, np.uint8)
    return torch.frombuffer(bytearray(data.tobytes()), dtype=dtype)


@pytest.mark.parametrize("writer", READERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_element_type(tmp_path, writer, dtype):
    whole = drawn(dtype)
    content = {"whole": whole, "matrix": whole.reshape(4, 6).T, "none": whole[:0], "scalar": whole[3]}
    save(content, tmp_path / "a.pth", writer)
    found = READERS[writer](tmp_path / "a.pth")
    assert found.keys() == content.keys()
    for key, tensor in content.items():
        assert_same(found[key], tensor)


@pytest.mark.parametrize("writer", READERS)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_any_view_of_a_storage(tmp_path_factory, writer, data):
    storage = torch.arange(60, dtype=torch.int16)
    axes = data.draw(st.integers(0, 4))
    shape = data.draw(st.lists(st.integers(0, 4), min_size=axes, max_size=axes))
    strides = data.draw(st.lists(st.integers(0, 5), min_size=axes, max_size=axes))
    view = torch.as_strided(storage, shape, strides, data.draw(st.integers(0, 5)))
    path = tmp_path_factory.mktemp("view") / "a.pth"
    save([view], path, writer)
    assert_same(READERS[writer](path)[0], view)


@pytest.mark.parametrize("writer", READERS)
def test_what_shares_a_storage_is_read_once(tmp_path, writer, monkeypatch):
    weight = torch.randn(5, 7)
    content = {"a": weight, "tied": weight, "row": weight[2], "momentum": torch.randn(9)}
    save(content, tmp_path / "a.pth", writer)
    found = READERS[writer](tmp_path / "a.pth")
    sizes, memmap = [], np.memmap
    monkeypatch.setattr("numpy.memmap", lambda f, t, m, o, shape: sizes.extend(shape) or memmap(f, t, m, o, shape))
    arrays = {key: np.asarray(found[key]) for key in ("a", "tied", "row")}
    assert sizes == [4 * 5 * 7]  # and nothing of the momentum, which nobody asks for
    assert np.shares_memory(arrays["a"], arrays["tied"]) and np.shares_memory(arrays["a"], arrays["row"])
    assert arrays["a"].flags.writeable


@pytest.mark.parametrize("writer", READERS)
def test_parameters_buffers_attributes_and_bits_that_are_put_off(tmp_path, writer):
    module = torch.nn.BatchNorm1d(3)
    marked = torch.nn.Parameter(torch.randn(4))
    marked.no_decay = True
    attributed = torch.randn(2)
    attributed.origin = "here"
    numbers = torch.randn(3, dtype=torch.complex64)
    content = {
        "state": module.state_dict(), "parameter": module.weight, "marked": marked, "attributed": attributed,
        "conjugate": numbers.conj(), "negative": numbers.clone().conj().imag, "expanded": torch.ones(1).expand(1000),
    }  # fmt: skip
    save(content, tmp_path / "a.pth", writer)
    found = READERS[writer](tmp_path / "a.pth")
    for key, tensor in content.pop("state").items():
        assert_same(found["state"][key], tensor)
    for key, tensor in content.items():
        assert_same(found[key], tensor)


@pytest.mark.parametrize("writer", READERS)
def test_what_stands_beside_the_weights_is_kept_or_passed_over(tmp_path, writer):
    quantised = torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8)
    content = {
        "model": {"w": torch.ones(2)}, "device": torch.device("cpu"), "size": torch.Size([2, 3]), "set": {1, 2},
        "dtype": torch.bfloat16, "bytes": b"\x00\xff", "sparse": torch.eye(2).to_sparse(), "quantised": quantised,
        "meta": torch.empty(2, device="meta"), "complex": 1 + 2j,
    }  # fmt: skip
    if writer == "legacy":
        del content["meta"]
    save(content, tmp_path / "a.pth", writer)
    found = READERS[writer](tmp_path / "a.pth")
    assert [found[key] for key in ("size", "set", "bytes", "complex")] == [(2, 3), {1, 2}, b"\x00\xff", 1 + 2j]
    assert read_state_dict(tmp_path / "a.pth").keys() == {"w"}


@pytest.mark.parametrize(
    ("odd", "kind"),
    [
        (lambda: torch.eye(2).to_sparse(), "SparseTensor"),
        (lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8), "QuantisedTensor"),
        (lambda: torch.zeros(2, dtype=torch.complex64), "Tensor"),
        (lambda: torch.zeros(2).to(torch.float8_e5m2), "Tensor"),
    ],
)
def test_tensors_that_are_no_weights_are_named(tmp_path, odd, kind):
    torch.save({"w": torch.ones(2), "odd": odd()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=rf"not arrays: 'odd' \({kind}\)"):
        read_state_dict(tmp_path / "a.pth")


def rewritten(path, **changes):
    """The archive with other contents of some of its files; None: without the file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(members)).split("/")[0]
    members |= {f"{root}/{name.replace('__', '/').replace('_pkl', '.pkl')}": data for name, data in changes.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            if data is not None:
                archive.writestr(name, data)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64", "int64", "bool", "float8_e5m2"])
def test_bytes_in_the_other_order(tmp_path, dtype):
    tensor = drawn(dtype)
    torch.save({"x": tensor}, tmp_path / "a.pth")
    unit = tensor.element_size() // (2 if tensor.is_complex() else 1)
    swapped = np.frombuffer(bits(tensor), f"u{unit}").byteswap().tobytes()
    rewritten(tmp_path / "a.pth", byteorder=b"big", data__0=swapped)
    assert_same(read_archive(tmp_path / "a.pth")["x"], tensor)


def test_checksums_that_pytorch_has_left_out(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"x": torch.arange(9)}, tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    np.testing.assert_array_equal(read_state_dict(tmp_path / "a.pth")["x"], np.arange(9))


def test_a_torchscript_program_is_said_to_be_one(tmp_path):
    torch.save({"x": torch.zeros(2)}, tmp_path / "a.pth")
    rewritten(tmp_path / "a.pth", constants_pkl=b"")
    with pytest.raises(CheckpointError, match=r"a\.pth.*TorchScript.*torch\.jit\.load.*state_dict\(\)"):
        read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data__0": b"\0" * 7}, "elements 0…8 of a storage of 7 bytes"),
        ({"data__0": None}, "data/0"),
        ({"data_pkl": None}, r"0 files data\.pkl"),
        ({"data_pkl": b"\x80\x02"}, "damaged"),
    ],
)
def test_an_archive_with_less_than_it_says(tmp_path, changes, says):
    torch.save({"x": torch.zeros(8)}, tmp_path / "a.pth")
    rewritten(tmp_path / "a.pth", **changes)
    with pytest.raises(CheckpointError, match=says):
        read_state_dict(tmp_path / "a.pth")


def test_a_storage_that_would_unpack_to_more_than_the_file_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("a/data.pkl", storage_pickle(count=10**7))
        bomb.writestr("a/data/0", bytes(4 * 10**7))
    assert (tmp_path / "a.pth").stat().st_size < 10**5
    with pytest.raises(CheckpointError, match=r"data\.pkl is compressed, which torch\.save never does"):
        read_state_dict(tmp_path / "a.pth")


def storage_pickle(count=4, offset=0, shape=(2,), strides=(1,)):
    """The pickle of `{"x": tensor}`, as PyTorch writes it, of any claims."""
    plain = [pickle.dumps(value, 2)[2:-1] for value in (count, offset, shape, strides)]
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu" + plain[0] + b"tQ"
    view = b"".join(plain[1:]) + b"\x89NtR"
    return b"\x80\x02}X\x01\0\0\0xctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + b"s."


@pytest.mark.parametrize(
    "claim",
    [
        {"offset": 3},
        {"offset": -1},
        {"offset": 10**30},
        {"strides": (4,)},
        {"strides": (-1,), "offset": 1},
        {"shape": (2, 2)},
        {"shape": (5,)},
        {"shape": (-2,)},
        {"shape": (2.0,)},
        {"shape": (2**40,), "strides": (0,)},  # one element, a terabyte of times
        {"shape": (1,) * 65, "strides": (1,) * 65},
        {"count": 5},
        {"count": 2**62},
        {"count": -4},
        {"shape": (0, 2**62, 2**62), "strides": (1, 1, 1)},
        {"shape": ("a",)},
        {"shape": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("writer", READERS)
def test_claims_that_reach_outside_of_the_storage(tmp_path, claim, writer):
    path = tmp_path / "a.pth"
    for wanted in ({}, claim):  # as it is, the file is sound
        if writer == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("a/data.pkl", storage_pickle(**wanted))
                archive.writestr("a/data/0", np.arange(4, dtype="<f4").tobytes())
        else:
            torch.save(torch.zeros(4), path, _use_new_zipfile_serialization=False)
            head = path.read_bytes()[: path.read_bytes().index(b"ctorch._utils")]
            keys = b"\x80\x02]X\x01\0\0\x000a."
            storage = struct.pack("<q", 4) + np.arange(4, dtype="<f4").tobytes()
            # In a legacy file each tensor's storage is in the same pickle, between the machine and the keys.
            path.write_bytes(head.removesuffix(b"\x80\x02") + legacy(storage_pickle(**wanted)) + keys + storage)
        if not wanted:
            np.testing.assert_array_equal(read_state_dict(path)["x"], [0, 1])
    with pytest.raises(CheckpointError, match=r"a\.pth: is damaged, incomplete or not a checkpoint"):
        read_state_dict(path)


def legacy(pickled):
    """Its names of storages have one more entry."""
    return pickled.replace(b"tQ", b"NtQ")


def test_a_part_of_a_storage_as_old_files_have_it(tmp_path):
    torch.save(torch.zeros(4), tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "a.pth").read_bytes()
    head = content[: content.index(b"ctorch._utils")].removesuffix(b"\x80\x02")
    part = storage_pickle().replace(b"tQ", b"(X\x01\0\0\x001K\x02K\x02ttQ")
    keys, data = b"\x80\x02]X\x01\0\0\x000a.", struct.pack("<q4f", 4, 0, 1, 2, 3)
    (tmp_path / "a.pth").write_bytes(head + part + keys + data)
    np.testing.assert_array_equal(read_state_dict(tmp_path / "a.pth")["x"], [2, 3])


@pytest.mark.slow
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=12),
        st.tuples(
            st.sampled_from(["f4", "f8", "f2", "i8", "i4", "i2", "i1", "u1", "?", "c8", ">f4", "bfloat16"]),
            st.lists(st.integers(0, 4), max_size=4),
        ),
        max_size=4,
    ),
    st.sampled_from(["", "state_dict"]),
)
@settings(max_examples=30, deadline=None)
def test_what_is_written_is_what_pytorch_reads(tmp_path_factory, kinds, entry):
    path, rng = tmp_path_factory.mktemp("written") / "of.me.pth", np.random.default_rng(0)
    arrays = {key: rng.integers(0, 2, shape).astype(ELEMENTS.get(kind, kind)).T for key, (kind, shape) in kinds.items()}
    write_archive(path, {entry: arrays} if entry else arrays)
    for options in ({}, {"mmap": True}):
        found = torch.load(path, weights_only=True, **options)
        found = found[entry] if entry else found
        assert list(found) == list(arrays)
        for key, array in arrays.items():
            assert found[key].dtype == getattr(torch, array.dtype.newbyteorder("=").name)
            assert tuple(found[key].shape) == array.shape and found[key].data_ptr() % 64 == 0
            assert bits(found[key]) == array.astype(array.dtype.newbyteorder("=")).tobytes()
    found = read_archive(path)[entry] if entry else read_archive(path)
    assert all(np.array_equal(np.asarray(found[key]), array) for key, array in arrays.items())


def test_a_type_that_pytorch_lacks_is_not_written(tmp_path):
    with pytest.raises(TypeError, match="no tensors of object"):
        write_archive(tmp_path / "a.pth", {"x": np.array([None])})


def test_pytorch_is_not_imported(tmp_path):
    torch.save({"x": torch.arange(3)}, tmp_path / "a.pth")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from vidjax.weights.read import read_state_dict\n"
        "from vidjax.weights.write import write_file\n"
        f"x = read_state_dict({str(tmp_path / 'a.pth')!r})\n"
        f"write_file({str(tmp_path / 'b.pth')!r}, x, 'videomae')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert torch.equal(torch.load(tmp_path / "b.pth", weights_only=True)["model"]["x"], torch.arange(3))
