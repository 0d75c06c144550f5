"""The linear network of steps: what it gives of a sequence, and what it refuses."""

import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.models import create_model
from vidjax.nn.clips import ClipError


@pytest.fixture(scope="module")
def network():
    return create_model("localise_linear_tiny", num_classes=3)


@pytest.mark.slow
def test_every_step_is_classified_by_itself(network):
    vectors = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 16)), jnp.float32)
    mask = jnp.asarray([[True] * 5, [True] * 3 + [False] * 2])
    found = network({"features": vectors, "mask": mask})
    assert found.classes.shape == (2, 5, 4) and (found.mask == mask).all()
    alone = network(vectors[:, 2:3])
    np.testing.assert_allclose(alone.classes[:, 0], found.classes[:, 2], atol=1e-6)
    assert alone.mask.all()
    pooled = network.features({"features": vectors, "mask": mask})
    np.testing.assert_allclose(pooled[1], vectors[1, :3].mean(axis=0), rtol=1e-5, atol=1e-6)


def test_without_classes_it_gives_features():
    bare = create_model("localise_linear_tiny", num_classes=0)
    assert bare(jnp.ones((1, 4, 16))).shape == (1, 16)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((2, 16), np.float32), r"expected floating-point \(B, T, 16\)"),
        (np.zeros((2, 3, 16), np.int32), r"expected floating-point \(B, T, 16\)"),
        (
            {"features": np.zeros((2, 3, 16), np.float32), "mask": np.ones((2, 4), bool)},
            r"mask \(2, 4\): expected \(2, 3\)",
        ),
    ],
)
def test_other_shapes_are_refused(network, inputs, message):
    with pytest.raises(ClipError, match=message):
        network(inputs)
