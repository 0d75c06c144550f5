"""Training states of Flax: their parameters by paths, wherever the project's version kept them."""

import pickle

import jax.numpy as jnp
import numpy as np
import pytest
from flax.serialization import msgpack_serialize

from vidjax.weights.read import CheckpointError, read_state_dict

PARAMS = {"embedding": {"kernel": np.ones((2, 3), np.float32)}, "cls": np.zeros((1, 1, 3), np.float32)}


@pytest.mark.parametrize(
    "state",
    [
        {"global_step": 7, "params": PARAMS, "model_state": {}},
        {"global_step": 7, "optimizer": {"target": PARAMS, "state": {"step": 7}}},
        {"params": {"params": PARAMS}},
        PARAMS,
    ],
)
def test_parameters_are_found(tmp_path, state):
    (tmp_path / "checkpoint_7").write_bytes(msgpack_serialize(state))
    found = read_state_dict(tmp_path / "checkpoint_7")
    assert found.keys() == {"embedding.kernel", "cls"}
    np.testing.assert_array_equal(found["embedding.kernel"], PARAMS["embedding"]["kernel"])


def test_a_damaged_file(tmp_path):
    whole = msgpack_serialize({"params": PARAMS})
    (tmp_path / "cut").write_bytes(whole[:40])
    with pytest.raises(CheckpointError, match=r"cut: is damaged, incomplete or not a checkpoint .*Fetch it again"):
        read_state_dict(tmp_path / "cut")


VARIABLES = {
    "params": {"block": {"a/conv": {"kernel": np.ones((2, 3), np.float32)}}},
    "batch_stats": {"block": {"norm": {"mean": np.arange(3.0, dtype=np.float32)}}},
}


def test_variables_of_a_module_are_read_by_their_paths(tmp_path):
    (tmp_path / "a.ckpt").write_bytes(pickle.dumps(VARIABLES))
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps({"model": VARIABLES}))
    on_device = {"params": {"block": {"a/conv": {"kernel": jnp.ones((2, 3))}}}, "batch_stats": VARIABLES["batch_stats"]}
    for checkpoint in (tmp_path / "a.ckpt", tmp_path / "b.ckpt", on_device):
        found = read_state_dict(checkpoint)
        assert list(found) == ["params.block.a/conv.kernel", "batch_stats.block.norm.mean"]
        np.testing.assert_array_equal(found["batch_stats.block.norm.mean"], [0, 1, 2])


def test_a_tree_that_is_none(tmp_path):
    circle = {}
    circle["again"] = circle
    twice = {"a": {"x": np.ones(1)}}
    twice["b"] = twice["a"]
    deep = {}
    for _ in range(100):
        deep = {"in": deep}
    for tree in (circle, twice, deep):
        (tmp_path / "a.ckpt").write_bytes(pickle.dumps({"params": tree}))
        with pytest.raises(CheckpointError, match=r"a\.ckpt: is no tree of weights \(params"):
            read_state_dict(tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"not arrays: 'params\.name' \(str\)"):
        read_state_dict({"params": {"name": "x"}})
    with pytest.raises(CheckpointError, match=r"not arrays: 'params' \(dict\), 'step' \(int\)"):
        read_state_dict({"params": {"x": np.ones(1)}, "step": 3})
