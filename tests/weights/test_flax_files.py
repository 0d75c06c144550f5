"""Training states of Flax: their parameters by paths, wherever the project's version kept them."""

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
