"""Words one by one: greedy, by beams and drawn, against the definitions written out in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.errors import UserError
from vidjax.nn.cached_attention import Cache
from vidjax.nn.generation import Decoding, choose, generate

WORDS, END = 5, 4
# The next word depends on the last one, and on the sequence.
TABLE = np.random.default_rng(3).standard_normal((2, WORDS, WORDS)).astype(np.float32) * 2


def step(ids, cache):
    """A decoder whose cache holds the number of its sequence, and counts."""
    sequence = cache.layers[0][0][:, 0, 0, 0].astype(int)
    return jnp.asarray(TABLE)[sequence, ids], cache.advanced(cache.layers)


def start(batch=2):
    number = jnp.arange(batch, dtype=jnp.float32).reshape(-1, 1, 1, 1)
    cache = Cache.of_prompt(((number, number),), jnp.ones((batch, 1), bool), jnp.ones(batch, int), 8)
    return jnp.asarray(TABLE)[jnp.arange(batch), 0], cache


def said(decoding, seed=None):
    keys = None if seed is None else jax.random.split(jax.random.key(seed), 2)
    return np.asarray(jax.jit(lambda: generate(step, *start(), decoding, end=END, pad=-1, keys=keys))())


def log_chances(sequence, words):
    last, total = 0, 0.0
    for word in words:
        total += float(jax.nn.log_softmax(TABLE[sequence, last])[word])
        last = word
    return total


def test_the_best_word_at_every_place_until_the_end():
    found = said(Decoding(6))
    for sequence in range(2):
        last, wanted = 0, []
        while len(wanted) < 6 and END not in wanted:
            last = int(TABLE[sequence, last].argmax())
            wanted.append(last)
        np.testing.assert_array_equal(found[sequence], wanted + [-1] * (6 - len(wanted)))


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_enough_beams_find_the_best_of_all_texts(power):
    length = 3
    whole = [words for n in range(1, length + 1) for words in itertools.product(range(WORDS), repeat=n)
             if END not in words[:-1] and (words[-1] == END or n == length)]  # fmt: skip
    found = said(Decoding(length, beams=5**2, length_power=power)) if power != 1 else said(Decoding(length, beams=5**2))
    for sequence in range(2):
        best = max(whole, key=lambda words: log_chances(sequence, words) / len(words) ** power)
        np.testing.assert_array_equal(found[sequence], [*best, *[-1] * (length - len(best))])


@pytest.mark.slow
def test_a_sequence_does_not_depend_on_the_others():
    for decoding in (Decoding(6), Decoding(6, beams=3)):
        alone = generate(step, *start(1), decoding, end=END, pad=-1)
        np.testing.assert_array_equal(alone[0], said(decoding)[0])


def test_draws_are_of_the_most_probable_words():
    logits = jnp.log(jnp.asarray([[0.4, 0.3, 0.2, 0.06, 0.04]]))
    keys = jax.random.split(jax.random.key(0), 400)
    many = jnp.broadcast_to(logits, (400, 5))

    def shares(**kwargs):
        words = np.asarray(choose(many, Decoding(**kwargs), keys))
        return np.bincount(words, minlength=5) / len(words)

    np.testing.assert_allclose(shares(temperature=1.0), np.exp(logits)[0], atol=0.07)
    assert (shares(temperature=1.0, top_k=2)[2:] == 0).all()
    assert (shares(temperature=1.0, top_p=0.65)[:2] > 0).all() and (shares(temperature=1.0, top_p=0.65)[2:] == 0).all()
    assert shares(temperature=1.0, top_p=0.01)[0] == 1
    assert shares(temperature=0.1)[0] > 0.9


def test_seeds_decide_draws():
    first, again, other = (said(Decoding(8, temperature=2.0), seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"length": 0}, "length = 0: must be at least 1"), ({"top_p": 0.0}, r"top_p = 0\.0: must be above 0"),
     ({"beams": 2, "temperature": 1.0}, "beams are not drawn"), ({"top_k": 3}, "set temperature above 0"),
     ({"length_power": 2.0}, "applies to beams")],
)  # fmt: skip
def test_settings_without_effect_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Decoding(**settings)
