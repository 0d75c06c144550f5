"""What vidjax answers to the inputs of a golden, and how far that is from the reference."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests.golden import golden, relative_error
from vidjax.models.registry import get_spec
from vidjax.models.state import merge, split
from vidjax.weights import load_pretrained


def compiled(model: nnx.Module) -> Callable[..., jax.Array]:
    """The model's answer to its inputs, under jit, with the weights as arguments.

    As constants of the program they would be folded and copied while it is compiled, and no two checkpoints of a
    network would share it in the cache of compiled programs.
    """
    graphdef, *arrays = split(model)
    run = jax.jit(lambda arrays, *inputs: merge(graphdef, *arrays)(*inputs))
    return lambda *inputs: run(arrays, *inputs)


def errors(reference: str, name: str, field: str = "logits") -> list[float]:
    """Relative errors of a named model that loads a golden's state dict, for the noise and for the coarse noise.

    A clip of each, as one batch: what mixes clips shows, and the other two would cost as much time and say little more.
    """
    expected = golden(reference)
    clips = expected.sound if "audio" in get_spec(name).inputs else expected.both
    given = np.asarray(compiled(load_pretrained(name, expected.state))(clips))
    return [relative_error(y, g) for y, g in zip(given, expected.of_both(field), strict=True)]


def errors_in_float64(reference: str, name: str) -> list[float]:
    """The same with weights, clips and arithmetic in float64, against the reference's own float64."""
    expected = golden(reference)
    model = load_pretrained(name, expected.state)
    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda x: x.astype(np.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x,
            nnx.state(model, (nnx.Param, nnx.BatchStat)),
        )
        nnx.update(model, wide)
        given = np.asarray(compiled(model)(expected.both.astype(np.float64)))
    return [relative_error(y, g) for y, g in zip(given, expected.of_both("logits64"), strict=True)]
