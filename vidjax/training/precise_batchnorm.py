"""Precise batch statistics: those of the current weights instead of a running average over earlier ones.

Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm" (arXiv:2105.07576), section 3.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from vidjax import parallel
from vidjax.models.low_rank import summed
from vidjax.models.state import Arrays, frozen_paths, in_float32, merge, split
from vidjax.nn.norm import normalising
from vidjax.tasks.task import Objective
from vidjax.training.device_prefetch import Feed
from vidjax.training.step import clips_of

_MEAN, _VAR = "mean", "var"  # last parts of the paths of a layer's statistics


def make_precise(
    model: nnx.Module, objective: Objective, *, seed: int, mesh: Mesh
) -> Callable[[Arrays, Arrays, Feed, int], Arrays]:
    """Build the function `(params, stats, feed, count) → stats` that runs the network over `count` batches of `feed`.

    The returned statistics are those of all clips together, with each layer's inputs computed as in training. `stats`
    gives names and shapes; `params` do not change.

    Args:
      model: model whose structure is used; its arrays are not.
      objective: objective that runs the network; its loss is discarded.
      seed: seed of dropout and masks.
      mesh: mesh of the devices that share a batch.
    """
    with normalising(model, forget=True):
        model.train()
        graphdef, _, _ = split(model)
        model.eval()
    resting, _, _ = split(model)
    frozen, add_up = frozen_paths(model), summed(model)

    def add(params: Arrays, stats: Arrays, so_far: Arrays, number: jax.Array, batch: dict[str, Any]) -> Arrays:
        params = add_up(in_float32(params))
        network = merge(graphdef, params, stats)
        teacher = merge(resting, params, stats) if objective.teacher else None
        with parallel.kernels_on(mesh):
            objective(network, clips_of(batch), jax.random.fold_in(jax.random.key(seed), number), teacher)
        new = joined(so_far, split(network)[2], number)
        return {path: stats[path] if path in frozen else array for path, array in new.items()}

    compiled = jax.jit(add, out_shardings=parallel.replicated(mesh))

    def precise(params: Arrays, stats: Arrays, feed: Feed, count: int) -> Arrays:
        so_far = stats
        for number in range(count):
            batch = feed.take()
            so_far = compiled(params, stats, so_far, jnp.int32(number), batch.arrays)
            feed.advance(jax.tree.leaves(so_far)[0])
        return so_far

    return precise


def joined(so_far: Arrays, new: Arrays, number: jax.Array) -> Arrays:
    """Merge means and variances of `number` batches with those of one more batch of the same size.

    Uses differences of means (Chan, Golub and LeVeque 1979), since differences of squares lose small variances.
    """
    share, result = 1 / (number + 1), dict(new)
    for path in (path for path in new if path.endswith(_MEAN)):
        spread = path.removesuffix(_MEAN) + _VAR
        difference = new[path] - so_far[path]
        result[path] = so_far[path] + share * difference
        within = (1 - share) * so_far[spread] + share * new[spread]
        result[spread] = within + share * (1 - share) * jnp.square(difference)
    return result
