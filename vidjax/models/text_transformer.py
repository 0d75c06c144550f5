"""Transformers over token numbers in which a token sees only those before it, with one vector per text.

Sources: Radford et al., "Learning transferable visual models from natural language supervision" (arXiv 2103.00020),
`clip/model.py` of openai/CLIP; Zhao et al., "VideoPrism: a foundational visual encoder for video understanding"
(arXiv 2402.13217), `encoders.py` of google-deepmind/videoprism.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.nn.attention import SelfAttention, attention
from vidjax.nn.blocks import Execution, stack
from vidjax.nn.capped_blocks import CappedBlock
from vidjax.nn.init import normal_001, normal_002, scaled_normal
from vidjax.nn.mlp import Mlp, gelu
from vidjax.nn.norm import OffsetLayerNorm


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
        length = _length(numbers, self.pos_embed.shape[0])
        x = jnp.take(self.token_embed[...], numbers, axis=0) + self.pos_embed[...][None, :length]
        x = self.execution.run(self.blocks, x.astype(self.execution.dtype or jnp.float32))
        ends = jnp.argmax(numbers, axis=1)
        last = jnp.take_along_axis(x, ends[:, None, None], axis=1)[:, 0]
        return self.proj(self.norm(last.astype(jnp.float32)))


class ClassTokenTexts(nnx.Module):
    """Text Transformer with a class token behind a text, token numbers `(N, L)` to vectors `(N, D)` float32.

    A token sees only those before it, so that the class token, which has no position, sees the text and nothing else.
    The number 0 is padding.

    Args:
      size: numbers of tokens and features.
      execution: dtype, rematerialisation and scanning of the blocks.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(self, size: TextSize, *, execution: Execution, rngs: nnx.Rngs):
        dim = size.text_dim
        self.execution, self.length = execution, size.text_length
        draw = scaled_normal(dim**-0.5)
        self.token_embed = nnx.Param(draw(rngs.params(), (size.vocabulary, dim)))
        self.cls_token = nnx.Param(draw(rngs.params(), (1, 1, dim)))
        block = partial(
            CappedBlock, dim, size.text_heads, activation=jax.nn.relu, causal=True, dtype=execution.dtype, rngs=rngs
        )
        self.blocks = stack(lambda _, __: block(), size.text_depth, 0.0)
        self.norm = OffsetLayerNorm(dim)

    def __call__(self, numbers: jax.Array) -> jax.Array:
        """Map token numbers, int `(N, L)`, to vectors, float32 `(N, D)`.

        Raises:
          ValueError: for anything but integers of two axes, or more tokens than the network takes; names both.
        """
        length, dim = _length(numbers, self.length), self.token_embed.shape[1]
        x = jnp.take(self.token_embed[...], numbers, axis=0) * math.sqrt(dim) + _sinusoids(length, dim)[None]
        x = jnp.pad(x, ((0, 0), (0, 1), (0, 0)))
        ends = jnp.max(jnp.where(numbers != 0, jnp.arange(1, length + 1)[None], 0), axis=1)
        here = (jnp.arange(length + 1)[None] == ends[:, None])[..., None]
        x = jnp.where(here, self.cls_token[...] * math.sqrt(dim), x)
        x = self.execution.run(self.blocks, x.astype(self.execution.dtype or jnp.float32))
        return self.norm(jnp.take_along_axis(x, ends[:, None, None], axis=1)[:, 0].astype(jnp.float32))


def _sinusoids(length: int, dim: int) -> np.ndarray:
    """Positions, float32 `(L, D)`: sines, then cosines, of place / 10000^(i/(n - 1)), i = 0 … n - 1, n = D / 2."""
    n = dim // 2
    angles = np.arange(length)[:, None] * np.exp(-np.arange(n) * math.log(10000) / max(n - 1, 1))
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def _length(numbers: jax.Array, most: int) -> int:
    """Length L of token numbers `(N, L)`.

    Raises:
      ValueError: for anything but integers of two axes, or more than `most` tokens; names both.
    """
    if numbers.ndim != 2 or not jnp.issubdtype(numbers.dtype, jnp.integer):
        raise ValueError(f"texts must be token numbers (N, L), not {numbers.dtype} {numbers.shape}")
    if numbers.shape[1] > most:
        raise ValueError(f"texts of {numbers.shape[1]} tokens, but the network takes {most}")
    return numbers.shape[1]
