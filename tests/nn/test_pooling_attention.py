"""Pooling attention against its definition in NumPy, loop by loop."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from vidjax.nn.conv import conv3d, conv_formulation
from vidjax.nn.pooling_attention import PoolingAttention, TokenPool, relative_offsets, relative_rows

DIM, OUT, HEADS = 6, 8, 2


@pytest.fixture(autouse=True)
def native_convolutions():
    """XLA's own convolution compiles soonest; the formulations are tested where they are made."""
    with conv_formulation("native"):
        yield


def layer(**kwargs):
    arguments = {
        "kernel_q": (3, 3, 3),
        "stride_q": (1, 2, 2),
        "kernel_kv": (3, 3, 3),
        "stride_kv": (1, 2, 2),
        "relative": (2, 4, 4),
        "residual": True,
    }
    model = PoolingAttention(DIM, OUT, HEADS, **{**arguments, **kwargs}, rngs=nnx.Rngs(0))
    # Large enough for everything to show.
    graphdef, params = nnx.split(model)
    return nnx.merge(graphdef, jax.tree.map(lambda p: p * (30 if p.ndim > 1 else 1), params))


def tokens(grid, features=DIM, batch=2):
    return np.random.default_rng(0).standard_normal((batch, 1 + int(np.prod(grid)), features)).astype(np.float32)


def run(model: PoolingAttention, x: np.ndarray, grid) -> np.ndarray:
    return np.asarray(nnx.jit(lambda model, x: model(x, grid))(model, jnp.asarray(x)))


def by_definition(model: PoolingAttention, x: np.ndarray, grid) -> np.ndarray:
    """Scores with a bias array as large as they are, filled pair by pair."""
    qkv = (x @ np.asarray(model.qkv.kernel[...])).reshape(*x.shape[:2], 3, HEADS, -1)
    pools = {"q": model.pool_q, "k": model.pool_k, "v": model.pool_v}
    pooled = nnx.jit(
        lambda pools, qkv: [
            qkv[:, :, i] if pools[n] is None else pools[n](qkv[:, :, i], grid) for i, n in enumerate("qkv")
        ]
    )
    q, k, v = map(np.asarray, pooled(pools, jnp.asarray(qkv)))
    q_grid, k_grid = (grid if pools[n] is None else pools[n].grid(grid) for n in "qk")
    scores = np.einsum("bnhd,bmhd->bhnm", q, k) / np.sqrt(q.shape[-1])
    if model.relative_t is not None:
        tables = (model.relative_t, model.relative_h, model.relative_w)
        rows = [np.asarray(relative_rows(t[...], n, m)) for t, n, m in zip(tables, q_grid, k_grid, strict=True)]
        for n, at in enumerate(np.ndindex(*q_grid)):
            for m, other in enumerate(np.ndindex(*k_grid)):
                vector = sum(r[i, j] for r, i, j in zip(rows, at, other, strict=True))
                scores[:, :, n + 1, m + 1] += q[:, n + 1] @ vector
    weights = np.exp(scores)
    y = np.einsum("bhnm,bmhd->bnhd", weights / weights.sum(axis=-1, keepdims=True), v)
    if model.residual:
        y[:, 1:] += q[:, 1:]
    return y.reshape(*y.shape[:2], OUT) @ np.asarray(model.proj.kernel[...])


strides = st.sampled_from([(1, 1, 1), (1, 2, 2), (2, 1, 3)])


@pytest.mark.slow
@given(
    stride_q=strides,
    stride_kv=strides,
    grid=st.tuples(st.integers(1, 3), st.integers(2, 5), st.integers(2, 5)),
    residual=st.booleans(),
    relative=st.booleans(),
)
@settings(max_examples=4, deadline=None)  # each compiles
def test_attention_is_its_definition(stride_q, stride_kv, grid, residual, relative):
    model = layer(
        kernel_q=(1, 2, 2),
        kernel_kv=(2, 1, 2),
        stride_q=stride_q,
        stride_kv=stride_kv,
        relative=(2, 4, 4) if relative else None,
        residual=residual,
    )
    x = tokens(grid)
    y = run(model, x, grid)
    chex.assert_shape(y, (2, 1 + np.prod(model.grid(grid)), OUT))
    np.testing.assert_allclose(y, by_definition(model, x, grid), atol=2e-5)


@pytest.mark.slow
def test_attention_with_every_term_is_its_definition():
    model, x = layer(), tokens((3, 4, 6))
    np.testing.assert_allclose(run(model, x, (3, 4, 6)), by_definition(model, x, (3, 4, 6)), atol=2e-5)


def test_attention_without_pooling():
    model = layer(kernel_q=None, stride_q=(1, 1, 1), kernel_kv=None, stride_kv=(1, 1, 1))
    x = tokens((2, 4, 4))
    assert model.grid((2, 4, 4)) == (2, 4, 4)
    np.testing.assert_allclose(run(model, x, (2, 4, 4)), by_definition(model, x, (2, 4, 4)), atol=2e-5)
    # Without positions, tokens in another order give the same results in that order.
    blind = layer(kernel_q=None, stride_q=(1, 1, 1), kernel_kv=None, stride_kv=(1, 1, 1), relative=None)
    order = np.concatenate([[0], 1 + np.random.default_rng(0).permutation(32)])
    seen, unseen = (
        np.abs(run(m, x[:, order], (2, 4, 4)) - run(m, x, (2, 4, 4))[:, order]).max() for m in (model, blind)
    )
    assert unseen < 1e-5
    assert seen > 1e-2


def test_tables_have_the_references_sizes():
    model = nnx.eval_shape(lambda: layer(relative=(8, 56, 56), stride_q=(1, 2, 2), stride_kv=(1, 4, 4)))
    assert model.relative_t.shape == (15, 4)
    assert model.relative_h.shape == model.relative_w.shape == (55, 4)
    # Rounded down where the pooling itself rounds up: 39 → 19, while the grid becomes 20.
    model = nnx.eval_shape(lambda: layer(relative=(20, 39, 39), stride_q=(1, 2, 2), stride_kv=(1, 4, 4)))
    assert model.relative_h.shape == (37, 4)
    assert model.grid((20, 39, 39)) == (20, 20, 20)


def test_offsets():
    np.testing.assert_array_equal(relative_offsets(3, 3), [[2, 1, 0], [3, 2, 1], [4, 3, 2]])
    # Every key stands for two queries, and the other way round.
    np.testing.assert_array_equal(relative_offsets(4, 2), [[2, 0], [3, 1], [4, 2], [5, 3]])
    np.testing.assert_array_equal(relative_offsets(2, 4), [[3, 2, 1, 0], [5, 4, 3, 2]])
    # 2/3 is cut to 0, not rounded to 1.
    np.testing.assert_array_equal(relative_offsets(2, 3), [[2, 1, 0], [3, 2, 1]])


@given(old=st.integers(2, 9), queries=st.integers(1, 6), keys=st.integers(1, 6))
@settings(max_examples=5, deadline=None)
def test_tables_are_interpolated_linearly_between_centres(old, queries, keys):
    table = np.random.default_rng(0).standard_normal((old, 3)).astype(np.float32)
    rows = relative_rows(jnp.asarray(table), queries, keys)
    new = 2 * max(queries, keys) - 1
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    resized = np.stack([np.interp(centres, np.arange(old), column) for column in table.T], axis=1)
    np.testing.assert_allclose(rows, resized[relative_offsets(queries, keys)], atol=1e-5)


def test_pool_is_one_depthwise_convolution_per_head():
    pool = TokenPool(4, (3, 3, 3), (1, 2, 2), rngs=nnx.Rngs(0))
    grid = (2, 5, 4)
    x = tokens(grid, 8).reshape(2, -1, 2, 4)
    y = nnx.jit(lambda pool, x: pool(x, grid))(pool, jnp.asarray(x))
    assert pool.grid(grid) == (2, 3, 2)
    chex.assert_shape(y, (2, 1 + 2 * 3 * 2, 2, 4))
    for head in range(2):
        one = jnp.asarray(x[:, 1:, head].reshape(2, *grid, 4))
        expected = conv3d(one, pool.kernel[...], strides=(1, 2, 2), padding=1, groups=4).reshape(2, -1, 4)
        np.testing.assert_allclose(y[:, 1:, head], pool.norm(expected), atol=1e-4)
    np.testing.assert_allclose(y[:, :1], pool.norm(jnp.asarray(x[:, :1])), atol=1e-6)


def test_heads_must_divide_the_features():
    with pytest.raises(ValueError, match="heads = 3 does not divide the attention's features = 8"):
        PoolingAttention(
            8, 8, 3, kernel_q=None, stride_q=(1, 1, 1), kernel_kv=None, stride_kv=(1, 1, 1), relative=None,
            residual=False, rngs=nnx.Rngs(0),
        )  # fmt: skip
