"""Networks outside of training: where batch norms go, and that nothing changes."""

import jax
import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import drawn
from vidjax.export.inference import fold
from vidjax.models.state import merge, split
from vidjax.nn.conv import Conv3D
from vidjax.nn.norm import BatchNorm


class Net(nnx.Module):
    """A norm before any layer, after a layer with and without a bias, after a layer used twice, and after dropout."""

    def __init__(self, *, rngs):
        self.first = BatchNorm(3, rngs=rngs)
        self.plain, self.after_plain = Conv3D(3, 4, 1, rngs=rngs), BatchNorm(4, rngs=rngs)
        self.biased, self.after_biased = (
            Conv3D(4, 4, 1, use_bias=True, rngs=rngs),
            BatchNorm(4, affine=False, rngs=rngs),
        )
        self.twice, self.after_twice = Conv3D(4, 4, 1, rngs=rngs), BatchNorm(4, rngs=rngs)
        self.linear, self.after_linear = nnx.Linear(4, 5, rngs=rngs), BatchNorm(5, rngs=rngs)
        self.dropout = nnx.Dropout(0.5)
        self.last = BatchNorm(5, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.after_plain(self.plain(self.first(x))))
        x = nnx.relu(self.after_biased(self.biased(x)))
        x = self.after_twice(self.twice(x)) + self.twice(x)
        x = self.after_linear(self.linear(x.mean(axis=(1, 2, 3))))
        return self.last(self.dropout(nnx.relu(x), rngs=None))


@pytest.mark.slow
def test_norms_go_into_the_layers_that_they_alone_read():
    model = drawn(Net)
    x = np.random.default_rng(0).standard_normal((2, 1, 2, 2, 3)).astype(np.float32)
    graphdef, params, stats = split(model)
    weights = {path: np.asarray(array) for path, array in {**params, **stats}.items()}
    model = merge(graphdef, *({path: weights[path] for path in part} for part in (params, stats)))
    folding = fold(model, jax.ShapeDtypeStruct(x.shape, x.dtype), weights)
    assert folding.layers == {"after_plain": "plain", "after_biased": "biased", "after_linear": "linear"}
    assert set(folding.scales) == {*folding.layers, "first", "after_twice", "last"}
    folded = folding.weights(weights)
    network = merge(graphdef, *({path: folded[path] for path in part} for part in (params, stats)))
    with folding.running(network, weights):
        found = network(x)
    np.testing.assert_allclose(found, model(x), rtol=1e-5, atol=1e-5)
