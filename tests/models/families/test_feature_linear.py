"""The linear network on vectors: what it gives of them, and which it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.tiny import clips, tiny
from vidjax.nn.clips import ClipError


def test_its_features_are_the_mean_and_its_tokens_the_vectors():
    model, vectors = tiny("feature_linear_tiny"), clips("feature_linear_tiny")
    parts = model.encode({"features": vectors})
    np.testing.assert_allclose(parts.pooled, vectors.mean(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(parts.tokens, vectors)
    assert parts.grid == (3, 1, 1) and parts.maps is None and parts.windows is None
    half = jax.eval_shape(model.encode, jnp.asarray(vectors, jnp.bfloat16))
    assert half.pooled.dtype == np.float32 and half.tokens.shape[-1] == model.widths.tokens == model.widths.pooled


@pytest.mark.parametrize("vectors", [np.zeros((2, 16)), np.zeros((2, 3, 15)), np.zeros((2, 3, 16), np.uint8)])
def test_other_shapes_and_integers_are_refused(vectors):
    with pytest.raises(ClipError, match=r"expected floating-point \(B, N, 16\)"):
        tiny("feature_linear_tiny").encode(vectors)
