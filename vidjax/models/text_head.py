"""Heads that speak: from the tokens of a video and the beginning of a text to the words that follow."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.models.base import Head
from vidjax.models.heads import Drop
from vidjax.nn.cached_attention import Cache
from vidjax.nn.caption_decoder import CaptionDecoder, DecoderSize
from vidjax.nn.generation import Decoding, generate
from vidjax.nn.init import normal_002


class TextHead(Head):
    """Base class of heads that give the logits of words, all at once or one by one with a cache.

    A subclass defines the call, `prefill` and `step`.

    Attributes:
      out_features: V, number of different words.
    """

    sees: ClassVar[str] = "tokens"
    reads = ("text",)
    out_features: int

    def __call__(self, tokens: jax.Array, drop: Drop | None, ids: jax.Array) -> jax.Array:
        """Logits of the word after each word of a text, float32 `(B, L, V)`.

        Args:
          tokens: tokens of the video, `(B, N, D')`.
          drop: dropout; None: none.
          ids: numbers of the words, int32 `(B, L)`, padded at the end, where no other word sees it.
        """
        raise NotImplementedError

    def prefill(self, tokens: jax.Array, ids: jax.Array, seen: jax.Array, room: int) -> tuple[jax.Array, Cache]:
        """Read a video and a prompt: logits of the next word, float32 `(B, V)`, and a cache.

        Args:
          tokens: tokens of the video, `(B, N, D')`.
          ids: numbers of the prompt's words, int32 `(B, P)`, padded at the end.
          seen: whether an id is a word of the prompt, bool `(B, P)`; at least the first is.
          room: most words to be added.

        Raises:
          ValueError: if that is longer than the head allows; it names both lengths.
        """
        raise NotImplementedError

    def step(self, ids: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        """Add one word to each text, int32 `(B,)`: logits of the next, float32 `(B, V)`, and the new cache."""
        raise NotImplementedError

    def answer(
        self,
        tokens: jax.Array,
        ids: jax.Array,
        seen: jax.Array,
        decoding: Decoding,
        *,
        end: int,
        pad: int = 0,
        keys: jax.Array | None = None,
    ) -> jax.Array:
        """Generate the words after a prompt, int32 `(B, decoding.length)`; after the end, `pad`.

        Args:
          tokens, ids, seen: video and prompt, see `prefill`.
          decoding: how words are chosen.
          end: number of the word that ends a text.
          pad: number that fills up.
          keys: random key of each text, `(B,)`, for draws.
        """
        logits, cache = self.prefill(tokens, ids, seen, decoding.length)
        return generate(self.step, logits, cache, decoding, end=end, pad=pad, keys=keys)


class CaptionHead(TextHead):
    """GIT's decoder as the head of any network with tokens, see `CaptionDecoder`.

    Args:
      in_features: D', width of the tokens.
      num_classes: V, number of different words.
      size: size of the decoder.
      dtype: dtype of the decoder; None: float32. Logits are float32.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: if the heads do not divide the decoder's width.
    """

    def __init__(self, in_features: int, num_classes: int, size: DecoderSize, *, dtype: object = None, rngs: nnx.Rngs):
        self.decoder = CaptionDecoder(in_features, num_classes, size, dtype=dtype, rngs=rngs)
        self.output = nnx.Linear(size.decoder_dim, num_classes, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.out_features = num_classes

    def __call__(self, tokens: jax.Array, drop: Drop | None, ids: jax.Array) -> jax.Array:
        """Logits of the word after each, see `TextHead`."""
        found, _ = self.decoder(tokens, ids.astype(jnp.int32), drop=drop)
        return self.output(found).astype(jnp.float32)

    def prefill(self, tokens: jax.Array, ids: jax.Array, seen: jax.Array, room: int) -> tuple[jax.Array, Cache]:
        """Read a video and a prompt, see `TextHead`."""
        self.decoder.need_room(ids.shape[1] + room)
        found, layers = self.decoder(tokens, ids, seen)
        count = seen.sum(axis=1)
        last = jnp.take_along_axis(found, (count - 1)[:, None, None], axis=1)[:, 0]
        everything = jnp.concatenate([jnp.ones(tokens.shape[:2], bool), seen], axis=1)
        return self.output(last).astype(jnp.float32), Cache.of_prompt(layers, everything, count, room)

    def step(self, ids: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        """Add one word, see `TextHead`."""
        found, cache = self.decoder.step(ids, cache)
        return self.output(found).astype(jnp.float32), cache
