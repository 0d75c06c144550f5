"""Models that cost little to make: shapes alone, and small ones with drawn weights."""

import functools
import math
import types
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.models.registry import abstract_model
from vidjax.models.state import merge, split


@functools.cache
def abstract(name: str, num_classes: int = 400, **kwargs) -> nnx.Module:
    """The named model in evaluation mode, its arrays shapes and types only."""
    return abstract_model(name, num_classes=num_classes, **kwargs)


def params_of(name: str, **kwargs) -> dict[str, tuple[int, ...]]:
    """Shapes of the named model's parameters by path."""
    return {path: array.shape for path, array in split(abstract(name, **kwargs))[1].items()}


def shapes_of(name: str, **kwargs) -> dict[str, tuple[int, ...]]:
    """The same with those of its statistics."""
    _, params, stats = split(abstract(name, **kwargs))
    return {path: array.shape for path, array in {**params, **stats}.items()}


def drawn(build: Callable[..., nnx.Module], seed: int = 0) -> nnx.Module:
    """What `build(rngs=…)` gives, in evaluation mode, with other weights, see `filled`."""
    return filled(_shapes(build), seed)


def filled(model: nnx.Module, seed: int = 0) -> nnx.Module:
    """A model whose arrays are shapes alone, with weights: NumPy's, which need no compiling.

    They are so large that nothing in the network goes unnoticed: kernels keep the variance of what they are given,
    scales and running variances are about 1, all else is normal with standard deviation 0.3.
    """
    graphdef, params, stats = split(model)
    rng = np.random.default_rng(seed)

    def draw(path: str, shape: tuple[int, ...]) -> np.ndarray:
        z = rng.standard_normal(shape)
        if path.endswith("kernel"):
            return z / math.sqrt(math.prod(shape[:-1]))
        return 1 + 0.1 * z if path.endswith(("scale", "var")) else 0.3 * z

    params, stats = (
        {path: jnp.asarray(draw(path, a.shape), a.dtype) for path, a in arrays.items()} for arrays in (params, stats)
    )
    return merge(graphdef, params, stats)


def _shapes(build: Callable[..., nnx.Module]) -> nnx.Module:
    key = jax.random.key(0)
    rngs = types.SimpleNamespace(params=lambda: key)
    model = nnx.eval_shape(lambda: build(rngs=rngs))
    model.eval()
    return model


def traced(model: nnx.Module, inputs, method: str = "__call__"):
    """Shapes and types of what a method of a model, whose arrays are shapes alone, gives for shapes or arrays."""
    graphdef, params, stats = split(model)

    def run(params, stats, inputs):
        return getattr(merge(graphdef, params, stats), method)(inputs)

    return jax.eval_shape(run, params, stats, inputs)
