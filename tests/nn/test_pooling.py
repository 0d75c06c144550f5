"""Pooling with PyTorch's meaning of padding, and masked pooling over time."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers import needs
from vidjax.nn.pooling import (
    NetVLAD,
    avg_pool3d,
    grid_mean,
    max_pool3d,
    temporal_max,
    temporal_mean,
    temporal_pooling,
    temporal_pyramid,
)


def draw(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("window", "strides", "padding"),
    [(2, None, 0), ((1, 3, 3), (1, 2, 2), (0, 1, 1)), ((3, 2, 3), (2, 1, 2), (1, 1, 1))],
)
def test_windows_are_pytorchs(window, strides, padding):
    torch = needs("torch")
    # Negative values: a padding of zeros would win.
    x = draw((2, 4, 6, 5, 3)) - 5
    first = torch.from_numpy(x.transpose(0, 4, 1, 2, 3).copy())
    for ours, theirs in (
        (max_pool3d(x, window, strides, padding), torch.nn.functional.max_pool3d(first, window, strides, padding)),
        (avg_pool3d(x, window, strides, padding), torch.nn.functional.avg_pool3d(first, window, strides, padding)),
        (
            avg_pool3d(x, window, strides, padding, count_padding=False),
            torch.nn.functional.avg_pool3d(first, window, strides, padding, count_include_pad=False),
        ),
    ):
        chex.assert_trees_all_close(ours, theirs.numpy().transpose(0, 2, 3, 4, 1), atol=1e-5)


@pytest.mark.slow(after=2)
@pytest.mark.parametrize(
    ("window", "strides", "padding"),
    [((1, 3, 3), (1, 2, 2), (0, 1, 1)), (3, 1, 1), ((1, 1, 2), (1, 1, 3), 0), ((2, 3, 2), (3, 2, 1), (1, 1, 0))],
)
def test_of_equal_maxima_the_first_gets_the_gradient(window, strides, padding):
    """As in PyTorch; after a ReLU most windows have several zeros."""
    torch = needs("torch")
    x = np.maximum(np.round(draw((2, 5, 6, 7, 3))), 0)
    first = torch.from_numpy(x.transpose(0, 4, 1, 2, 3).copy()).requires_grad_()
    theirs = torch.nn.functional.max_pool3d(first, window, strides, padding)
    ours, transpose = jax.vjp(lambda x: max_pool3d(x, window, strides, padding), x)
    dy = draw(ours.shape, 1)
    theirs.backward(torch.from_numpy(dy.transpose(0, 4, 1, 2, 3).copy()))
    chex.assert_trees_all_equal(ours, theirs.detach().numpy().transpose(0, 2, 3, 4, 1))
    chex.assert_trees_all_close(transpose(dy)[0], first.grad.numpy().transpose(0, 2, 3, 4, 1), atol=1e-6)


@settings(deadline=None, max_examples=10)
@given(mask=st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=2, max_size=2))
def test_masked_frames_count_for_nothing(mask):
    x, mask = draw((2, 4, 3)), np.array(mask)
    expected_mean, expected_max = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    for row in range(2):
        if mask[row].any():
            expected_mean[row] = x[row, mask[row]].mean(axis=0)
            expected_max[row] = x[row, mask[row]].max(axis=0)
    # What a masked frame holds does not matter.
    spoilt = jnp.where(mask[..., None], x, 1e6)
    chex.assert_trees_all_close(temporal_mean(jnp.asarray(x), jnp.asarray(mask)), expected_mean, atol=1e-5)
    chex.assert_trees_all_close(temporal_max(spoilt, jnp.asarray(mask)), expected_max, atol=1e-5)


def test_without_mask_all_frames_count():
    x = jnp.asarray(draw((2, 5, 3)))
    everything = jnp.ones((2, 5), bool)
    chex.assert_trees_all_close(temporal_mean(x), temporal_mean(x, everything), atol=1e-6)
    chex.assert_trees_all_close(temporal_max(x), temporal_max(x, everything))


def test_wrong_windows_are_named():
    with pytest.raises(ValueError, match="window"):
        max_pool3d(jnp.zeros((1, 2, 2, 2, 1)), (2, 2))


POOLINGS = ("mean", "max", "last", "pyramid", "attention", "netvlad")
ORDERLESS = ("mean", "max", "attention", "netvlad")


@functools.cache
def pooling_of(name, features=4):
    pooling = temporal_pooling(name, features, rngs=nnx.Rngs(0))
    if name == "attention":  # the scores start at 0, all weights equal
        pooling.score.kernel.set_value(jnp.asarray(draw((128, 1))))
    return pooling


@functools.cache
def compiled(name):
    return jax.jit(pooling_of(name))


@settings(deadline=None, max_examples=8)
@given(counts=st.lists(st.booleans(), min_size=4, max_size=4), seed=st.integers(0, 99))
@pytest.mark.parametrize("name", POOLINGS)
def test_masking_frames_is_cutting_them_out(name, counts, seed):
    pooling, x = compiled(name), draw((1, 4, 4), seed)
    mask = np.array([counts])
    spoilt = jnp.asarray(np.where(mask[..., None], x, np.nan))
    masked = pooling(spoilt, jnp.asarray(mask))
    chex.assert_shape(masked, (1, pooling_of(name).out_features))
    if mask.any():
        chex.assert_trees_all_close(masked, pooling(jnp.asarray(x[:, mask[0]])), atol=1e-5)
    else:
        chex.assert_trees_all_equal(masked, jnp.zeros_like(masked))


@pytest.mark.parametrize("name", POOLINGS)
def test_poolings_know_order_or_do_not(name):
    pooling, x = compiled(name), draw((1, 4, 4))
    one, other = pooling(jnp.asarray(x)), pooling(jnp.asarray(x[:, [3, 0, 1, 2]]))
    assert np.allclose(one, other, atol=1e-5) == (name in ORDERLESS)


@pytest.mark.parametrize("name", [name for name in POOLINGS if name != "pyramid"])
def test_frame_by_frame_is_the_whole_clip(name):
    x, state = jnp.asarray(draw((1, 4, 4))), None
    for t in range(4):
        vector, state = pooling_of(name).step(x[:, t], state)
        chex.assert_trees_all_close(vector, compiled(name)(x[:, : t + 1]), atol=1e-5)


def test_a_pyramid_cannot_be_fed_frame_by_frame():
    with pytest.raises(ValueError, match="pyramid"):
        pooling_of("pyramid").step(jnp.zeros((1, 4)))


@settings(deadline=None, max_examples=6)
@given(frames=st.integers(1, 19))
def test_a_pyramid_divides_clips_of_any_length(frames):
    x = draw((2, frames, 3))
    expected = []
    for parts in (1, 2, 4, 8):
        for part in range(parts):
            first, end = part * frames // parts, math.ceil((part + 1) * frames / parts)
            expected.append(x[:, first:end].mean(axis=1))
    chex.assert_trees_all_close(jax.jit(temporal_pyramid)(x), np.concatenate(expected, axis=1), atol=1e-5)


@functools.cache
def vlad():
    pooling = NetVLAD(6, clusters=3, rngs=nnx.Rngs(1))
    return pooling, jax.jit(pooling)


@pytest.mark.slow
@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 99), frames=st.integers(1, 4))
def test_netvlad_is_the_sum_over_frames_and_centres(seed, frames):
    (pooling, pool), x = vlad(), draw((2, frames, 6), seed)
    kernel, bias, centres = (np.asarray(p[...], np.float64) for p in (
        pooling.assign.kernel, pooling.assign.bias, pooling.centres))  # fmt: skip
    expected = np.zeros((2, 3, 6))
    for clip in range(2):
        for t in range(frames):
            vector = x[clip, t] / np.linalg.norm(x[clip, t])
            shares = np.exp(vector @ kernel + bias)
            for k in range(3):
                expected[clip, k] += shares[k] / shares.sum() * (vector - centres[k])
        for k in range(3):
            expected[clip, k] /= np.linalg.norm(expected[clip, k])
        expected[clip] /= np.linalg.norm(expected[clip])
    chex.assert_trees_all_close(pool(x), expected.reshape(2, -1).astype(np.float32), atol=1e-5)


def test_netvlad_starts_as_soft_assignment_to_its_centres():
    pooling = NetVLAD(64, clusters=4, rngs=nnx.Rngs(0))
    centres = pooling.centres[...]
    chex.assert_trees_all_close(jnp.linalg.norm(centres, axis=1), jnp.ones(4), atol=1e-5)
    shares = np.asarray(jax.nn.softmax(pooling.assign(centres)))
    assert (shares.argmax(axis=1) == np.arange(4)).all()
    others = np.asarray(jax.nn.softmax(pooling.assign(jnp.asarray(draw((50, 64)) / 8))))
    assert 0.3 < others.max(axis=1).mean() < 0.95


def test_netvlad_and_attention_have_finite_gradients_for_empty_clips():
    mask = jnp.array([[False] * 3, [True] * 3])
    for name in ("attention", "netvlad"):
        pooling = pooling_of(name)
        gradient = jax.jit(jax.grad(lambda x, pooling=pooling: (pooling(x, mask) ** 2).sum()))(draw((2, 3, 4)))
        assert np.isfinite(gradient).all() and not gradient[0].any()


def test_attention_weighs_by_its_scores():
    pooling, x = pooling_of("attention"), jnp.asarray(draw((2, 5, 4)))
    hidden = np.tanh(np.asarray(x) @ np.asarray(pooling.hidden.kernel[...]) + np.asarray(pooling.hidden.bias[...]))
    weights = np.exp(hidden @ np.asarray(pooling.score.kernel[...]))
    expected = (weights * np.asarray(x)).sum(axis=1) / weights.sum(axis=1)
    chex.assert_trees_all_close(pooling(x), expected, atol=1e-5)
    fresh = temporal_pooling("attention", 4, rngs=nnx.Rngs(0))
    chex.assert_trees_all_close(fresh(x), x.mean(axis=1), atol=1e-6)


def test_a_grid_keeps_places_apart():
    x = draw((1, 2, 5, 4, 3))
    expected = [
        x[:, :, rows, columns].mean(axis=(2, 3))
        for rows in (slice(0, 3), slice(2, 5))
        for columns in (slice(0, 2), slice(2, 4))
    ]
    chex.assert_trees_all_close(grid_mean(jnp.asarray(x), 2), np.concatenate(expected, axis=-1), atol=1e-6)
    chex.assert_trees_all_close(grid_mean(jnp.asarray(x), 1), x.mean(axis=(2, 3)), atol=1e-6)


def test_an_unknown_pooling_is_named():
    with pytest.raises(ValueError, match="'median': must be one of mean"):
        temporal_pooling("median", 4, rngs=nnx.Rngs(0))
