"""Attention of text decoders: grouped queries, rotary positions, and a cache of keys and values of fixed length.

A sequence is a prompt of N slots (tokens of a video, then of a text, in some models mixed), followed by slots for new
tokens. Prompts of a batch may differ in length: they are padded, and a mask hides the padding, so that slots are the
same for all of them while positions are not.
"""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.nn.attention import attention
from vidjax.nn.init import normal_002
from vidjax.nn.remat import layer_result

KeysAndValues = tuple[jax.Array, jax.Array]  # (B, M, groups, d) each


@functools.partial(jax.tree_util.register_dataclass, data_fields=["layers", "seen", "slot", "place"], meta_fields=[])
@dataclass(frozen=True)
class Cache:
    """Keys and values of all tokens so far, in M slots.

    Attributes:
      layers: keys and values of each layer, `(B, M, groups, d)` each.
      seen: whether a slot holds a token, bool `(B, M)`; padding does not.
      slot: number of the next free slot, int32 `()`.
      place: position of the next token of each sequence, int32 `(B,)`.
    """

    layers: tuple[KeysAndValues, ...]
    seen: jax.Array
    slot: jax.Array
    place: jax.Array

    @classmethod
    def of_prompt(cls, layers: tuple[KeysAndValues, ...], seen: jax.Array, place: jax.Array, room: int) -> "Cache":
        """Make a cache from the keys and values of a prompt.

        Args:
          layers: keys and values of each layer, `(B, N, groups, d)` each.
          seen: whether a slot of the prompt holds a token, bool `(B, N)`.
          place: position of each sequence's next token, int32 `(B,)`.
          room: slots for new tokens.
        """
        slots = seen.shape[1]

        def longer(x: jax.Array) -> jax.Array:
            return jnp.pad(x, [(0, room if axis == 1 else 0) for axis in range(x.ndim)])

        return cls(jax.tree.map(longer, layers), longer(seen), jnp.int32(slots), place.astype(jnp.int32))

    def opened(self) -> "Cache":
        """Cache whose next slot is seen, to attend to the token that is about to be written there."""
        seen = jax.lax.dynamic_update_slice(self.seen, jnp.ones((len(self.seen), 1), bool), (0, self.slot))
        return Cache(self.layers, seen, self.slot, self.place)

    def advanced(self, layers: tuple[KeysAndValues, ...]) -> "Cache":
        """Cache after a token was written to the next slot of `layers`."""
        return Cache(layers, self.seen, self.slot + 1, self.place + 1)

    def take(self, rows: jax.Array) -> "Cache":
        """Cache of these rows of the batch, int32 `(B',)`, which may repeat."""
        layers = jax.tree.map(lambda x: x[rows], self.layers)
        return Cache(layers, self.seen[rows], self.slot, self.place[rows])


def rotated(x: jax.Array, places: jax.Array, theta: float) -> jax.Array:
    """Rotate pairs of features half a head apart by place · θ^(-2j/d); computed in float32.

    Args:
      x: queries or keys, `(B, N, heads, d)`.
      places: positions of the tokens, int32 `(B, N)`.
      theta: θ, base of the frequencies.
    """
    half = x.shape[-1] // 2
    frequencies = jnp.asarray(theta ** (-np.arange(half) / half), jnp.float32)
    angles = places[:, :, None, None].astype(jnp.float32) * frequencies[None, None, None]
    a, b = jnp.split(x.astype(jnp.promote_types(x.dtype, jnp.float32)), 2, axis=-1)
    cos, sin = jnp.cos(angles).astype(a.dtype), jnp.sin(angles).astype(a.dtype)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x.dtype)


class CachedAttention(nnx.Module):
    """Self-attention with groups of query heads that share keys and values, over a prompt or one new token.

    Args:
      dim: D, features of a token.
      heads: number of query heads.
      groups: number of heads of keys and values; divides `heads`.
      head_dim: d, features of a head; 0: D / heads.
      qkv_bias: whether queries, keys and values have biases.
      out_bias: whether the projection has a bias.
      theta: base of the rotary positions' frequencies; 0: no rotary positions.
      norm_epsilon: epsilon of RMS norms of each head's queries and keys; 0: no norms.
      dtype: dtype of the computation; None: float32. Parameters are float32.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if `heads` does not divide D, or `groups` the heads.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        groups: int = 0,
        *,
        head_dim: int = 0,
        qkv_bias: bool = True,
        out_bias: bool = True,
        theta: float = 0.0,
        norm_epsilon: float = 0.0,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        groups = groups or heads
        if heads % groups or (not head_dim and dim % heads):
            raise ValueError(f"heads = {heads}: must be a multiple of groups = {groups} and divide dim = {dim}")
        self.heads, self.groups, self.theta = heads, groups, theta
        self.head_dim = head_dim or dim // heads
        layer = functools.partial(nnx.Linear, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.q = layer(dim, heads * self.head_dim, use_bias=qkv_bias)
        self.k = layer(dim, groups * self.head_dim, use_bias=qkv_bias)
        self.v = layer(dim, groups * self.head_dim, use_bias=qkv_bias)
        self.proj = layer(heads * self.head_dim, dim, use_bias=out_bias)
        norm = functools.partial(nnx.RMSNorm, self.head_dim, epsilon=norm_epsilon, dtype=dtype, rngs=rngs)
        self.q_norm = norm() if norm_epsilon else None
        self.k_norm = norm() if norm_epsilon else None

    def __call__(
        self, x: jax.Array, places: jax.Array | None, mask: jax.Array, past: KeysAndValues | None = None, slot: Any = 0
    ) -> tuple[jax.Array, KeysAndValues]:
        """Map tokens `(B, N, D)` to `(B, N, D)`, and return keys and values.

        Args:
          x: tokens.
          places: positions of the tokens, int32 `(B, N)`; None: the attention has no rotary positions.
          mask: whether a token sees another, bool `(B or 1, 1, N, N)`, or with `past` `(B or 1, 1, N, M)`.
          past: keys and values of M slots, to which those of `x` are written; None: attend to `x` alone.
          slot: first of the slots that are written.

        Returns:
          The tokens, and keys and values: `(B, N, groups, d)` each, with `past` `(B, M, groups, d)`.
        """
        batch, count, _ = x.shape
        q, k, v = (
            layer_result(layer(x)).reshape(batch, count, -1, self.head_dim) for layer in (self.q, self.k, self.v)
        )
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.theta:
            assert places is not None, "rotary positions need places"
            q, k = (rotated(y, places, self.theta) for y in (q, k))
        if past is not None:
            k, v = (
                jax.lax.dynamic_update_slice(old, new.astype(old.dtype), (0, slot, 0, 0))
                for old, new in zip(past, (k, v), strict=True)
            )
        # The heads of a group ask the same keys: they are further queries, and keys need no copies.
        each = self.heads // self.groups
        q = q.reshape(batch, count, self.groups, each, self.head_dim).swapaxes(2, 3)
        q = q.reshape(batch, count * each, self.groups, self.head_dim)
        y = attention(q, k.astype(q.dtype), v.astype(q.dtype), mask=jnp.repeat(mask, each, axis=2))
        y = y.reshape(batch, count, each, self.groups, self.head_dim).swapaxes(2, 3)
        return layer_result(self.proj(y.reshape(batch, count, -1))), (k, v)


def causal_mask(seen: jax.Array, bidirectional: int = 0) -> jax.Array:
    """Mask of a prompt: a token sees itself and those before it, bool `(B, 1, N, N)`.

    Args:
      seen: whether a slot holds a token, bool `(B, N)`; nobody sees padding.
      bidirectional: number of tokens at the beginning that see each other.
    """
    slots = jnp.arange(seen.shape[1])
    before = (slots[None, :] <= slots[:, None]) | (slots[None, :] < bidirectional) & (slots[:, None] < bidirectional)
    return before[None, None] & seen[:, None, None]
