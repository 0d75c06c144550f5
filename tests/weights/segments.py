"""What networks for segments answer to a golden's vectors with its weights."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests import localisation
from tests.weights.answers import compiled
from vidjax.weights import load_pretrained


def outputs_of(name, inputs, wide=False, state=None):
    """Outputs, NumPy, in float32, or with weights, vectors and arithmetic in float64.

    Args:
      name: name of the model and of the golden.
      inputs: vectors and their mask.
      wide: whether to compute in float64.
      state: the reference's state dict; None: that of the golden.
    """
    model = load_pretrained(name, localisation.state_of(name) if state is None else state)
    with jax.enable_x64(wide):
        x, mask = inputs
        if wide:
            x = x.astype(np.float64)
            nnx.update(model, jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), nnx.state(model, nnx.Param)))
        return jax.tree.map(np.asarray, compiled(model)({"features": x, "mask": mask}))
