"""What networks for segments answer to a golden's vectors with its weights."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests import localisation
from tests.golden import relative_error
from tests.weights.answers import compiled
from tests.weights.listing import shapes
from vidjax.models.registry import get_spec
from vidjax.weights import load_pretrained
from vidjax.weights.mapping import convert
from vidjax.weights.table import recognise


def outputs_of(name, inputs, state=None):
    """Outputs, NumPy, in float32, and with weights, vectors and arithmetic in float64.

    Args:
      name: name of the model and of the golden.
      inputs: vectors and their mask.
      state: the reference's state dict; None: that of the golden.
    """
    model = load_pretrained(name, localisation.state_of(name) if state is None else state)
    x, mask = inputs
    found = [jax.tree.map(np.asarray, compiled(model)({"features": x, "mask": mask}))]
    with jax.enable_x64(True):
        nnx.update(model, jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), nnx.state(model, nnx.Param)))
        found.append(jax.tree.map(np.asarray, compiled(model)({"features": x.astype(np.float64), "mask": mask})))
    return found


def compare_with_golden(name, lengths, fields, shared):
    """Compare a network's outputs with the reference's, at 1e-5 in float32 and 1e-11 in float64.

    Args:
      name: name of the model and of the golden.
      lengths: vectors of the sequences; all are padded to the first.
      fields: names in the golden by names in `SegmentOutputs`.
      shared: folder of the shared material.
    """
    expected = localisation.of_shared(name, shared)
    rounded, exact = outputs_of(name, localisation.features(2048, lengths[0], lengths))
    np.testing.assert_array_equal(rounded.mask, expected["mask"])
    for ours, theirs in fields.items():
        assert relative_error(getattr(rounded, ours), expected[theirs]) < 1e-5
        assert relative_error(getattr(exact, ours), expected[f"{theirs}64"]) < 1e-11


def assert_complete(name, state, num_classes):
    """Every key has its place in the model, and every parameter is set; the table found."""
    table, wanted = recognise(state, name), shapes(name, num_classes)
    assert table.name in get_spec(name).sources
    assert wanted.keys() - convert(state, table, wanted).keys() <= {"positives"}
    assert sum(array.size for array in state.values()) == sum(map(math.prod, wanted.values())) - 1
    return table
