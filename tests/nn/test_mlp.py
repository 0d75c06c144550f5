"""The Transformer's dense layers."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests.peers import needs
from vidjax.nn.mlp import Mlp


def test_the_same_as_pytorchs_layers():
    torch = needs("torch")
    mlp = Mlp(6, 10, 4, rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).standard_normal((2, 3, 6)).astype(np.float32)
    layers = torch.nn.Sequential(torch.nn.Linear(6, 10), torch.nn.GELU(), torch.nn.Linear(10, 4))
    with torch.no_grad():
        for layer, ours in ((layers[0], mlp.fc1), (layers[2], mlp.fc2)):
            layer.weight.copy_(torch.from_numpy(np.array(ours.kernel[...].T)))
            layer.bias.zero_()
        wanted = layers(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(mlp(jnp.asarray(x)), wanted, atol=1e-5)
