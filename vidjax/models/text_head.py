"""Heads that speak: from the tokens of a video and the beginning of a text to the words that follow."""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.errors import UserError
from vidjax.models.base import Head
from vidjax.models.heads import Drop
from vidjax.nn.cached_attention import Cache
from vidjax.nn.caption_decoder import CaptionDecoder, DecoderSize
from vidjax.nn.generation import Decoding, generate
from vidjax.nn.init import normal_002
from vidjax.nn.text_decoder import TextDecoder, TextForm
from vidjax.wording import things


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


class LanguageHead(TextHead):
    """A language model as the head of any network whose tokens are as wide as its words, see `TextDecoder`.

    A text has a placeholder for each token of the video that the model reads, in their order.

    Args:
      num_classes: V, number of different words.
      form: size and form of the decoder.
      placeholder: number of the word that stands for a token of the video.
      prunes: whether a text may have fewer placeholders than the video has tokens, of which the first are read.
      dtype: dtype of the decoder; None: float32. Logits are float32.
      remat: rematerialisation policy of each layer in training.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: if the heads do not divide the width, or the groups the heads.
    """

    def __init__(
        self,
        num_classes: int,
        form: TextForm,
        placeholder: int,
        *,
        prunes: bool = False,
        dtype: object = None,
        remat: str = "",
        rngs: nnx.Rngs,
    ):
        self.decoder = TextDecoder(num_classes, form, dtype=dtype, remat=remat, rngs=rngs)
        layer = functools.partial(nnx.Linear, use_bias=False, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.output = None if form.tied else layer(form.text_dim, num_classes)
        self.out_features, self.placeholder, self.prunes = num_classes, placeholder, prunes

    def __call__(self, tokens: jax.Array, drop: Drop | None, ids: jax.Array) -> jax.Array:
        """Logits of the word after each, see `TextHead`; `drop` is applied to the embedded words.

        Raises:
          UserError: if a text has another number of placeholders than the video has tokens; under jit, where the
            numbers are not known, see `need_placeholders`.
        """
        ids = ids.astype(jnp.int32)
        x = self._embedded(tokens, ids)
        found, _ = self.decoder(x if drop is None else drop(x), jnp.ones(ids.shape, bool))
        return self._logits(found)

    def prefill(self, tokens: jax.Array, ids: jax.Array, seen: jax.Array, room: int) -> tuple[jax.Array, Cache]:
        """Read a video and a prompt, see `TextHead`.

        Raises:
          UserError: as for a call.
        """
        found, layers = self.decoder(self._embedded(tokens, ids), seen)
        count = seen.sum(axis=1)
        last = jnp.take_along_axis(found, (count - 1)[:, None, None], axis=1)[:, 0]
        return self._logits(last), Cache.of_prompt(layers, seen, count, room)

    def step(self, ids: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        """Add one word, see `TextHead`."""
        found, cache = self.decoder.step(ids, cache)
        return self._logits(found), cache

    def _embedded(self, tokens: jax.Array, ids: jax.Array) -> jax.Array:
        """Words `(B, L, D)`, with the video's tokens in the placeholders."""
        here = ids == self.placeholder
        if not isinstance(ids, jax.core.Tracer):
            count = int(here.sum(axis=1).max())
            need_placeholders(count, min(count, tokens.shape[1]) if self.prunes else tokens.shape[1])
        place = jnp.clip(jnp.cumsum(here, axis=1) - 1, 0, tokens.shape[1] - 1)
        words = self.decoder.words(ids)
        return jnp.where(here[..., None], jnp.take_along_axis(tokens.astype(words.dtype), place[..., None], 1), words)

    def _logits(self, x: jax.Array) -> jax.Array:
        logits = self.decoder.words.attend(x) if self.output is None else self.output(x)
        return logits.astype(jnp.float32)


def need_placeholders(count: int, tokens: int) -> None:
    """Refuse a prompt whose placeholders are not as many as a video's tokens.

    Args:
      count: placeholders in the prompt.
      tokens: tokens of the video.

    Raises:
      UserError: names both numbers.
    """
    if count != tokens:
        raise UserError(
            f"the prompt has {things(count, 'placeholder')} for the {things(tokens, 'token')} of the video: make it by "
            "the network's own prompt for this number of frames"
        )
