"""Blocks whose attention scores are bounded, and a pooling of tokens by a learned query.

Source: Zhao et al., "VideoPrism: a foundational visual encoder for video understanding" (arXiv 2402.13217),
google-deepmind/videoprism `layers.py`.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.attention import LECUN_NORMAL, SelfAttention, attention
from vidjax.nn.droppath import DropPath
from vidjax.nn.grids import Grid
from vidjax.nn.mlp import Mlp, gelu
from vidjax.nn.norm import OffsetLayerNorm

CAP = 50.0  # bound of attention scores
_SOFTPLUS = 1 / math.log(2)  # makes the pooling's factor of each feature 1 at first


class CappedBlock(nnx.Module):
    """Pre-norm Transformer block with bounded attention scores.

    Args:
      dim: D, features of a token.
      heads: attention heads; divides `dim`.
      activation: activation function of the MLP.
      causal: whether a token sees only itself and those before it.
      drop_path: probability of dropping a residual branch in training.
      dtype: dtype of the computation; None: float32.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        activation: Callable[[jax.Array], jax.Array] = gelu,
        causal: bool = False,
        drop_path: float = 0.0,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.norm1 = OffsetLayerNorm(dim, dtype=dtype)
        self.attn = SelfAttention(dim, heads, kernel_init=LECUN_NORMAL, dtype=dtype, rngs=rngs)
        self.norm2 = OffsetLayerNorm(dim, dtype=dtype)
        self.mlp = Mlp(dim, 4 * dim, activation=activation, kernel_init=LECUN_NORMAL, dtype=dtype, rngs=rngs)
        self.drop_path = DropPath(drop_path)
        self.causal = causal

    def __call__(self, x: jax.Array, grid: Grid | None = None, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map `(B, N, D)` to `(B, N, D)`; the grid of the tokens is not used."""
        del grid
        attend = partial(attention, causal=self.causal, cap=CAP)
        x = x + self.drop_path(self.attn(self.norm1(x), attend=attend), rngs)
        return x + self.drop_path(self.mlp(self.norm2(x)), rngs)


class QueryAttention(nnx.Module):
    """Pooling of tokens `(B, N, D)` to `(B, D)` float32: attention of a learned query, then a norm.

    The query's features have a learned factor each, and scores have no bound.

    Args:
      dim: D, features of a token.
      heads: attention heads; divides `features`.
      features: features of queries, keys and values, of all heads together.
      dtype: dtype of the computation; None: float32.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if `heads` does not divide `features`.
    """

    def __init__(self, dim: int, heads: int, features: int, *, dtype: Any = None, rngs: nnx.Rngs):
        if features % heads:
            raise ValueError(f"heads = {heads} does not divide the pooling's {features} features")
        self.heads = heads
        linear = partial(nnx.Linear, kernel_init=LECUN_NORMAL, dtype=dtype, rngs=rngs)
        self.query = nnx.Param(LECUN_NORMAL(rngs.params(), (1, dim))[None])
        self.q, self.kv = linear(dim, features), linear(dim, 2 * features)
        self.feature_scale = nnx.Param(jnp.zeros(features // heads))
        self.proj = linear(features, dim)
        self.norm = OffsetLayerNorm(dim)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `(B, N, D)` to `(B, D)`."""
        query = jnp.broadcast_to(self.query[...].astype(x.dtype), (x.shape[0], 1, x.shape[2]))
        q, (k, v) = self.q(query), jnp.split(self.kv(x), 2, axis=-1)
        q, k, v = (y.reshape(*y.shape[:2], self.heads, -1) for y in (q, k, v))
        factors = _SOFTPLUS / math.sqrt(q.shape[-1]) * jax.nn.softplus(self.feature_scale[...])
        y = attention(q * factors.astype(q.dtype)[None, None, None], k, v, scale=1.0)
        return self.norm(self.proj(y.reshape(x.shape[0], -1)).astype(jnp.float32))
