"""Variables and random streams that are cheap to trace."""

from typing import Any

import jax
from flax import nnx


class _ReplacedWhole(nnx.Variable):
    """A variable whose assignment skips Flax's sharding query, which is slow while tracing.

    Flax asks for the sharding. Traced values have none, and JAX searches the whole program for the reason:
    half a minute for a network of 150 layers.
    """

    def __setitem__(self, key: Any, value: Any) -> None:
        if key is Ellipsis:
            self.set_value(value)
        else:
            super().__setitem__(key, value)


class RunningStatistic(_ReplacedWhole, nnx.BatchStat):
    """`BatchStat` for running statistics, updated in every step without Flax's sharding query."""


class _Count(_ReplacedWhole, nnx.RngCount):
    """Number of draws from a random stream."""


def dropout_stream(key: jax.Array) -> nnx.Rngs:
    """`nnx.Rngs(dropout=key)`, with the same draws, for models with many layers that draw."""
    rngs = nnx.Rngs(dropout=key)
    rngs.dropout.count = _Count(rngs.dropout.count[...], tag=rngs.dropout.tag)
    return rngs
