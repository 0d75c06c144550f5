import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vidjax.nn.droppath import DropPath


def test_drops_whole_samples_and_keeps_the_expectation():
    x = jnp.ones((4096, 3, 2))
    out = np.asarray(DropPath(0.25)(x, nnx.Rngs(dropout=0)))
    kept = out[:, 0, 0]
    np.testing.assert_array_equal(out, np.broadcast_to(kept[:, None, None], out.shape))
    np.testing.assert_allclose(np.unique(kept), [0, 1 / 0.75], rtol=1e-6)
    # five standard deviations of the mean
    np.testing.assert_allclose(out.mean(), 1, atol=5 * np.sqrt(0.25 / 0.75 / 4096))


def test_the_stream_decides():
    x = jnp.ones((64, 2), jnp.bfloat16)
    layer = DropPath(0.5)
    first = layer(x, nnx.Rngs(dropout=1))
    assert first.dtype == jnp.bfloat16
    np.testing.assert_array_equal(first, layer(x, nnx.Rngs(dropout=1)))
    assert (first != layer(x, nnx.Rngs(dropout=2))).any()
    rngs = nnx.Rngs(dropout=1)
    assert (layer(x, rngs) != layer(x, rngs)).any()


def test_evaluation_and_rate_zero_change_nothing():
    x = jnp.arange(6.0).reshape(3, 2)
    layer = DropPath(0.9)
    layer.eval()
    np.testing.assert_array_equal(layer(x), x)
    layer.train()
    with pytest.raises(ValueError, match=r"rate 0.9 needs a random stream.*rngs=nnx.Rngs\(dropout"):
        layer(x)
    np.testing.assert_array_equal(DropPath(0.0)(x), x)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_impossible_rates(rate):
    with pytest.raises(ValueError, match="0 ≤ rate < 1"):
        DropPath(rate)
