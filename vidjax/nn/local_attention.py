"""Attention along time to near places only, and the masked block that temporal detectors build of it.

A query sees `window // 2` places on both sides. Sequences are cut into blocks, each of which attends to itself and the
edges of its neighbours: matrix products of fixed sizes, without gathering, and linear in the length.

Source: "ActionFormer" (arXiv 2202.07925), `LocalMaskedMHCA` and `TransformerBlock` of `libs/modeling/blocks.py` in
happyharrycn/actionformer_release.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.attention import attention
from vidjax.nn.droppath import DropPath
from vidjax.nn.init import uniform_fan_in
from vidjax.nn.masked_conv import TimeConv, channel_norm, halved_mask, halved_max, masked
from vidjax.nn.mlp import Mlp
from vidjax.nn.remat import layer_result

_LEAST_BLOCK = 32  # queries per block: smaller products are slow on every device
BRANCH_SCALE = 1e-4  # initial factor of a residual branch


def _surrounded(x: jax.Array, reach: int) -> jax.Array:
    """Add to blocks `(B, n, block, …)` the places before and after: `(B, n, block + 2·reach, …)`, 0 beyond the ends."""
    edge = jnp.zeros_like(x[:, :1])
    before = jnp.concatenate([edge, x[:, :-1]], axis=1)[:, :, x.shape[2] - reach :]
    after = jnp.concatenate([x[:, 1:], edge], axis=1)[:, :, :reach]
    return jnp.concatenate([before, x, after], axis=2)


def local_attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array, window: int) -> jax.Array:
    """Compute attention of each place to at most `window // 2` places on both sides of it, and to itself.

    Args:
      q: queries, `(B, T, heads, d)`.
      k: keys, of the same shape.
      v: values, of the same shape.
      mask: bool `(B, T)`; False hides a key. What a hidden place itself gets has no meaning, but is finite.
      window: odd number of places that a query sees.

    Returns:
      `(B, T, heads, d)`.
    """
    batch, length = q.shape[:2]
    reach = window // 2
    block = max(2 * reach, _LEAST_BLOCK)
    count = -(-length // block)

    def blocks(x: jax.Array) -> jax.Array:
        x = jnp.pad(x, ((0, 0), (0, count * block - length), *((0, 0),) * (x.ndim - 2)))
        return x.reshape(batch, count, block, *x.shape[2:])

    def rows(x: jax.Array) -> jax.Array:
        return x.reshape(batch * count, *x.shape[2:])

    # The key at place j of a block's surroundings is j - reach after the block's first query.
    ahead = jnp.arange(block + 2 * reach)[None] - reach - jnp.arange(block)[:, None]
    sees = (jnp.abs(ahead) <= reach)[None] & rows(_surrounded(blocks(mask), reach))[:, None]
    keys, values = (rows(_surrounded(blocks(x), reach)) for x in (k, v))
    out = attention(rows(blocks(q)), keys, values, mask=sees[:, None])
    return out.reshape(batch, count * block, *out.shape[2:])[:, :length]


class ConvAttention(nnx.Module):
    """Self-attention whose queries, keys and values come from depthwise convolutions, which may halve the sequence.

    Args:
      dim: D, features; a multiple of `heads`.
      heads: attention heads.
      window: odd number of places that a query sees; 0: all.
      stride: 1, or 2 to halve the sequence.
      dropout: dropout probability after the projection.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if the heads do not divide D, or the window is even.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int = 0,
        stride: int = 1,
        *,
        dropout: float = 0.0,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        if dim % heads:
            raise ValueError(f"heads = {heads} must divide dim = {dim}")
        if window and window % 2 == 0:
            raise ValueError(f"window = {window}: must be odd, to have a middle, or 0 for all places")

        def near() -> TimeConv:
            return TimeConv(dim, dim, 3, stride, groups=dim, use_bias=False, dtype=dtype, rngs=rngs)

        def dense() -> nnx.Linear:
            return nnx.Linear(dim, dim, kernel_init=uniform_fan_in, dtype=dtype, rngs=rngs)

        self.q_conv, self.k_conv, self.v_conv = near(), near(), near()
        self.q_norm, self.k_norm, self.v_norm = (channel_norm(dim, dtype=dtype, rngs=rngs) for _ in range(3))
        self.q, self.k, self.v, self.proj = dense(), dense(), dense(), dense()
        self.dropout = nnx.Dropout(dropout)
        self.heads, self.window = heads, window

    def __call__(self, x: jax.Array, mask: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map `(B, T, D)` to `(B, T', D)`, 0 where masked.

        Args:
          x: input.
          mask: bool `(B, T')`, mask of the output; keys outside it are not seen.
          rngs: random streams; `dropout` is used in training mode.
        """
        parts: list[jax.Array] = []
        for conv, norm, dense in (
            (self.q_conv, self.q_norm, self.q),
            (self.k_conv, self.k_norm, self.k),
            (self.v_conv, self.v_norm, self.v),
        ):
            y = layer_result(dense(norm(conv(x, mask))))
            parts.append(y.reshape(*y.shape[:2], self.heads, -1))
        q, k, v = parts
        seen = mask[:, None, None]
        y = local_attention(q, k, v, mask, self.window) if self.window else attention(q, k, v, mask=seen)
        y = layer_result(self.proj(y.reshape(*y.shape[:2], -1)))
        return masked(self.dropout(y, rngs=rngs), mask)


class ConvAttentionBlock(nnx.Module):
    """Pre-norm block of `ConvAttention` and an MLP, masked, with learned factors of both branches.

    Args:
      dim: D, features.
      heads: attention heads.
      window: odd number of places that a query sees; 0: all.
      stride: 1, or 2 to halve the sequence: the skip is then a maximum over three places.
      dropout: dropout probability after the projection, and in the MLP.
      drop_path: probability of dropping a branch.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int = 0,
        stride: int = 1,
        *,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.norm1 = channel_norm(dim, dtype=dtype, rngs=rngs)
        self.attn = ConvAttention(dim, heads, window, stride, dropout=dropout, dtype=dtype, rngs=rngs)
        self.norm2 = channel_norm(dim, dtype=dtype, rngs=rngs)
        self.mlp = Mlp(dim, 4 * dim, dropout=dropout, kernel_init=uniform_fan_in, dtype=dtype, rngs=rngs)
        self.attn_scale, self.mlp_scale = (nnx.Param(jnp.full(dim, BRANCH_SCALE)) for _ in range(2))
        self.drop_path = DropPath(drop_path)
        self.stride = stride

    def __call__(self, x: jax.Array, mask: jax.Array, rngs: nnx.Rngs | None = None) -> tuple[jax.Array, jax.Array]:
        """Map `(B, T, D)` and its mask, bool `(B, T)`, to both of the output, `(B, T', D)` and `(B, T')`."""
        skip = x
        if self.stride > 1:
            skip, out_mask = halved_max(x), halved_mask(mask)
        else:
            out_mask = mask
        y = self.attn(self.norm1(x), out_mask, rngs)
        x = masked(skip, out_mask) + self.drop_path(scaled(y, self.attn_scale), rngs)
        y = masked(self.mlp(self.norm2(x), rngs), out_mask)
        return x + self.drop_path(scaled(y, self.mlp_scale), rngs), out_mask


def scaled(x: jax.Array, scale: nnx.Param) -> jax.Array:
    """Multiply `(B, T, C)` by a learned factor per channel, `(C,)`."""
    return x * scale[...].astype(x.dtype)[None, None]
