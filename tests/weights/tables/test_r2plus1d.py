"""mmaction2's R(2+1)D-34: its keys have their places, and the logits are the reference's."""

import numpy as np
import pytest

from tests.weights.answers import errors
from tests.weights.listing import assert_complete, golden_keys, num_params, published_count, published_keys, shapes
from vidjax.weights.mapping import convert
from vidjax.weights.read import CheckpointError
from vidjax.weights.table import recognise

KEYS = "mmaction2_r2plus1d_r34_8x224"


def test_every_published_key_and_shape_has_its_place(shared):
    assert_complete("r2plus1d_34", published_keys(shared, "mmaction2_r2plus1d"), 400)
    assert num_params("r2plus1d_34", 400) == published_count(shared, "mmaction2_r2plus1d")


def test_shortcuts_are_factorised_too():
    rng = np.random.default_rng(0)
    state = golden_keys(KEYS)
    places = {
        "backbone.conv1.conv.conv_t.weight": "stem.conv.temporal.kernel",
        "backbone.layer3.0.downsample.conv.conv_s.weight": "stages.2.0.shortcut.conv.spatial.kernel",
        "backbone.layer2.3.conv2.conv.conv_t.weight": "stages.1.3.conv2.temporal.kernel",
    }
    norms = {
        "backbone.layer3.0.downsample.bn.running_mean": "stages.2.0.shortcut.norm.mean",
        "backbone.layer3.0.downsample.conv.bn_s.running_mean": "stages.2.0.shortcut.conv.norm.mean",
        "backbone.layer4.2.conv1.bn.weight": "stages.3.2.norm1.scale",
        "backbone.layer4.2.conv1.conv.bn_s.weight": "stages.3.2.conv1.norm.scale",
    }
    for key in (*places, *norms):
        state[key] = rng.standard_normal(state[key].shape).astype(np.float32)
    arrays = convert(state, recognise(state, "r2plus1d_34"), shapes("r2plus1d_34", 400))
    for key, path in places.items():
        np.testing.assert_array_equal(arrays[path], state[key].transpose(2, 3, 4, 1, 0))
    for key, path in norms.items():
        np.testing.assert_array_equal(arrays[path], state[key])


def test_torchvisions_network_is_another_one():
    with pytest.raises(CheckpointError, match=r"mmaction2 lacks conv1\.conv\.conv_s\.weight"):
        recognise(golden_keys("torchvision_r2plus1d_18"), "r2plus1d_34")


@pytest.mark.slow
def test_logits_are_the_references():
    assert max(errors(KEYS, "r2plus1d_34")) < 1e-4
