"""Transformer over token numbers in which a token sees only those before it, with one vector per text (CLIP).

Source: Radford et al., "Learning transferable visual models from natural language supervision" (arXiv 2103.00020),
`clip/model.py` of openai/CLIP.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.attention import SelfAttention, attention
from vidjax.nn.blocks import Execution, stack
from vidjax.nn.init import normal_001, normal_002
from vidjax.nn.mlp import Mlp, gelu


@dataclass(frozen=True)
class TextSize:
    """Size of a text Transformer.

    Attributes:
      vocabulary: number of different tokens.
      text_length: L, most tokens of a text, with those of start and end.
      text_dim: features of a token.
      text_depth: number of blocks.
      text_heads: attention heads per block; divides `text_dim`.
    """

    vocabulary: int = 49408
    text_length: int = 77
    text_dim: int = 512
    text_depth: int = 12
    text_heads: int = 8


class CausalBlock(nnx.Module):
    """Pre-norm Transformer block in which a token sees only itself and those before it.

    Args:
      dim: D, features of a token.
      heads: attention heads; divides `dim`.
      activation: activation function of the MLP.
      epsilon: epsilon of the norms.
      dtype: dtype of the computation; None: float32.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        activation: Callable[[jax.Array], jax.Array] = gelu,
        epsilon: float = 1e-5,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.norm1 = nnx.LayerNorm(dim, epsilon=epsilon, dtype=dtype, rngs=rngs)
        self.attn = SelfAttention(dim, heads, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.norm2 = nnx.LayerNorm(dim, epsilon=epsilon, dtype=dtype, rngs=rngs)
        self.mlp = Mlp(dim, 4 * dim, activation=activation, kernel_init=normal_002, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map `(N, L, D)` to `(N, L, D)`; nothing is drawn."""
        del rngs
        x = x + self.attn(self.norm1(x), attend=partial(attention, causal=True))
        return x + self.mlp(self.norm2(x))


class TextTransformer(nnx.Module):
    """Text Transformer, `(N, L)` token numbers to `(N, E)`: the end token's features after the last norm, projected.

    The end token is the first one of the largest number in a text. What follows it is not seen.

    Args:
      size: numbers of tokens and features.
      out: E, output features.
      activation: activation function of the MLPs.
      epsilon: epsilon of the norms.
      execution: dtype, rematerialisation and scanning of the blocks.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(
        self,
        size: TextSize,
        out: int,
        *,
        activation: Callable[[jax.Array], jax.Array] = gelu,
        epsilon: float = 1e-5,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        dim = size.text_dim
        self.execution = execution
        self.token_embed = nnx.Param(normal_002(rngs.params(), (size.vocabulary, dim)))
        self.pos_embed = nnx.Param(normal_001(rngs.params(), (size.text_length, dim)))
        block = partial(
            CausalBlock, dim, size.text_heads, activation=activation, epsilon=epsilon, dtype=execution.dtype, rngs=rngs
        )
        self.blocks = stack(lambda _, __: block(), size.text_depth, 0.0)
        self.norm = nnx.LayerNorm(dim, epsilon=epsilon, rngs=rngs)
        self.proj = nnx.Linear(dim, out, use_bias=False, kernel_init=normal_002, rngs=rngs)

    def __call__(self, numbers: jax.Array) -> jax.Array:
        """Map token numbers, int `(N, L)`, to vectors, float32 `(N, E)`.

        Raises:
          ValueError: for anything but integers of two axes, or more tokens than there are positions; names both.
        """
        if numbers.ndim != 2 or not jnp.issubdtype(numbers.dtype, jnp.integer):
            raise ValueError(f"texts must be token numbers (N, L), not {numbers.dtype} {numbers.shape}")
        length, most = numbers.shape[1], self.pos_embed.shape[0]
        if length > most:
            raise ValueError(f"texts of {length} tokens, but the network takes {most}")
        x = jnp.take(self.token_embed[...], numbers, axis=0) + self.pos_embed[...][None, :length]
        x = self.execution.run(self.blocks, x.astype(self.execution.dtype or jnp.float32))
        ends = jnp.argmax(numbers, axis=1)
        last = jnp.take_along_axis(x, ends[:, None, None], axis=1)[:, 0]
        return self.proj(self.norm(last.astype(jnp.float32)))
