"""Attention in windows against dense attention under the equivalent mask."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from vidjax.nn import windows
from vidjax.nn.attention import attention
from vidjax.nn.target_backend import targeting
from vidjax.nn.windows import WindowAttention, fit_window, merge, partition, regions, relative_index

DIM, HEADS = 8, 2


def layer(window, shift, dtype=None):
    return WindowAttention(DIM, HEADS, window=window, shift=shift, dtype=dtype, rngs=nnx.Rngs(0))


def grids(batch, sizes, seed=0):
    return np.random.default_rng(seed).standard_normal((batch, *sizes, DIM)).astype(np.float32)


def run(attn: WindowAttention, x: np.ndarray) -> np.ndarray:
    return np.asarray(nnx.jit(lambda attn, x: attn(x))(attn, jnp.asarray(x)))


def places(sizes):
    """`(N, 3)`: t, h, w of each token."""
    return np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), axis=-1).reshape(-1, 3)


def dense(attn: WindowAttention, x: np.ndarray, visible: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Attention of all tokens (B, N, C) to all, given who sees whom (N, N) and the bias (heads, N, N), in NumPy."""
    batch, tokens, _ = x.shape
    qkv = x @ np.asarray(attn.qkv.kernel[...]) + np.asarray(attn.qkv.bias[...])
    q, k, v = np.moveaxis(qkv.reshape(batch, tokens, 3, HEADS, DIM // HEADS), (2, 3), (0, 2))
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(DIM // HEADS) + bias
    weights = np.where(visible, np.exp(scores), 0)
    y = weights / weights.sum(axis=-1, keepdims=True) @ v
    y = np.moveaxis(y, 1, 2).reshape(batch, tokens, DIM)
    return y @ np.asarray(attn.proj.kernel[...]) + np.asarray(attn.proj.bias[...])


def test_windows_shrink_to_the_grid_and_then_do_not_shift():
    assert fit_window((16, 56, 56), (8, 7, 7), (4, 3, 3)) == ((8, 7, 7), (4, 3, 3))
    assert fit_window((4, 56, 7), (8, 7, 7), (4, 3, 3)) == ((4, 7, 7), (0, 3, 0))
    assert fit_window((8, 3, 8), (8, 7, 7), (4, 3, 3)) == ((8, 3, 7), (0, 0, 3))


axis = st.integers(1, 3)


@given(counts=st.tuples(axis, axis, axis), window=st.tuples(axis, axis, axis))
@settings(max_examples=20, deadline=None)
def test_windows_are_blocks_of_the_grid_and_merge_again(counts, window):
    sizes = tuple(n * w for n, w in zip(counts, window, strict=True))
    x = grids(2, sizes)
    windows = partition(x, window)
    chex.assert_shape(windows, (2 * np.prod(counts), np.prod(window), DIM))
    t, h, w = window
    np.testing.assert_array_equal(windows[0].reshape(t, h, w, DIM), x[0, :t, :h, :w])
    np.testing.assert_array_equal(windows[-1].reshape(t, h, w, DIM), x[1, -t:, -h:, -w:])
    np.testing.assert_array_equal(merge(windows, window, sizes), x)


window_and_shift = st.sampled_from([(1, 0), (2, 0), (2, 1), (3, 1)])


@given(
    sizes=st.tuples(st.integers(1, 5), st.integers(3, 7), st.integers(3, 7)),
    axes=st.tuples(window_and_shift, window_and_shift, window_and_shift),
)
@settings(max_examples=6, deadline=None)  # each compiles
def test_shifted_windows_are_dense_attention_under_a_mask(sizes, axes):
    """Tokens see each other where they lie in the same cell of the lattice of windows, shifted and not rolled."""
    window, shift = (tuple(a[i] for a in axes) for i in (0, 1))
    attn = layer(window, shift)
    x = grids(2, sizes)
    fitted, moved = fit_window(sizes, window, shift)
    full = tuple(-(-n // w) * w for n, w in zip(sizes, fitted, strict=True))
    padded = np.pad(x, ((0, 0), *((0, m - n) for n, m in zip(sizes, full, strict=True)), (0, 0)))
    at = places(full)
    cell = (at - np.array(moved)) // np.array(fitted)
    visible = (cell[:, None] == cell[None]).all(axis=-1)
    # Windows shrink to no less than their size along h and w here, so the bias is that of the offsets.
    assert fitted[1:] == window[1:]
    table = np.asarray(attn.relative_bias[...]).reshape(*(2 * w - 1 for w in window), HEADS)
    offset = np.where(visible[..., None], at[:, None] - at[None], 0) + np.array(window) - 1
    bias = np.moveaxis(table[offset[..., 0], offset[..., 1], offset[..., 2]], -1, 0)
    expected = dense(attn, padded.reshape(2, -1, DIM), visible, bias).reshape(2, *full, DIM)
    expected = expected[:, : sizes[0], : sizes[1], : sizes[2]]
    np.testing.assert_allclose(run(attn, x), expected, atol=2e-6)


def test_windows_shrunk_in_space_take_the_corner_of_the_index():
    """As in the reference: rows of the table by the tokens' numbers in a full window."""
    attn = layer((2, 3, 3), (0, 0, 0))
    x = grids(1, (2, 2, 2))
    number = places((2, 3, 3))[:8]
    offset = number[:, None] - number[None] + np.array((1, 2, 2))
    table = np.asarray(attn.relative_bias[...]).reshape(3, 5, 5, HEADS)
    bias = np.moveaxis(table[offset[..., 0], offset[..., 1], offset[..., 2]], -1, 0)
    expected = dense(attn, x.reshape(1, -1, DIM), np.ones((8, 8), bool), bias)
    np.testing.assert_allclose(run(attn, x).reshape(1, 8, DIM), expected, atol=2e-6)
    true = places((2, 2, 2))
    assert not np.array_equal(true[:, None] - true[None], number[:, None] - number[None])


def test_index_covers_the_table():
    index = relative_index((2, 3, 4))
    assert index.shape == (24, 24)
    assert set(index.ravel()) == set(range(3 * 5 * 7))
    assert (np.diag(index) == 3 * 5 * 7 // 2).all()


def test_regions_differ_in_the_last_windows_only():
    ids = regions((4, 4, 4), (2, 2, 2), (0, 1, 1))
    assert ids.shape == (8, 8)
    distinct = [len(set(window)) for window in ids.tolist()]
    assert distinct == [1, 2, 2, 4, 1, 2, 2, 4]


def test_gradients_reach_the_whole_bias_table():
    attn = layer((2, 2, 2), (1, 1, 1))
    graphdef, params = nnx.split(attn)
    x = jnp.asarray(grids(1, (4, 4, 4)))
    gradient = jax.jit(jax.grad(lambda params: (nnx.merge(graphdef, params)(x) ** 2).sum()))(params)
    assert (np.abs(gradient.relative_bias[...]) > 0).all()


def test_three_products_on_tpus_give_what_one_gives(monkeypatch):
    attn = layer((2, 3, 3), (1, 1, 1))
    graphdef, params = nnx.split(attn)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape), jnp.float32), params)
    x = jnp.asarray(grids(1, (4, 6, 6)))

    def loss(params, x):
        return jnp.sin(nnx.merge(graphdef, params)(x)).sum()

    def products():
        return str(jax.make_jaxpr(loss)(params, x)).count("dot_general")

    gradients = jax.value_and_grad(loss, (0, 1))
    expected, before = jax.jit(gradients)(params, x), products()
    # By XLA's attention, for which it makes no difference.
    monkeypatch.setattr(windows, "attention", partial(attention, implementation="xla"))
    with targeting("tpu"):
        found, after = jax.jit(gradients)(params, x), products()
    assert after == before + 2
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-3)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="heads = 3 does not divide dim = 8"):
        WindowAttention(8, 3, window=(2, 2, 2), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"shift = \(0, 2, 0\)"):
        layer((2, 2, 2), (0, 2, 0))
