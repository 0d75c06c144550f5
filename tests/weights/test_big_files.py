"""Big checkpoints: parameters are read one by one, in their own type, to the devices that hold them."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.golden import FOLDER
from tests.peers import needs
from tests.weights.language import NAME, SMALL, shapes, state
from vidjax import parallel
from vidjax.__main__ import main
from vidjax.models.state import split
from vidjax.training.checkpoints import load_model
from vidjax.weights import load_pretrained, read_state_dict
from vidjax.weights.load import load_with_arguments
from vidjax.weights.low_rank import load_adapter


def bfloat16(state):
    return {key: array.astype(ml_dtypes.bfloat16) for key, array in state.items()}


def write_shards(folder, state, count=3):
    """As transformers writes a checkpoint that is too large for one file."""
    folder.mkdir()
    names = {key: f"model-{number % count}.safetensors" for number, key in enumerate(state)}
    for name in set(names.values()):
        save_file({key: array for key, array in state.items() if names[key] == name}, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    return folder


@pytest.fixture(scope="module")
def base():
    return state()


@pytest.fixture(scope="module")
def shards(base, tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("big") / "shards", bfloat16(base))


def mapped(array):
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array is not None


def test_halves_stay_in_the_files(shards, base, tmp_path):
    torch = needs("torch")
    torch.save({key: torch.from_numpy(array).bfloat16() for key, array in base.items()}, tmp_path / "whole.pth")
    for checkpoint in (shards, tmp_path / "whole.pth"):
        state = read_state_dict(checkpoint, halves=True)
        assert {array.dtype for array in state.values()} == {np.dtype(ml_dtypes.bfloat16)}
        assert all(map(mapped, state.values()))
        floats = read_state_dict(checkpoint)
        assert {array.dtype for array in floats.values()} == {np.dtype(np.float32)}
        for key, array in floats.items():
            np.testing.assert_array_equal(array, state[key].astype(np.float32))


def test_parameters_of_the_wanted_type(shards, base):
    wide, narrow = (
        split(load_pretrained(NAME, shards, param_dtype=dtype, **SMALL))[1] for dtype in (jnp.float32, jnp.bfloat16)
    )
    exact = split(load_pretrained(NAME, base, **SMALL))[1]
    for path, array in narrow.items():
        assert array.dtype == jnp.bfloat16 and wide[path].dtype == jnp.float32
        np.testing.assert_array_equal(array, exact[path].astype(jnp.bfloat16), err_msg=path)
        np.testing.assert_array_equal(array.astype(jnp.float32), wide[path], err_msg=path)


def test_every_device_gets_its_part(shards):
    mesh = parallel.make_mesh(2, fsdp=2, model=2)
    model = load_pretrained(NAME, shards, param_dtype=jnp.bfloat16, mesh=mesh, **SMALL)
    whole = split(load_pretrained(NAME, shards, **SMALL))[1]
    params = split(model)[1]
    for path, array in params.items():
        wanted = parallel.parameter_spec(path, array.shape, mesh)
        assert array.sharding.is_equivalent_to(jax.sharding.NamedSharding(mesh, wanted), array.ndim), path
        np.testing.assert_array_equal(array.astype(jnp.float32), whole[path].astype(jnp.bfloat16).astype(jnp.float32))
    kernel = params["head.decoder.layers.0.mlp.gate.kernel"]
    assert {part.data.shape for part in kernel.addressable_shards} == {(48, 40)}
    load_adapter(model, FOLDER / "language" / "peft", name=NAME)
    after = split(model)[1]
    assert all(after[path].sharding == array.sharding for path, array in params.items())
    assert np.any(
        np.asarray(after["head.decoder.layers.0.attn.q.kernel"])
        != np.asarray(params["head.decoder.layers.0.attn.q.kernel"])
    )


MEASURED = """
import json, sys, threading, time
import jax, jax.numpy as jnp
from vidjax.models.registry import abstract_model
from vidjax.models.state import split
from vidjax.weights import load_pretrained
from vidjax.weights.table import sources

def own():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))

name, folder, dtype, sizes = sys.argv[1:]
abstract_model(name, **json.loads(sizes)), sources(), jnp.zeros(()).block_until_ready()
before, peak, done = own(), 0, threading.Event()

def watch():
    global peak
    while not done.is_set():
        peak = max(peak, own())
        time.sleep(0.002)

watcher = threading.Thread(target=watch)
watcher.start()
model = load_pretrained(name, folder, param_dtype=jnp.dtype(dtype), **json.loads(sizes))
done.set(); watcher.join()
sizes = [array.nbytes for array in split(model)[1].values()]
print(json.dumps([peak - before, sum(sizes), max(sizes)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_memory_of_loading(dtype, tmp_path):
    """Anonymous memory: pages of mapped files are the system's to drop."""
    wide = {**SMALL, "text_dim": 480, "text_depth": 8, "text_hidden": 6144, "num_classes": 2048}
    rng = np.random.default_rng(0)
    big = bfloat16({key: rng.standard_normal(shape, np.float32) for key, shape in shapes(**wide).items()})
    assert sum(array.nbytes for array in big.values()) > 150e6
    folder = write_shards(tmp_path / "shards", big)
    command = [sys.executable, "-c", MEASURED, NAME, str(folder), dtype, json.dumps(wide)]
    peak, total, largest = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    # The largest array is there as float32 and in its type; the rest is for what Python frees later.
    assert peak < 1.1 * total + 3 * largest + 48e6, f"{peak / 1e6:.0f} MB for parameters of {total / 1e6:.0f} MB"


def test_a_converted_network_keeps_its_type(shards, tmp_path, monkeypatch):
    def smaller(name, checkpoint, **settings):
        model, kwargs = load_with_arguments(name, checkpoint, **settings | SMALL)
        return model, kwargs | SMALL

    monkeypatch.setattr("vidjax.apps.convert.load_with_arguments", smaller)
    run, adapter = tmp_path / "run", FOLDER / "language" / "peft"
    options = ["--adapter", str(adapter), "--param-dtype", "bfloat16"]
    assert main(["convert", NAME, str(shards), str(run), *options]) == 0
    mesh = parallel.make_mesh(2, fsdp=2, model=2)
    exact = split(load_pretrained(NAME, shards, adapter=adapter, param_dtype=jnp.bfloat16, **SMALL))[1]
    for settings, dtype in (({}, jnp.float32), ({"as_stored": True, "mesh": mesh}, jnp.bfloat16)):
        model, meta, _ = load_model(run, **settings)
        params = split(model)[1]
        assert meta.config.model.param_dtype == "bfloat16"
        for path, array in params.items():
            assert array.dtype == dtype
            np.testing.assert_array_equal(array.astype(jnp.float32), exact[path].astype(jnp.float32))
    kernel = params["head.decoder.layers.0.mlp.gate.kernel"]
    assert {part.data.shape for part in kernel.addressable_shards} == {(48, 40)}
