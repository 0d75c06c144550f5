"""Execution of a Transformer's blocks: one after another, or in a loop over identically built ones.

The loop (`jax.lax.scan`) is compiled once for all its blocks, so that neither the program nor the time to compile it
grows with depth. Parameters keep their places and names in the model: they are stacked for the loop, which costs a copy
of them, and of their gradients, during a step. XLA's CPU compiler gives the loop's body fewer cores,
and convolutions in it (MViT's pooling) are slow there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.nn.droppath import DropPath
from vidjax.nn.remat import check_remat, keeping, runs_straight, saved
from vidjax.nn.token_sharding import split_tokens

# Alternating blocks, as Video Swin's of shifted and unshifted windows, repeat in pairs.
_LONGEST_PERIOD = 2

Key = tuple[nnx.GraphDef, Any]  # equal for identically built blocks


@dataclass(frozen=True)
class Execution:
    """Execution options of a Transformer, which change results only by rounding.

    Attributes:
      dtype: dtype of activations; None: float32.
      remat: rematerialisation policy of each block, one of `REMAT`, see `nn/remat.py`.
      scan_blocks: whether to loop over identically built blocks instead of compiling each.

    Raises:
      ValueError: for an unknown `remat`.
    """

    dtype: Any = None
    remat: str = ""
    scan_blocks: bool = False

    def __post_init__(self) -> None:
        check_remat(self.remat, attention=True)

    def run(self, blocks: Sequence[nnx.Module], x: jax.Array, *args: Any, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Apply the blocks to `x` one after another, see `run_blocks`."""
        return run_blocks(blocks, x, *args, rngs=rngs, remat=self.remat, scan=self.scan_blocks)


def stack(block: Callable[[int, float], nnx.Module], depth: int, drop_path: float) -> nnx.List:
    """Build `depth` blocks, each as `block(i, rate)` with the i-th of `drop_rates(depth, drop_path)`."""
    return nnx.List([block(i, rate) for i, rate in enumerate(drop_rates(depth, drop_path))])


def drop_rates(depth: int, drop_path: float) -> list[float]:
    """Drop path rates of `depth` blocks: 0 in the first, rising linearly to `drop_path` in the last."""
    return np.linspace(0, drop_path, depth).tolist()


def run_blocks(
    blocks: Sequence[nnx.Module],
    x: jax.Array,
    *args: Any,
    rngs: nnx.Rngs | None = None,
    remat: str = "",
    scan: bool = False,
) -> jax.Array:
    """Apply `block(x, *args, rngs=rngs)` to `x`, one block after another.

    Results, gradients and random draws are the same with and without `scan`, except for rounding. Scanned blocks draw
    only for their `DropPath`.

    Args:
      blocks: modules that map `x` to an array of its shape.
      x: tokens, `(B, N, D)` or `(B, T, H, W, D)`.
      *args: further arguments of all blocks, not arrays, such as the grid of tokens.
      rngs: random streams; `dropout` is used by drop path in training mode.
      remat: rematerialisation policy of each block, see `nn/remat.py`.
      scan: whether to loop over runs of blocks (or pairs of blocks) that differ only in the values of their parameters
        and the rate of their `DropPath`. Blocks unlike their neighbours run singly.
    """

    def one(block: nnx.Module, x: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        return split_tokens(block(split_tokens(x), *args, rngs=rngs))

    run, scan = keeping(remat, one), scan and not runs_straight()
    apart = [_apart(block) for block in blocks] if scan else []
    runs = _runs([key for key, _, _ in apart]) if scan else ((i, 1, 1) for i in range(len(blocks)))
    for start, period, repeats in runs:
        if repeats == 1:
            x = run(blocks[start], x, rngs)
        else:
            x = _scanned(apart[start : start + period * repeats], period, x, one, rngs, remat)
    return x


def _apart(block: nnx.Module) -> tuple[Key, nnx.State, list[float]]:
    """A block's key (equal for identically built ones), parameters, and drop path rates in training mode."""
    block = nnx.clone(block)
    rates = []
    for path in _drop_paths(block):
        rates.append(0.0 if path.deterministic else path.rate)
        path.rate = 0.0
    graphdef, state = nnx.split(block)
    shapes = tuple((path, x.get_value().shape, x.get_value().dtype) for path, x in nnx.to_flat_state(state))
    return (graphdef, shapes), state, rates


def _drop_paths(block: nnx.Module) -> list[DropPath]:
    return [module for _, module in nnx.iter_modules(block) if isinstance(module, DropPath)]


def _runs(keys: Sequence[Key]) -> Iterator[tuple[int, int, int]]:
    """`(start, period, repeats)` of runs that repeat their first `period` keys, in order, each as long as possible."""
    start = 0
    while start < len(keys):
        period, repeats = 1, 1
        for length in range(1, _LONGEST_PERIOD + 1):
            first, count = keys[start : start + length], 1
            while keys[start + count * length : start + (count + 1) * length] == first:
                count += 1
            if count > 1 and length * count > period * repeats:
                period, repeats = length, count
        yield start, period, repeats
        start += period * repeats


def _scanned(
    blocks: Sequence[tuple[Key, nnx.State, list[float]]],
    period: int,
    x: jax.Array,
    one: Callable[..., jax.Array],
    rngs: nnx.Rngs | None,
    remat: str,
) -> jax.Array:
    """Run `x` through blocks that repeat every `period`, in one loop."""
    graphdefs = [key[0] for key, _, _ in blocks[:period]]
    streams, random = nnx.split(rngs) if rngs is not None else (None, None)
    drops = any(rate for _, _, rates in blocks for rate in rates)

    def call(graphdef: nnx.GraphDef, x: jax.Array, random: Any, state: nnx.State, rates: jax.Array) -> tuple:
        block = nnx.merge(graphdef, state)
        if drops:
            for path, rate in zip(_drop_paths(block), rates, strict=True):
                path.rate = nnx.data(rate)
        rngs = None if streams is None else nnx.merge(streams, random, copy=True)  # `random` keeps their old state
        x = one(block, x, rngs)
        if rngs is None or not drops:
            return x, random
        # A block with rates of 0 would not have drawn.
        drew = (rates > 0).any()
        return x, jax.tree.map(lambda new, old: jnp.where(drew, new, old), nnx.state(rngs), random)

    # The compiler does not merge the loops of the two passes, so it need not be prevented from that.
    call = jax.checkpoint(call, policy=saved(remat), static_argnums=0, prevent_cse=False)

    def body(carry: tuple, group: Sequence[tuple]) -> tuple:
        for graphdef, (state, rates) in zip(graphdefs, group, strict=True):
            carry = call(graphdef, *carry, state, rates)
        return carry, None

    groups = []
    for i in range(period):
        same = blocks[i::period]
        states = jax.tree.map(lambda *arrays: jnp.stack(arrays), *(state for _, state, _ in same))
        groups.append((states, jnp.asarray([rates for _, _, rates in same], jnp.float32)))
    (x, random), _ = jax.lax.scan(body, (x, random), groups)
    if rngs is not None:
        nnx.update(rngs, random)
    return x
