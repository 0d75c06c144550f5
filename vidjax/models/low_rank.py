"""Low-rank adaptation: a trained product of two thin matrices added to each frozen matrix of a network (LoRA).

Beside a kernel W `(I, O)` of a linear layer lie two parameters, A `(I, r)` and B `(r, O)`; the layer computes with
W + α/r · A B. B begins as zeros, so that training starts from the network as it is. The sum is made from the
parameters before the network is put together, in one place and for every family: layers know nothing of it, and what
is loaded from a run is the plain network, with the products added once.

Memory of gradients and of the optimiser is that of A and B alone. Arithmetic is that of ordinary training, since the
gradient of W's sum is computed on the way to those of A and B.

Source: Hu et al. (2106.09685); A begins as theirs, uniform in ±1/√I.
"""

import contextlib
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.errors import UserError
from vidjax.models.base import LOW_RANK, VideoNetwork
from vidjax.models.state import Arrays, split

_IN, _OUT = LOW_RANK


def add_low_rank(
    model: VideoNetwork,
    rank: int,
    alpha: float,
    *,
    layers: Sequence[str] = (),
    whole: Sequence[str] = (),
    seed: int = 0,
    abstract: bool = False,
) -> None:
    """Give linear layers of a network low-rank pairs, in place, and freeze everything else.

    Args:
      model: the network.
      rank: r, columns of A and rows of B.
      alpha: α; the product is multiplied by α / r.
      layers: names, whole between dots, of which one must be in a layer's path, such as "qkv" or "attn"; empty: every
        linear layer.
      whole: top-level parts that are trained as a whole, and get no pairs.
      seed: seed of A.
      abstract: whether the network's arrays are shapes only.

    Raises:
      UserError: if the network trains adapters of its own, if a part does not exist, or if no layer matches.
    """
    _, params, stats = split(model)
    tops = tuple(dict.fromkeys(path.partition(".")[0] for path in (*params, *stats)))
    if model.frozen:
        raise UserError("the network trains small layers of its own beside frozen ones, so it takes no low-rank pairs")
    if unknown := [part for part in whole if part not in tops]:
        raise UserError(f"the network has no part {unknown[0]!r} to train as a whole; its parts are {', '.join(tops)}")
    found = {
        path: layer
        for path, layer in _linear_layers(model)
        if path[0] not in whole and (not layers or set(layers) & set(path))
    }
    if not found:
        names = dict.fromkeys(str(path[-1]) for path, _ in _linear_layers(model) if path[0] not in whole)
        if not names:
            raise UserError("the network has no linear layer, besides those that are trained whole: nothing to adapt")
        raise UserError(f"no linear layer has {' or '.join(layers)} in its path; they end in {', '.join(names)}")
    for key, layer in zip(jax.random.split(jax.random.key(seed), len(found)), found.values(), strict=True):
        *stack, inputs, outputs = layer.kernel.shape
        first, second = (*stack, inputs, rank), (*stack, rank, outputs)
        if abstract:
            pair: tuple[Any, ...] = tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (first, second))
        else:
            bound = 1 / math.sqrt(inputs)
            pair = jax.random.uniform(key, first, minval=-bound, maxval=bound), jnp.zeros(second)
        for name, array in zip(LOW_RANK, pair, strict=True):
            setattr(layer, name, nnx.Param(array))
    model.low_rank_scale = alpha / rank
    model.frozen = tuple(top if top in params else f"{top}." for top in tops if top not in whole)


def summed(model: nnx.Module) -> Callable[[Arrays], Arrays]:
    """Function that adds the products of low-rank pairs to the kernels beside them, for parameters by path.

    Args:
      model: the network; without pairs, the function returns its argument.
    """
    scale = model.low_rank_scale if isinstance(model, VideoNetwork) else 0.0
    if not scale:
        return lambda params: params

    def add(params: Arrays) -> Arrays:
        result = dict(params)
        for path in params:
            place, _, name = path.rpartition(".")
            if name == _IN:
                product = jnp.matmul(params[path], params[f"{place}.{_OUT}"])
                kernel = params[f"{place}.kernel"]
                result[f"{place}.kernel"] = kernel + (scale * product).astype(kernel.dtype)
        return result

    return add


def without_pairs(params: Arrays) -> Arrays:
    """Parameters by path, without those of low-rank pairs."""
    return {path: array for path, array in params.items() if not path.endswith(LOW_RANK)}


@contextlib.contextmanager
def without_low_rank(model: nnx.Module) -> Generator[None, None, None]:
    """Context in which a network lacks its low-rank pairs, so that other weights are those of the network itself."""
    kept = []
    for _, layer in _linear_layers(model):
        for name in LOW_RANK:
            if hasattr(layer, name):
                kept.append((layer, name, getattr(layer, name)))
                delattr(layer, name)
    try:
        yield
    finally:
        for layer, name, pair in kept:
            setattr(layer, name, pair)


def _linear_layers(model: nnx.Module) -> Iterator[tuple[tuple[Any, ...], nnx.Linear]]:
    return ((path, part) for path, part in nnx.iter_modules(model) if isinstance(part, nnx.Linear))
