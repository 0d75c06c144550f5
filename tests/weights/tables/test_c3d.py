"""C3D's tables: keys of both sources have their places, and the logits are the reference's."""

import numpy as np
import pytest

from tests.weights.answers import errors
from tests.weights.listing import assert_complete, golden_keys, num_params, published_count, published_keys, shapes
from vidjax.weights.mapping import convert, head_classes
from vidjax.weights.table import recognise
from vidjax.weights.tables.c3d import MAP_LINEAR


def port(state):
    """mmaction2's state dict under the names of DavideA/c3d-pytorch."""
    names = {"conv1a": "conv1", "conv2a": "conv2", "cls_head.fc_cls": "fc8"}
    out = {}
    for key, array in state.items():
        path, leaf = key.removeprefix("backbone.").replace(".conv.", ".").rsplit(".", 1)
        out[f"{names.get(path, path)}.{leaf}"] = array
    return out


def test_every_published_key_and_shape_has_its_place(shared):
    state = published_keys(shared, "mmaction2_c3d")
    assert assert_complete("c3d", state, 101).name == "mmaction2"
    assert num_params("c3d", 101) == published_count(shared, "mmaction2_c3d")


def test_the_sports1m_networks_names():
    state = port(golden_keys("mmaction2_c3d"))
    assert {"conv1.weight", "conv2.bias", "conv3a.weight", "conv5b.bias", "fc7.weight", "fc8.bias"} < state.keys()
    assert assert_complete("c3d", state, 101).name == "c3d_pytorch"
    state = {**state, "fc8.weight": np.zeros((487, 4096)), "fc8.bias": np.zeros(487)}
    assert head_classes(state, recognise(state, "c3d")) == 487


def test_mmaction2s_weights_of_the_backbone_alone():
    state = {k.removeprefix("backbone."): a for k, a in golden_keys("mmaction2_c3d").items() if k[0] == "b"}
    table, wanted = recognise(state, "c3d"), shapes("c3d", 7)
    assert head_classes(state, table) is None
    assert wanted.keys() - convert(state, table, wanted).keys() == {"head.kernel", "head.bias"}


def test_the_first_dense_layer_reads_a_map_whose_channels_come_last():
    rng = np.random.default_rng(0)
    maps, weight = rng.standard_normal((2, 512, 1, 2, 3)), rng.standard_normal((5, 512 * 6))
    kernel = MAP_LINEAR.forward(weight)
    ours = maps.transpose(0, 2, 3, 4, 1).reshape(2, -1) @ kernel
    np.testing.assert_allclose(ours, maps.reshape(2, -1) @ weight.T, atol=1e-9)
    np.testing.assert_array_equal(MAP_LINEAR.inverse(kernel)[0], weight)
    with pytest.raises(ValueError, match="512 channels"):
        MAP_LINEAR.forward(np.zeros((5, 700)))


@pytest.mark.slow
def test_logits_are_the_references():
    assert max(errors("mmaction2_c3d_16x112", "c3d")) < 1e-4
