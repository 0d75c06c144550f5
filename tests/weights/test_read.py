"""Every format and wrapping gives the same arrays; damage, code and odd entries give one clear error."""

import argparse
import collections
import json
import os
import pickle
import re

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from tests.peers import needs
from vidjax.weights.read import CheckpointError, read_state_dict

torch, safetensors_torch = needs("torch"), needs("safetensors.torch")

HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "conv.weight": rng.standard_normal((4, 3, 2)).astype(np.float32),
        "bn.num_batches_tracked": np.asarray(7),
        "fc.bias": rng.standard_normal(5),
    }


def tensors() -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(np.array(value)) for key, value in arrays().items()}


def assert_same(found: dict[str, np.ndarray]) -> None:
    assert found.keys() == arrays().keys()
    for key, value in arrays().items():
        assert isinstance(found[key], np.ndarray)
        assert found[key].dtype == value.dtype
        np.testing.assert_array_equal(found[key], value)


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.pyth", "a.th", "a.ckpt", "a.bin", "a.safetensors", "a"])
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_of_any_name(tmp_path, name, zipped):
    torch.save(tensors(), tmp_path / name, _use_new_zipfile_serialization=zipped)
    assert_same(read_state_dict(tmp_path / name))
    assert_same(read_state_dict(str(tmp_path / name)))


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_safetensors_of_any_name(tmp_path, name):
    safetensors_torch.save_file(tensors(), tmp_path / name)
    assert_same(read_state_dict(tmp_path / name))


@pytest.mark.parametrize("half", HALVES)
def test_half_precision_becomes_float32(tmp_path, half):
    x = torch.linspace(-3, 3, 7).to(HALVES[half])
    safetensors_torch.save_file({"x": x}, tmp_path / "x.safetensors")
    torch.save({"x": x}, tmp_path / "x.pth")
    jax_array = jnp.asarray(x.float().numpy(), half)
    for checkpoint in (
        tmp_path / "x.safetensors",
        tmp_path / "x.pth",
        {"x": x},
        {"x": jax_array},
        {"x": np.asarray(jax_array)},
    ):
        found = read_state_dict(checkpoint)["x"]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, x.float().numpy())


def test_mappings_of_tensors_numpy_and_jax():
    assert_same(read_state_dict(tensors()))
    assert_same(read_state_dict(arrays()))
    found = read_state_dict({"x": jnp.arange(3.0)})
    np.testing.assert_array_equal(found["x"], [0, 1, 2])


def test_parameters_that_want_gradients():
    linear = torch.nn.Linear(2, 3)
    found = read_state_dict(dict(linear.named_parameters()))
    np.testing.assert_array_equal(found["bias"], linear.bias.detach().numpy())


@pytest.mark.parametrize(
    "wrapper", ["state_dict", "model_state_dict", "model_state", "model", "module", "encoder", "blobs"]
)
def test_what_training_scripts_put_around(tmp_path, wrapper):
    content = {
        wrapper: tensors(),
        "epoch": 3,
        "optimizer": {"state": {0: {"momentum": torch.zeros(2)}}},
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(0.7),
    }
    for zipped in (True, False):
        torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
        assert_same(read_state_dict(tmp_path / "a.pth"))


def test_several_levels_and_prefixes():
    inner = {f"module.model.module.{key}": value for key, value in tensors().items()}
    assert_same(read_state_dict({"model": {"state_dict": inner, "epoch": 1}, "step": 2}))


def test_prefixes_come_off_only_where_every_key_has_them():
    some = {"module.a": np.zeros(1), "b": np.zeros(1)}
    assert read_state_dict(some).keys() == some.keys()
    every = {"net.a": np.zeros(1), "net.module.b": np.zeros(1)}
    assert read_state_dict(every).keys() == every.keys()
    assert read_state_dict(every, prefixes=("net.",)).keys() == {"a", "module.b"}


def test_two_state_dicts_are_not_chosen_between():
    with pytest.raises(CheckpointError, match="state_dict and model"):
        read_state_dict({"model": tensors(), "state_dict": tensors()})


@pytest.mark.parametrize("odd", [3, "text", None, [1.0], {"nested": 1}, np.array(["a"]), np.array([None])])
def test_what_is_no_array_among_the_weights_is_named(odd):
    with pytest.raises(CheckpointError, match=r"'the\.odd\.one'"):
        read_state_dict({"state_dict": {**arrays(), "the.odd.one": odd}})


def test_a_key_that_is_no_name_is_named():
    with pytest.raises(CheckpointError, match=r"7 \(ndarray\)"):
        read_state_dict({7: np.zeros(2)})


@pytest.mark.parametrize("empty", [{}, {"state_dict": {}}])
def test_no_weights(empty):
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_state_dict(empty)


def test_a_module_instead_of_its_weights():
    with pytest.raises(CheckpointError, match=r"not Linear\. Give its state_dict\(\)"):
        read_state_dict(torch.nn.Linear(2, 2))


def test_a_tensor_instead_of_weights(tmp_path):
    torch.save(torch.zeros(2), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth: has a Tensor, not a state dict"):
        read_state_dict(tmp_path / "a.pth")


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


@pytest.mark.parametrize("writer", ["zip", "legacy", "plain pickle"])
@pytest.mark.parametrize("nested", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, writer, nested):
    trace, path = tmp_path / "was_run", tmp_path / "evil.pth"
    content = {"state_dict": tensors(), "args": Evil(trace)} if nested else {**tensors(), "x": Evil(trace)}
    if writer == "plain pickle":
        path.write_bytes(pickle.dumps({"x": Evil(trace)}, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=writer == "zip")
    with pytest.raises(CheckpointError, match=r"evil\.pth.*refused.*system.*Nothing was run.*save only"):
        read_state_dict(path)
    assert not trace.exists()
    with path.open("rb") as file:  # the file does what it is said to, where nobody refuses it
        torch.load(file, weights_only=False) if writer != "plain pickle" else pickle.load(file)
    assert trace.exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_plain_pickle_of_arrays(tmp_path, protocol):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"blobs": arrays(), "epoch": 3, "lr": np.float32(0.1)}, protocol))
    assert_same(read_state_dict(path))
    path.write_bytes(pickle.dumps(collections.OrderedDict(arrays()), protocol))
    assert_same(read_state_dict(path))


def test_a_pickle_that_python_2_wrote(tmp_path):
    """The bytes by hand: text and an array's data are both Python 2's str, which Python 3 does not write."""
    values = np.array([1.5, -2.0, 200.25], "<f4")
    stored = b"U" + bytes([values.nbytes]) + values.tobytes()
    dtype = b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x03\x85" + dtype
    content = b"\x80\x02}U\x05blobs}U\x06pred_b" + array + b"\x89" + stored + b"tbss."
    (tmp_path / "a.pkl").write_bytes(content)
    found = read_state_dict(tmp_path / "a.pkl")
    assert found.keys() == {"pred_b"}
    np.testing.assert_array_equal(found["pred_b"], values)


@pytest.mark.parametrize("name", ["builtins\neval", "numpy\nload", "numpy.core.multiarray\nfromfile", "os\nsystem"])
def test_other_globals_of_a_plain_pickle_are_refused(tmp_path, name):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02c" + name.encode() + b"\nU\x011\x85R.")
    with pytest.raises(CheckpointError, match=f"refused.*{re.escape(name.replace(chr(10), '.'))}.*Nothing was run"):
        read_state_dict(tmp_path / "a.pkl")


def test_a_whole_pickled_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"refused.*torch\.nn\.modules\.linear\.Linear"):
        read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize("writer", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_file(tmp_path, writer, share):
    path = tmp_path / "a.pth"
    if writer == "safetensors":
        safetensors_torch.save_file({"x": torch.zeros(100)}, path)
    else:
        torch.save({"x": torch.zeros(100)}, path, _use_new_zipfile_serialization=writer == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"a\.pth: is damaged, incomplete or not a checkpoint"):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"hello", r"neither .* starts with b'hello'"),
        (b"PK\x03\x04 and no more", "damaged"),
        (pickle.dumps([1.0], protocol=4), "has a list, not a state dict"),
        (pickle.dumps({"x": np.zeros(2)}, protocol=2)[:-20], "is damaged"),
    ],
)
def test_other_files(tmp_path, content, says):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"a\.pth: .*{says}"):
        read_state_dict(tmp_path / "a.pth")


def test_a_numpy_archive_is_read_by_its_paths_and_runs_no_code(tmp_path):
    np.savez(tmp_path / "a.npz", **{"x/y": np.ones(2, np.float32)})
    assert {key: array.tolist() for key, array in read_state_dict(tmp_path / "a.npz").items()} == {"x.y": [1, 1]}
    np.savez(tmp_path / "b.npz", x=np.array([{}], object))
    with pytest.raises(CheckpointError, match=r"b\.npz: is damaged, incomplete or not a checkpoint \(Object arrays"):
        read_state_dict(tmp_path / "b.npz")


def test_an_element_type_that_is_not_known(tmp_path):
    safetensors_torch.save_file({"x": torch.zeros(2).to(torch.float8_e4m3fn)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"x has elements of type F8_E4M3"):
        read_state_dict(tmp_path / "a.safetensors")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "none.pth"))):
        read_state_dict(tmp_path / "none.pth")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_transformers_folder(tmp_path, name):
    (tmp_path / "config.json").write_text("{}")
    save = safetensors_torch.save_file if name.endswith(".safetensors") else torch.save
    save(tensors(), tmp_path / name)
    assert_same(read_state_dict(tmp_path))


def sharded(folder) -> dict[str, str]:
    places = {"conv.weight": "1.safetensors", "bn.num_batches_tracked": "2.safetensors", "fc.bias": "2.safetensors"}
    for name in set(places.values()):
        shard = {key: value for key, value in arrays().items() if places[key] == name}
        safetensors.numpy.save_file(shard, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return places


def test_a_transformers_folder_in_shards(tmp_path):
    places = sharded(tmp_path)
    assert_same(read_state_dict(tmp_path))
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {**places, "one.more": "2.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"in no shard: one\.more"):
        read_state_dict(tmp_path)
    (tmp_path / "2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"missing: 2\.safetensors"):
        read_state_dict(tmp_path)
    index.write_text("[]")
    with pytest.raises(CheckpointError, match="needs weight_map"):
        read_state_dict(tmp_path)


def test_a_folder_without_a_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"no known kind of checkpoint.*model\.safetensors"):
        read_state_dict(tmp_path)


def test_a_real_legacy_file_of_a_parallel_model(shared):
    found = read_state_dict(shared / "data" / "checkpoints" / "resnet20-12fca82f.th")
    assert found["conv1.weight"].shape == (16, 3, 3, 3)
    assert found["linear.weight"].shape == (10, 64)
    assert not any(key.startswith("module.") for key in found)
    assert 0.1 < np.abs(found["conv1.weight"]).max() < 10
