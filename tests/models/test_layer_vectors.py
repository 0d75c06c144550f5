"""Vectors of clips from any layer, and the fingerprint of the weights that made them."""

import jax.numpy as jnp
import numpy as np
import pytest

import vidjax
from vidjax.errors import UserError
from vidjax.models.fingerprint import weights_fingerprint
from vidjax.models.layer_vectors import layer_vectors, mean_of_places
from vidjax.models.state import assign, merge, split

CLIPS = np.random.default_rng(0).random((3, 4, 16, 16, 3), np.float32)


@pytest.fixture(scope="module")
def network():
    return vidjax.create_model("conv3d_tiny", num_classes=3)


@pytest.mark.slow
def test_a_layers_vector_is_the_mean_over_its_places(network):
    maps = network.intermediates(CLIPS, "convs.1")["convs.1"]
    np.testing.assert_allclose(
        layer_vectors(network, CLIPS, "convs.1"), np.mean(maps, axis=(1, 2, 3)), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(layer_vectors(network, CLIPS), network.features(CLIPS))
    np.testing.assert_array_equal(layer_vectors(network, {"video": CLIPS}), network.features(CLIPS))


def test_frames_of_a_clip_and_pathways_are_joined():
    frames = np.arange(3 * 4 * 2 * 5, dtype=np.float32).reshape(12, 2, 5)
    expected = frames.reshape(3, 8, 5).mean(axis=1)
    np.testing.assert_allclose(mean_of_places(jnp.asarray(frames), CLIPS, "x"), expected)
    both = (jnp.asarray(frames), jnp.ones((3, 7)))
    found = mean_of_places(both, {"video": CLIPS}, "x")
    assert found.shape == (3, 12)
    np.testing.assert_allclose(found[:, :5], expected)
    for wrong in (jnp.ones(3), jnp.ones((4, 2))):
        with pytest.raises(UserError, match="not one or more vectors for each"):
            mean_of_places(wrong, CLIPS, "x")


def test_several_layers_or_none_are_refused(network):
    with pytest.raises(UserError, match=r"layer = 'convs\.\*': 2 modules .*convs\.0"):
        layer_vectors(network, CLIPS, "convs.*")
    with pytest.raises(UserError, match="has no module"):
        layer_vectors(network, CLIPS, "nothing")


def test_the_fingerprint_is_that_of_the_weights(network):
    graph, params, stats = split(network)
    own = weights_fingerprint(network)
    assert len(own) == 16 and own == weights_fingerprint(merge(graph, dict(reversed(params.items())), stats))
    assert own == weights_fingerprint(vidjax.create_model("conv3d_tiny", num_classes=3))
    other = merge(graph, params, stats)
    path = next(iter(params))
    assign(other, {path: params[path].at[(0,) * params[path].ndim].add(1e-6)})
    assert weights_fingerprint(other) != own
