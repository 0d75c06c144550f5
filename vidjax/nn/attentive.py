"""Pooling of tokens by attention of a learned query, optionally after blocks of self-attention."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.attention import SelfAttention, attention, three_products
from vidjax.nn.init import normal_002
from vidjax.nn.mlp import Mlp, gelu
from vidjax.nn.norm import LAYER_NORM_EPSILON


class SelfAttentionBlock(nnx.Module):
    """Pre-norm Transformer block."""

    def __init__(self, dim: int, heads: int, *, dtype: Any, rngs: nnx.Rngs):
        self.norm1 = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, dtype=dtype, rngs=rngs)
        self.attn = SelfAttention(dim, heads, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.norm2 = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, dtype=dtype, rngs=rngs)
        self.mlp = Mlp(dim, 4 * dim, kernel_init=normal_002, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `(B, N, D)` to `(B, N, D)`."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class CrossAttentionBlock(nnx.Module):
    """Cross-attention of queries to normalised tokens, without output projection, then a residual MLP."""

    def __init__(self, dim: int, heads: int, *, dtype: Any, rngs: nnx.Rngs):
        self.heads = heads
        self.norm1 = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, dtype=dtype, rngs=rngs)
        self.q = nnx.Linear(dim, dim, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.kv = nnx.Linear(dim, 2 * dim, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.norm2 = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, dtype=dtype, rngs=rngs)
        self.mlp = Mlp(dim, 4 * dim, kernel_init=normal_002, dtype=dtype, rngs=rngs)

    def __call__(self, queries: jax.Array, x: jax.Array) -> jax.Array:
        """Map queries `(B, M, D)` and tokens `(B, N, D)` to `(B, M, D)`."""
        q, (k, v) = self.q(queries), jnp.split(self.kv(self.norm1(x)), 2, axis=-1)
        q, k, v = (y.reshape(*y.shape[:2], self.heads, -1) for y in (q, k, v))
        y = queries + attention(q, k, v).reshape(queries.shape)
        return y + self.mlp(self.norm2(y))


class AttentivePooler(nnx.Module):
    """Attentive pooling of tokens `(B, N, D)` to `(B, D)` float32.

    Args:
      dim: D, features of a token.
      heads: number of attention heads; divides `dim`.
      depth: number of self-attention blocks before the query's block.
      dtype: dtype of the computation; parameters, norm statistics and softmax are float32.
      rngs: random streams; `params` draws the initial weights.

    Source: the attentive probe of V-JEPA 2 (arXiv 2506.09985), `src/models/attentive_pooler.py` in
    facebookresearch/vjepa2.

    Raises:
      ValueError: if `heads` does not divide `dim`.
    """

    def __init__(self, dim: int, heads: int, depth: int = 3, *, dtype: Any = None, rngs: nnx.Rngs):
        if dim % heads:
            raise ValueError(f"heads = {heads} does not divide dim = {dim}")
        self.query = nnx.Param(normal_002(rngs.params(), (1, 1, dim)))
        self.blocks = nnx.List([SelfAttentionBlock(dim, heads, dtype=dtype, rngs=rngs) for _ in range(depth)])
        self.cross = CrossAttentionBlock(dim, heads, dtype=dtype, rngs=rngs)
        # The last layers of residual branches start smaller the deeper they are, as in the reference.
        last = [kernel for block in self.blocks for kernel in (block.attn.proj.kernel, block.mlp.fc2.kernel)]
        for place, kernel in enumerate((*last, self.cross.mlp.fc2.kernel)):
            kernel[...] = kernel[...] / math.sqrt(2 * min(place // 2 + 1, max(depth, 1)))

    def __call__(self, x: jax.Array) -> jax.Array:
        for block in self.blocks:
            x = block(x)
        query = jnp.broadcast_to(self.query[...].astype(x.dtype), (x.shape[0], 1, x.shape[2]))
        return self.cross(query, x)[:, 0].astype(jnp.float32)


class QueryPooling(nnx.Module):
    """Pooling of tokens by a learned query: attention, then norm and MLP as a residual branch (SigLIP).

    Args:
      dim: D, features of a token.
      heads: attention heads; divides `dim`.
      activation: activation function of the MLP.
      epsilon: epsilon of the norm.
      dtype: dtype of the computation; None: float32.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        activation: Callable[[jax.Array], jax.Array] = gelu,
        epsilon: float = LAYER_NORM_EPSILON,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.heads = heads
        self.query = nnx.Param(normal_002(rngs.params(), (1, 1, dim)))
        layer = {"kernel_init": normal_002, "dtype": dtype, "rngs": rngs}
        self.qkv = nnx.Linear(dim, 3 * dim, **layer)
        self.proj = nnx.Linear(dim, dim, **layer)
        self.norm = nnx.LayerNorm(dim, epsilon=epsilon, dtype=dtype, rngs=rngs)
        self.mlp = Mlp(dim, 4 * dim, activation=activation, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `(B, N, D)` to `(B, D)`."""
        query = jnp.broadcast_to(self.query[...].astype(x.dtype), (x.shape[0], 1, x.shape[2]))
        q, (_, k, v) = three_products(query, self.qkv)[0], three_products(x, self.qkv)
        q, k, v = (y.reshape(*y.shape[:2], self.heads, -1) for y in (q, k, v))
        y = self.proj(attention(q, k, v).reshape(query.shape))
        return (y + self.mlp(self.norm(y)))[:, 0]
