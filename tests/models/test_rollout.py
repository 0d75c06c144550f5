"""Attention rollout: shares that add up to one, even where attention is even, for every kind of Transformer."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.tiny import clips, tiny
from vidjax.errors import UserError
from vidjax.models import rollout as module
from vidjax.models.rollout import Tokens, passed_back, rollout
from vidjax.nn.attention import attention
from vidjax.nn.attention_weights import recorded_weights

TRANSFORMERS = ("videomae_tiny", "vivit_tiny", "vivit_fsa_tiny", "vivit_fdp_tiny", "timesformer_tiny", "frame_vit_tiny")
QUICK = TRANSFORMERS[:1]


def even(rows, columns, groups=1):
    return np.full((groups, rows, columns), 1 / columns)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 1), st.integers(0, 2))
def test_rows_sum_to_one(seed, whole, extra):
    rng = np.random.default_rng(seed)
    tokens = Tokens((5, 2, 1), whole, 0 if whole else extra)
    for groups, size in ((1, tokens.count), (5, tokens.whole + tokens.extra + 2), (2, 5)):
        weights = rng.random((groups, size, size))
        weights /= weights.sum(axis=-1, keepdims=True)
        rows = np.stack([passed_back(row, weights, tokens.members(groups, size)) for row in np.eye(tokens.count)])
        np.testing.assert_allclose(rows.sum(axis=1), 1)
        assert rows.min() >= 0
        if groups == 1:
            np.testing.assert_allclose(rows, weights[0])
        elif size == 5:  # over time: block by block
            first = tokens.whole + tokens.extra
            assert rows[first, first + 1] == 0 < rows[first, first + tokens.extra + 2]


@pytest.mark.parametrize("tokens", [Tokens((3, 2, 1)), Tokens((3, 2, 1), whole=1), Tokens((3, 2, 1), extra=2)], ids=str)
def test_even_attention_gives_an_even_rollout(tokens):
    for groups, size in ((1, tokens.count), (3, tokens.whole + tokens.extra + 2)):
        own = even(size, size, groups), even(size, size, groups)
        members = [tokens.members(groups, size)] * 2
        places = tokens.places(module._rolled(tokens, own, members, [0, 1]))
        np.testing.assert_allclose(places, places.mean())
        assert places.sum() == pytest.approx(1) if not tokens.whole + tokens.extra else places.sum() < 1


def test_one_attention_is_half_of_it_and_half_of_the_tokens():
    tokens, rng = Tokens((1, 1, 3), whole=1), np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(4), (1, 4))
    found = tokens.places(module._rolled(tokens, [weights], [tokens.members(1, 4)], [0]))
    np.testing.assert_allclose(found[0, 0], 0.5 * weights[0, 0, 1:])
    twice = tokens.places(module._rolled(tokens, [weights, weights], [tokens.members(1, 4)] * 2, [0, 1]))
    both = np.linalg.matrix_power(0.5 * np.eye(4) + 0.5 * weights[0], 2)
    np.testing.assert_allclose(twice[0, 0], both[0, 1:])


@pytest.mark.parametrize("cap", [0.0, 0.5])
def test_recorded_weights_are_those_of_the_attention(cap):
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=(2, 5, 2, 4)), jnp.float32) for _ in range(3))
    with recorded_weights() as found:
        y = attention(q, k, v, causal=True, cap=cap)
    attention(q, k, v)
    (weights,) = found
    assert weights.shape == (2, 5, 5) and not np.triu(weights[0], 1).any()
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-6)
    one = [slice(None), slice(None), slice(0, 1)]  # of one head, the weights give the output
    with recorded_weights() as found:
        y = attention(q[tuple(one)], k[tuple(one)], v[tuple(one)], cap=cap)
    np.testing.assert_allclose(y[:, :, 0], found[0] @ v[:, :, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in TRANSFORMERS])
def test_transformers_have_shares_of_places(name):
    given = clips(name)
    video = jnp.asarray(given["video"] if isinstance(given, dict) else given)
    if name == "frame_vit_tiny":
        video = video[:, :3]
    maps, count = rollout(tiny(name), {"video": video})
    assert maps.ndim == 4 and len(maps) == len(video) and count >= 2
    sums = maps.sum(axis=(1, 2, 3))
    assert maps.min() > 0 and (sums <= 1 + 1e-6).all()
    if name in ("videomae_tiny", "vivit_fsa_tiny", "vivit_fdp_tiny"):  # no class token takes a share
        np.testing.assert_allclose(sums, 1, rtol=1e-5)


@pytest.mark.parametrize(
    "name", ["conv3d_tiny", *(pytest.param(n, marks=pytest.mark.slow) for n in ("swin3d_tiny", "mvit_tiny"))]
)
def test_other_networks_are_refused(name):
    given = clips(name)
    with pytest.raises(UserError, match="there is no rollout; use --method hirescam or occlusion"):
        rollout(tiny(name), {"video": jnp.asarray(given["video"] if isinstance(given, dict) else given)})


def test_what_cannot_be_told_apart_is_refused():
    with pytest.raises(UserError, match="may be within frames or over time: take clips with another number of frames"):
        Tokens((2, 2, 1)).members(2, 2)
