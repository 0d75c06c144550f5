"""Weights of RAFT: every key of torchvision and of the original used, there and back; norms under two names."""

import re

import numpy as np
import pytest

from tests.golden import fill_state, read_keys
from tests.models.families.test_raft import GOLDENS
from tests.peers import torchvision
from vidjax.models.flow_networks import abstract_flow_network, create_flow_network
from vidjax.models.state import split
from vidjax.weights.flow_networks import flow_network_state_dict, load_flow_network
from vidjax.weights.read import CheckpointError

torchvision()

LARGE, SMALL = GOLDENS["raft_large"], GOLDENS["raft_small"]


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def arrays_of(network):
    _, params, stats = split(network)
    return {**params, **stats}


@pytest.mark.parametrize(("name", "table", "source"), [
    ("raft_large", LARGE, "torchvision"), ("raft_small", SMALL, "princeton"),
])  # fmt: skip
def test_every_key_is_used_and_written_again(name, table, source):
    state = fill_state(read_keys(table))
    same(flow_network_state_dict(load_flow_network(name, state), name, source), state)


@pytest.mark.parametrize("name", ["raft_large", "raft_small"])
def test_keys_of_torchvision(name):
    from torchvision.models import optical_flow

    state = {key: tensor.numpy() for key, tensor in getattr(optical_flow, name)(weights=None).state_dict().items()}
    network = load_flow_network(name, state)
    same(flow_network_state_dict(network, name), state)


@pytest.mark.parametrize("name", ["raft_tiny", pytest.param("raft_small_tiny", marks=pytest.mark.slow)])
def test_original_there_and_back(name):
    network = create_flow_network(name)
    state = flow_network_state_dict(network, name, "princeton")
    published = {f"module.{key}": array for key, array in state.items()}
    same(arrays_of(load_flow_network(name, published)), arrays_of(network))
    same(arrays_of(load_flow_network(name, flow_network_state_dict(network, name))), arrays_of(network))


def test_keys_of_the_originals_large_network():
    """Its own file has a norm of each shortcut twice, and the counters of both."""
    network = abstract_flow_network("raft_large")
    state = flow_network_state_dict(create_flow_network("raft_tiny"), "raft_tiny", "princeton")
    twice = {key for key in state if re.search(r"layer[23]\.0\.(norm3|downsample\.1)\.", key)}
    assert len(twice) == 2 * 2 * 5 and all(key.startswith("cnet.") for key in twice)
    assert "update_block.gru.convz2.weight" in state and "update_block.mask.2.bias" in state
    assert len(state) == len(flow_network_state_dict(create_flow_network("raft_tiny"), "raft_tiny")) + 2 * 5
    assert "gru.1.convq.bias" in arrays_of(network)


def test_norms_under_two_names_must_agree():
    state = flow_network_state_dict(create_flow_network("raft_tiny"), "raft_tiny", "princeton")
    state["cnet.layer2.0.norm3.bias"] = state["cnet.layer2.0.norm3.bias"] + 1
    with pytest.raises(CheckpointError, match="one array under two names, but differ"):
        load_flow_network("raft_tiny", state)


def test_checkpoints_of_something_else():
    state = fill_state(read_keys(SMALL))
    with pytest.raises(CheckpointError, match="the keys fit no source of raft_large"):
        load_flow_network("raft_large", state)
    state.pop("fnet.conv2.bias")
    with pytest.raises(CheckpointError, match=r"state dict into raft_small: (.|\n)*feature_encoder.conv.bias \(128\)"):
        load_flow_network("raft_small", state)
    with pytest.raises(
        CheckpointError, match="a raft_tiny cannot be written as 'timm', only as torchvision, princeton"
    ):
        flow_network_state_dict(create_flow_network("raft_tiny"), "raft_tiny", "timm")
