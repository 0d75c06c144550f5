"""Decoder of captions that reads the tokens of a video as the beginning of the text (GIT, arXiv 2205.14100).

A BERT encoder with a mask: tokens of the video see each other, words see those and earlier words.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.cached_attention import Cache, CachedAttention, KeysAndValues, causal_mask
from vidjax.nn.init import normal_002
from vidjax.nn.mlp import Mlp

Drop = Callable[[jax.Array], jax.Array]  # dropout


@dataclass(frozen=True)
class DecoderSize:
    """Size of a decoder of captions.

    Attributes:
      text_length: most tokens of a text, prompt included.
      decoder_dim: D, features of a token.
      decoder_depth: number of layers.
      decoder_heads: attention heads; divides D.
    """

    text_length: int = 1024
    decoder_dim: int = 768
    decoder_depth: int = 6
    decoder_heads: int = 12


class DecoderLayer(nnx.Module):
    """Attention and MLP, with the norm after each sum.

    Args:
      size: size of the decoder.
      epsilon: epsilon of the norms.
      dtype: dtype of the computation; None: float32.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(self, size: DecoderSize, *, epsilon: float = 1e-12, dtype: Any = None, rngs: nnx.Rngs):
        dim = size.decoder_dim
        norm = functools.partial(nnx.LayerNorm, dim, epsilon=epsilon, dtype=dtype, rngs=rngs)
        self.attn = CachedAttention(dim, size.decoder_heads, dtype=dtype, rngs=rngs)
        self.norm1 = norm()
        self.mlp = Mlp(dim, 4 * dim, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.norm2 = norm()

    def __call__(
        self, x: jax.Array, mask: jax.Array, past: KeysAndValues | None = None, slot: Any = 0, drop: Drop | None = None
    ) -> tuple[jax.Array, KeysAndValues]:
        """Map tokens `(B, N, D)` to the same shape, see `CachedAttention`; `drop` is applied to both branches."""
        drop = drop or (lambda x: x)
        y, kept = self.attn(x, None, mask, past, slot)
        x = self.norm1(x + drop(y))
        return self.norm2(x + drop(self.mlp(x))), kept


class CaptionDecoder(nnx.Module):
    """Words after the tokens of a video.

    Args:
      visual_dim: features of a video's token.
      vocabulary: V, number of different words.
      size: size of the decoder.
      epsilon: epsilon of the decoder's norms; that of the video's tokens is 1e-5.
      dtype: dtype of the computation; None: float32.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if the heads do not divide D.
    """

    def __init__(
        self,
        visual_dim: int,
        vocabulary: int,
        size: DecoderSize,
        *,
        epsilon: float = 1e-12,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        dim = size.decoder_dim
        embed = functools.partial(nnx.Embed, features=dim, embedding_init=normal_002, dtype=dtype, rngs=rngs)
        self.visual = nnx.Linear(visual_dim, dim, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.visual_norm = nnx.LayerNorm(dim, epsilon=1e-5, dtype=dtype, rngs=rngs)
        self.words = embed(vocabulary)
        self.places = embed(size.text_length)
        self.norm = nnx.LayerNorm(dim, epsilon=epsilon, dtype=dtype, rngs=rngs)
        layers = range(size.decoder_depth)
        self.layers = nnx.List([DecoderLayer(size, epsilon=epsilon, dtype=dtype, rngs=rngs) for _ in layers])
        self.text_length = size.text_length

    def __call__(
        self, visual: jax.Array, ids: jax.Array, seen: jax.Array | None = None, drop: Drop | None = None
    ) -> tuple[jax.Array, tuple[KeysAndValues, ...]]:
        """Read a video and a text: tokens of the text `(B, L, D)`, and keys and values of all tokens.

        Args:
          visual: tokens of the video, `(B, N, D')`.
          ids: numbers of the words, int32 `(B, L)`, padded at the end.
          seen: whether a word may be seen by later ones, bool `(B, L)`; None: all.
          drop: dropout; None: none.

        Raises:
          ValueError: if the text is longer than the table of positions; it names both lengths.
        """
        self.need_room(ids.shape[1])
        drop = drop or (lambda x: x)
        frames = visual.shape[1]
        words = self._embedded(ids, jnp.broadcast_to(jnp.arange(ids.shape[1])[None], ids.shape), drop)
        x = jnp.concatenate([self.visual_norm(self.visual(visual)).astype(words.dtype), words], axis=1)
        seen = jnp.ones(ids.shape, bool) if seen is None else seen
        mask = causal_mask(jnp.concatenate([jnp.ones((len(ids), frames), bool), seen], axis=1), frames)
        kept = []
        for layer in self.layers:
            x, own = layer(x, mask, drop=drop)
            kept.append(own)
        return x[:, frames:], tuple(kept)

    def step(self, ids: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        """Add one word to each text, int32 `(B,)`: its token `(B, D)`, and the new cache."""
        cache = cache.opened()
        x = self._embedded(ids[:, None], cache.place[:, None])
        mask, layers = cache.seen[:, None, None], []
        for layer, past in zip(self.layers, cache.layers, strict=True):
            x, kept = layer(x, mask, past, cache.slot)
            layers.append(kept)
        return x[:, 0], cache.advanced(tuple(layers))

    def need_room(self, length: int) -> None:
        """Refuse a text of more words than there are positions.

        Raises:
          ValueError: names both numbers.
        """
        if length > self.text_length:
            raise ValueError(
                f"a text of {length} tokens, prompt included: the decoder has {self.text_length} positions"
            )

    def _embedded(self, ids: jax.Array, places: jax.Array, drop: Drop = lambda x: x) -> jax.Array:
        return drop(self.norm(self.words(ids) + self.places(places)))
