import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.peers import needs
from vidjax.nn.distil import _overlaps, likeness_difference, softened_divergence


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_divergence_is_pytorchs(temperature):
    torch = needs("torch")
    own, teacher = drawn(6, 5), drawn(6, 5, seed=1)
    logs = [torch.nn.functional.log_softmax(torch.tensor(x) / temperature, -1) for x in (own, teacher)]
    expected = temperature**2 * torch.nn.functional.kl_div(*logs, reduction="none", log_target=True).sum(-1)
    np.testing.assert_allclose(softened_divergence(own, teacher, temperature), expected, rtol=1e-5, atol=1e-6)
    yes, other = (torch.sigmoid(torch.tensor(x, dtype=torch.float64) / temperature) for x in (teacher, own))
    entropy = torch.nn.functional.binary_cross_entropy
    expected = temperature**2 * (entropy(other, yes, reduction="none") - entropy(yes, yes, reduction="none")).mean(-1)
    found = softened_divergence(own, teacher, temperature, several=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("several", [False, True])
def test_equal_answers_have_no_divergence_and_only_the_network_learns(several):
    logits = drawn(3, 4)
    np.testing.assert_allclose(softened_divergence(logits, logits, 2.0, several), 0, atol=1e-6)
    own, teacher = jax.grad(lambda a, b: softened_divergence(a, b, 2.0, several).sum(), (0, 1))(
        logits, drawn(3, 4, seed=1)
    )
    assert np.abs(own).max() > 1e-3 and not np.any(teacher)
    far = softened_divergence(jnp.array([[1e4, -1e4]]), jnp.array([[-1e4, 1e4]]), 1.0, several)
    assert np.isfinite(far).all() and far > 1e3


def test_likeness_needs_no_common_width_and_no_common_basis():
    tokens = drawn(2, 12, 8)
    turned, _ = np.linalg.qr(drawn(8, 8, seed=1))
    wider = np.concatenate([3 * tokens @ turned, np.zeros((2, 12, 5), np.float32)], axis=-1)
    np.testing.assert_allclose(likeness_difference(tokens, (3, 2, 2), wider, (3, 2, 2)), 0, atol=1e-6)
    other = likeness_difference(tokens, (3, 2, 2), drawn(2, 12, 8, seed=2), (3, 2, 2))
    assert (np.asarray(other) > 0.05).all()


def test_likeness_is_of_the_coarser_grid_without_tokens_of_the_whole_clip():
    tokens = drawn(2, 2, 2, 2, 6)
    finer = tokens.repeat(2, axis=1).repeat(2, axis=2).repeat(2, axis=3).reshape(2, 64, 6)
    led = np.concatenate([drawn(2, 1, 6, seed=3), tokens.reshape(2, 8, 6)], axis=1)
    np.testing.assert_allclose(likeness_difference(led, (2, 2, 2), finer, (4, 4, 4)), 0, atol=1e-6)
    halves = tokens.reshape(2, 2, 4, 6).mean(axis=1)
    found = likeness_difference(halves, (1, 2, 2), tokens.reshape(2, 8, 6), (2, 2, 2))
    np.testing.assert_allclose(found, 0, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), [(4, 2), (5, 2), (7, 3), (3, 1)])
def test_places_are_averaged_with_their_shares(old, new):
    weights = _overlaps(old, new)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(weights.sum(axis=0), new / old, rtol=1e-6)
    assert all((np.diff(np.flatnonzero(row)) == 1).all() for row in weights)
