"""Every family that gives arrays as an ONNX graph, and as StableHLO for each platform."""

import time

import jax
import numpy as np
import pytest

from tests.models.tiny import FAMILIES, clips, tiny
from tests.peers import needs
from vidjax.export.inference import fold
from vidjax.export.jax2onnx_patches import to_onnx
from vidjax.export.onnx_file import read_onnx, save
from vidjax.export.parity import LARGEST, relative_error
from vidjax.export.program import named_arrays
from vidjax.models.state import merge, split
from vidjax.nn.target_backend import targeting

for package in ("jax2onnx", "onnx", "onnxruntime"):
    needs(package)

# Families of which jax2onnx converts nothing, and why.
CANNOT: dict[str, str] = {}
SECONDS = 100  # of CPU, for all of them; 68 to 91 seen


@pytest.mark.slow
def test_families_as_onnx(tmp_path, capsys):
    start, told, failed = time.process_time(), [], {}
    for family, name in FAMILIES.items():
        began = time.process_time()
        try:
            error = _error(name, tmp_path)
            assert error <= LARGEST, f"relative error {error:.1e}"
            word = f"relative error {error:.1e}"
        except Exception as problem:  # of any kind: the others are still to be tried
            word = failed[family] = f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]}"
        told.append(f"{name}: {time.process_time() - began:.1f} s, {word}")
    with capsys.disabled():
        print("", *told, f"{time.process_time() - start:.0f} s of CPU", sep="\n")
    assert failed.keys() == CANNOT.keys(), failed
    assert time.process_time() - start < SECONDS


def _error(name, folder):
    """Relative error of the graph of a small network, with two clips."""
    model, given = tiny(name), clips(name, 2)
    inputs = given if isinstance(given, dict) else {"x": given}
    graphdef, params, stats = split(model)
    weights = {path: np.asarray(array) for path, array in {**params, **stats}.items()}

    def network(arrays):
        return merge(graphdef, *({path: arrays[path] for path in part} for part in (params, stats)))

    shapes = {key: jax.ShapeDtypeStruct(array.shape, array.dtype) for key, array in inputs.items()}
    folding = fold(network(weights), shapes if isinstance(given, dict) else shapes["x"], weights)
    folded = network(folding.weights(weights))

    def run(*arrays):
        with targeting("onnx"), folding.running(folded, weights):
            return [folded(dict(zip(inputs, arrays, strict=True)) if isinstance(given, dict) else arrays[0])]

    open_batch = {key: jax.ShapeDtypeStruct(("B", *array.shape[1:]), array.dtype) for key, array in inputs.items()}
    file = save(to_onnx(run, open_batch, ["y"], name), folder / f"{name}.onnx")
    wanted = jax.jit(lambda x: merge(graphdef, params, stats)(x))(given)
    return relative_error(read_onnx(file)(inputs), {"y": np.asarray(wanted)})


def test_names_of_arrays_in_trees():
    assert list(named_arrays({"a": [np.zeros(1), None, np.zeros(2)], "b": np.zeros(3)})) == ["a.0", "a.2", "b"]
