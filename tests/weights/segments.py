"""What networks for segments answer to a golden's vectors with its weights."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests import localisation
from tests.weights.answers import compiled
from tests.weights.listing import shapes
from vidjax.models.registry import get_spec
from vidjax.weights import load_pretrained
from vidjax.weights.mapping import convert
from vidjax.weights.table import recognise


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


def assert_complete(name, state, num_classes):
    """Every key has its place in the model, and every parameter is set; the table found."""
    table, wanted = recognise(state, name), shapes(name, num_classes)
    assert table.name in get_spec(name).sources
    assert wanted.keys() - convert(state, table, wanted).keys() <= {"positives"}
    assert sum(array.size for array in state.values()) == sum(map(math.prod, wanted.values())) - 1
    return table
