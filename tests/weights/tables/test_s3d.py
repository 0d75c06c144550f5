"""S3D's table: torchvision's keys have their places, and the logits are the reference's."""

import numpy as np
import pytest

from tests.weights.answers import errors
from tests.weights.listing import assert_complete, golden_keys, num_params, published_count, published_keys, shapes
from vidjax.weights.mapping import convert
from vidjax.weights.read import CheckpointError
from vidjax.weights.table import recognise


def test_every_published_key_and_shape_has_its_place(shared):
    assert_complete("s3d", published_keys(shared, "torchvision_s3d"), 400)
    assert num_params("s3d", 400) == published_count(shared, "torchvision_s3d")


def test_numbers_in_the_sequence_are_blocks():
    rng = np.random.default_rng(0)
    state = golden_keys("torchvision_s3d")
    places = {
        "features.0.1.0.weight": "stem.0.temporal.conv.kernel",
        "features.8.branch2.0.0.weight": "stages.1.0.branch2_reduce.conv.kernel",
        "features.15.branch1.1.0.0.weight": "stages.2.1.branch1.spatial.conv.kernel",
        "features.6.branch3.1.0.weight": "stages.0.1.branch3.conv.kernel",
    }
    for key in (*places, "classifier.1.weight", "features.12.branch1.1.1.1.running_var"):
        state[key] = rng.standard_normal(state[key].shape).astype(np.float32)
    arrays = convert(state, recognise(state, "s3d"), shapes("s3d", 400))
    for key, path in places.items():
        np.testing.assert_array_equal(arrays[path], state[key].transpose(2, 3, 4, 1, 0))
    np.testing.assert_array_equal(arrays["head.kernel"], state["classifier.1.weight"][:, :, 0, 0, 0].T)
    var = arrays["stages.1.4.branch1.temporal.norm.var"]
    np.testing.assert_array_equal(var, state["features.12.branch1.1.1.1.running_var"])


def test_a_classifier_with_an_extent_is_no_dense_layer():
    state = golden_keys("torchvision_s3d")
    state["classifier.1.weight"] = np.zeros((400, 1024, 1, 3, 3), np.float32)
    with pytest.raises(CheckpointError, match=r"head\.kernel: O·I·1·1·1 → I·O cannot take classifier\.1\.weight"):
        convert(state, recognise(state, "s3d"), shapes("s3d", 400))


def test_the_gated_network_takes_no_weights_without_gates():
    with pytest.raises(CheckpointError, match="no other framework has s3dg, so it takes no other"):
        recognise(golden_keys("torchvision_s3d"), "s3dg")


@pytest.mark.slow
def test_logits_are_the_references():
    assert max(errors("torchvision_s3d_16x224", "s3d")) < 1e-4
