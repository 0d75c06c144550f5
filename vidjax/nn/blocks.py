"""How tokens go through a Transformer's blocks."""

from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx

from vidjax.nn.remat import keeping


def run_blocks(
    blocks: Sequence[nnx.Module], x: jax.Array, *args: Any, rngs: nnx.Rngs | None = None, remat: str = ""
) -> jax.Array:
    """`x` through `block(x, *args, rngs=rngs)`, one block after another.

    Args:
      blocks: what maps `x` to an array of its shape.
      x: tokens, `(B, N, D)` or `(B, T, H, W, D)`.
      *args: that all blocks take and that hold no arrays, such as the grid of tokens.
      rngs: stream `dropout`, for drop path in training mode.
      remat: what each block keeps for the backward pass, see `nn/remat.py`.
    """

    def one(block: nnx.Module, x: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        return block(x, *args, rngs=rngs)

    run = keeping(remat, one)
    for block in blocks:
        x = run(block, x, rngs)
    return x
