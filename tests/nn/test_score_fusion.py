"""Rules of fusing scores: the same numbers from NumPy and JAX, and what the papers' words say."""

import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.errors import UserError
from vidjax.nn.score_fusion import RULES, checked_weights, fused_logs

LOGITS = 3 * np.random.default_rng(0).standard_normal((3, 4, 5))


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def test_probabilities_are_averaged_with_shares():
    p = softmax(LOGITS)
    shares = checked_weights((1, 2, 5), 3, "probabilities")
    assert shares == (1 / 8, 2 / 8, 5 / 8)
    fused = np.exp(fused_logs(np.log(p), shares, "probabilities", np))
    np.testing.assert_allclose(fused, (p[0] + 2 * p[1] + 5 * p[2]) / 8, rtol=1e-12)


def test_logits_are_added_with_factors():
    factors = checked_weights((1, 1, 0.5), 3, "logits")
    assert factors == (1, 1, 0.5)
    fused = fused_logs(LOGITS, factors, "logits", np)
    np.testing.assert_allclose(fused, LOGITS[0] + LOGITS[1] + LOGITS[2] / 2)
    # Logarithms of probabilities do as well: a constant of each network goes out.
    again = fused_logs(np.log(softmax(LOGITS)), factors, "logits", np)
    np.testing.assert_allclose(softmax(again), softmax(fused))


@pytest.mark.parametrize("rule", RULES)
def test_without_weights_it_is_the_mean(rule):
    assert checked_weights(None, 4, rule) == checked_weights((), 4, rule) == (0.25,) * 4


@pytest.mark.parametrize("rule", RULES)
def test_both_kinds_of_arrays_give_the_same(rule):
    weights = checked_weights((1, 0, 2), 3, rule)
    logs = np.log(softmax(LOGITS))
    one = fused_logs(logs, weights, rule, np)
    np.testing.assert_allclose(fused_logs(jnp.asarray(logs), weights, rule, jnp), one, rtol=1e-5)


def test_sure_networks_do_not_overflow():
    logs = [np.array([0.0, -1000.0]), np.array([-1000.0, 0.0])]
    np.testing.assert_allclose(fused_logs(logs, (0.5, 0.5), "probabilities", np), np.log([0.5, 0.5]))
    # A network of no weight says nothing, however sure it is.
    np.testing.assert_allclose(fused_logs(logs, (0.0, 1.0), "probabilities", np), logs[1])


@pytest.mark.parametrize(
    ("weights", "rule", "message"),
    [
        ((1, 2, 3), "logits", "one for each of the 2 networks"),
        ((1, -1), "logits", "none negative"),
        ((0, 0), "probabilities", "not all 0"),
        ((1, float("nan")), "probabilities", "none negative"),
        ((1, 1), "votes", "scores = 'votes': fusion averages probabilities or logits"),
    ],
)
def test_what_does_not_fit_is_named(weights, rule, message):
    with pytest.raises(UserError, match=message):
        checked_weights(weights, 2, rule)
