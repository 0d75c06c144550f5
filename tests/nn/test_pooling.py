"""Pooling with PyTorch's meaning of padding, and masked pooling over time."""

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidjax.nn.pooling import avg_pool3d, max_pool3d, temporal_max, temporal_mean


def draw(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("window", "strides", "padding"),
    [(2, None, 0), ((1, 3, 3), (1, 2, 2), (0, 1, 1)), ((3, 2, 3), (2, 1, 2), (1, 1, 1))],
)
def test_windows_are_pytorchs(window, strides, padding):
    torch = pytest.importorskip("torch")
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
