"""Text from a decoder, token by token, under jit: greedy, by beams, or drawn.

The prompt is read once; every further token is one step with a cache of fixed length, in a loop that ends when all
sequences have ended. A decoder is given as its `step`: `(ids (B,), cache) → (logits (B, V), cache)`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from vidjax.errors import UserError
from vidjax.nn.cached_attention import Cache

Step = Callable[[jax.Array, Cache], tuple[jax.Array, Cache]]

_NEVER = -1e9  # log-probability of what must not be chosen


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen.

    Attributes:
      length: most tokens that are generated, the end token included.
      beams: number of beams; 1: none.
      length_power: exponent of a sequence's length, by which the log-probability of a beam is divided.
      temperature: temperature of the draw; 0: the most probable token, without a draw.
      top_k: number of most probable tokens among which is drawn; 0: all.
      top_p: least share of the probability that the tokens have among which is drawn; 1: all.

    Raises:
      UserError: for a setting outside of its range, or one that has no effect beside the others.
    """

    length: int = 20
    beams: int = 1
    length_power: float = 1.0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        for name, least in (("length", 1), ("beams", 1), ("temperature", 0), ("top_k", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} = {getattr(self, name)}: must be at least {least}")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p = {self.top_p}: must be above 0 and at most 1")
        if self.beams > 1 and self.temperature:
            raise UserError(f"beams = {self.beams}, temperature = {self.temperature}: beams are not drawn; set one")
        if not self.temperature and (self.top_k or self.top_p < 1):
            raise UserError("top_k and top_p limit a draw: set temperature above 0, or leave them out")
        if self.beams == 1 and self.length_power != 1:
            raise UserError(f"length_power = {self.length_power}: applies to beams; set beams, or leave it out")


def choose(logits: jax.Array, decoding: Decoding, keys: jax.Array | None) -> jax.Array:
    """Choose a token of each sequence, int32 `(B,)`.

    Args:
      logits: `(B, V)`.
      decoding: how to choose; beams are not considered.
      keys: random key of each sequence, `(B,)`; None: nothing is drawn.
    """
    if not decoding.temperature:
        return logits.argmax(axis=-1).astype(jnp.int32)
    assert keys is not None, "a draw needs keys"
    logits = logits.astype(jnp.float32) / decoding.temperature
    if decoding.top_k:
        least = jax.lax.top_k(logits, min(decoding.top_k, logits.shape[-1]))[0][:, -1:]
        logits = jnp.where(logits < least, -jnp.inf, logits)
    if decoding.top_p < 1:
        ordered = jnp.sort(logits, axis=-1, descending=True)
        share = jnp.cumsum(jax.nn.softmax(ordered, axis=-1), axis=-1)
        # Tokens up to the one with which the share is reached; the first always.
        needed = jnp.concatenate([jnp.ones_like(share[:, :1], bool), share[:, :-1] < decoding.top_p], axis=-1)
        least = jnp.where(needed, ordered, jnp.inf).min(axis=-1, keepdims=True)
        logits = jnp.where(logits < least, -jnp.inf, logits)
    return jax.vmap(jax.random.categorical)(keys, logits).astype(jnp.int32)


def generate(
    step: Step,
    logits: jax.Array,
    cache: Cache,
    decoding: Decoding,
    *,
    end: int,
    pad: int = 0,
    keys: jax.Array | None = None,
) -> jax.Array:
    """Generate tokens after a prompt, int32 `(B, decoding.length)`; after the end token, `pad`.

    Args:
      step: one step of the decoder.
      logits: what the decoder says after the prompt, `(B, V)`.
      cache: its cache after the prompt, with room for `decoding.length` tokens.
      decoding: how tokens are chosen.
      end: number of the token that ends a text.
      pad: number of the token that fills up.
      keys: random key of each sequence, `(B,)`, for draws.
    """
    if decoding.beams > 1:
        return _by_beams(step, logits, cache, decoding, end, pad)
    batch = logits.shape[0]

    def chosen(logits: jax.Array, number: jax.Array) -> jax.Array:
        own = None if keys is None else jax.vmap(jax.random.fold_in, (0, None))(keys, number)
        return choose(logits, decoding, own)

    def going(state: tuple) -> jax.Array:
        number, ended, *_ = state
        return (number < decoding.length) & ~ended.all()

    def one(state: tuple) -> tuple:
        number, ended, ids, last, cache = state
        logits, cache = step(last, cache)
        new = jnp.where(ended, pad, chosen(logits, number))
        ids = jax.lax.dynamic_update_slice(ids, new[:, None], (0, number))
        return number + 1, ended | (new == end), ids, new, cache

    first = chosen(logits, jnp.int32(0))
    ids = jnp.full((batch, decoding.length), pad, jnp.int32).at[:, 0].set(first)
    return jax.lax.while_loop(going, one, (jnp.int32(1), first == end, ids, first, cache))[2]


def _by_beams(step: Step, logits: jax.Array, cache: Cache, decoding: Decoding, end: int, pad: int) -> jax.Array:
    """The best of the sequences that beams find, by log-probability over length to the power of `length_power`.

    Of twice as many candidates as beams the best that go on are the new beams; those that end, and are among the first
    as many as beams, are kept with their score, which later ones must beat. The search ends when no beam would, if it
    ended now. Source: `GenerationMixin._beam_search` of transformers, with `early_stopping=False`.
    """
    (batch, vocabulary), beams, length = logits.shape, decoding.beams, decoding.length
    rows = jnp.arange(batch)[:, None]

    def normalised(total: jax.Array, count: jax.Array) -> jax.Array:
        return total / count.astype(jnp.float32) ** decoding.length_power

    def extended(
        number: jax.Array, logits: jax.Array, totals: jax.Array, ids: jax.Array, done: tuple, hopeful: jax.Array
    ) -> tuple:
        """Beams and kept sequences with one more token, and the beams that the new ones follow."""
        chances = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1).reshape(batch, -1, vocabulary)
        totals = (totals[:, :, None] + chances).reshape(batch, -1)
        count = min(2 * beams, totals.shape[1])
        totals, best = jax.lax.top_k(totals, count)
        parents, tokens = best // vocabulary, (best % vocabulary).astype(jnp.int32)
        grown = jax.lax.dynamic_update_slice(ids[rows, parents], tokens[:, :, None], (0, 0, number))
        ends = (tokens == end) | (number + 1 == length)
        keeps = ends & (jnp.arange(count) < beams)[None] & hopeful[:, None] & (totals > _NEVER / 2)
        kept = jnp.where(keeps, normalised(totals, number + 1), _NEVER)
        scores = jnp.concatenate([done[0], kept], axis=1)
        kept_scores, kept_best = jax.lax.top_k(scores, beams)
        kept_ids = jnp.concatenate([done[1], grown], axis=1)[rows, kept_best]
        totals, going_on = jax.lax.top_k(jnp.where(ends, _NEVER, totals), beams)
        return totals, grown[rows, going_on], (kept_scores, kept_ids), parents[rows, going_on], tokens[rows, going_on]

    def improves(number: jax.Array, totals: jax.Array, done: tuple) -> jax.Array:
        """Whether a sequence's best beam would be kept if it ended now, bool `(B,)`."""
        return normalised(totals[:, 0], number) > done[0][:, -1]

    def going(state: tuple) -> jax.Array:
        number, *_, hopeful = state
        return (number < length) & hopeful.any()

    def one(state: tuple) -> tuple:
        number, totals, ids, done, last, cache, hopeful = state
        logits, cache = step(last.reshape(-1), cache)
        totals, ids, done, parents, tokens = extended(number, logits, totals, ids, done, hopeful)
        followed = (rows * beams + parents).reshape(-1)
        return number + 1, totals, ids, done, tokens, cache.take(followed), hopeful & improves(number + 1, totals, done)

    empty = jnp.full((batch, beams, length), pad, jnp.int32)
    done = (jnp.full((batch, beams), _NEVER), empty)
    # The prompt is one beam: equal ones would stay equal.
    logits = jnp.repeat(logits, beams, axis=0)
    totals = jnp.full((batch, beams), _NEVER).at[:, 0].set(0.0)
    first = jnp.int32(0), logits, totals, empty, done, jnp.ones(batch, bool)
    totals, ids, done, _, tokens = extended(*first)
    cache = cache.take(jnp.repeat(jnp.arange(batch), beams))
    one_token = jnp.int32(1)
    state = (one_token, totals, ids, done, tokens, cache, improves(one_token, totals, done))
    return jax.lax.while_loop(going, one, state)[3][1][:, 0]
