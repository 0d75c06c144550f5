"""Non-local blocks against loops over positions, and what they start as."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vidjax.nn.nonlocal_ import NonLocal


def draw(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def awake(**kwargs):
    """A block whose branch is not zeroed, in evaluation mode."""
    block = NonLocal(6, rngs=nnx.Rngs(0), **kwargs)
    for layer in (block.theta, block.phi, block.g, block.out):
        if layer.bias is not None:
            layer.bias[...] = draw(*layer.bias.shape)
    block.norm.scale[...] = 1 + draw(6)
    block.norm.bias[...] = draw(6)
    block.norm.mean[...] = draw(6)
    block.eval()
    return block


def pooled(x, window):
    """Max over windows that do not overlap; what is left over at the end is dropped."""
    counts = [n // w for n, w in zip(x.shape[1:4], window, strict=True)]
    out = np.zeros((x.shape[0], *counts, x.shape[-1]))
    for t, h, w in np.ndindex(*counts):
        start = np.array([t, h, w]) * window
        part = x[:, start[0] : start[0] + window[0], start[1] : start[1] + window[1], start[2] : start[2] + window[2]]
        out[:, t, h, w] = part.max(axis=(1, 2, 3))
    return out


def by_loops(block, x, mode, scaled, window, pool_first):
    x = x.astype(np.float64)

    def dense(layer, y):
        return y @ np.asarray(layer.kernel[0, 0, 0], np.float64) + np.asarray(layer.bias[...] if layer.bias else 0)

    queries = dense(block.theta, x)
    keys, values = (
        dense(layer, pooled(x, window)) if pool_first else pooled(dense(layer, x), window)
        for layer in (block.phi, block.g)
    )
    answer = np.zeros_like(queries)
    for b, t, h, w in np.ndindex(*x.shape[:4]):
        pairs = [(queries[b, t, h, w] @ keys[b][place], values[b][place]) for place in np.ndindex(*keys.shape[1:4])]
        scores = np.array([score for score, _ in pairs])
        if mode == "softmax":
            scores = np.exp(scores / np.sqrt(queries.shape[-1]) if scaled else scores)
            weights = scores / scores.sum()
        else:
            weights = scores / len(scores)
        answer[b, t, h, w] = sum(weight * value for weight, (_, value) in zip(weights, pairs, strict=True))
    y = dense(block.out, answer)
    mean, var, scale, bias = (np.asarray(getattr(block.norm, name)[...]) for name in ("mean", "var", "scale", "bias"))
    return x + (y - mean) / np.sqrt(var + 1e-5) * scale + bias


@pytest.mark.parametrize(
    ("mode", "scaled", "window", "pool_first", "out_bias"),
    [
        ("softmax", True, (1, 2, 2), True, True),
        ("softmax", False, (1, 2, 2), False, False),
        ("softmax", True, (2, 1, 3), False, True),
        ("dot_product", True, (1, 2, 2), True, True),
        ("dot_product", False, (1, 1, 1), False, False),
    ],
)
def test_it_is_what_loops_over_positions_give(mode, scaled, window, pool_first, out_bias):
    block = awake(mode=mode, scaled=scaled, pool=window, pool_first=pool_first, out_bias=out_bias)
    assert (block.out.bias is not None) == out_bias
    x = draw(2, 2, 5, 4, 6)
    wanted = by_loops(block, x, mode, scaled, window, pool_first)
    np.testing.assert_allclose(nnx.jit(lambda block, x: block(x))(block, x), wanted, rtol=1e-4, atol=1e-4)


def test_it_starts_as_nothing_and_learns():
    block = NonLocal(6, rngs=nnx.Rngs(0))
    x = jnp.asarray(draw(2, 2, 4, 4, 6))
    assert block.theta.kernel.shape == (1, 1, 1, 6, 3)
    y, gradients = nnx.jit(lambda block, x: (block(x), nnx.grad(lambda block: (block(x) ** 2).mean())(block)))(block, x)
    chex.assert_trees_all_equal(y, x)
    assert np.asarray(gradients.norm.scale[...]).any()
    assert np.asarray(block.norm.mean[...]).any(), "in training mode the statistics move"


@pytest.mark.slow
def test_half_precision():
    block, half = awake(), awake(dtype=jnp.bfloat16)
    x = jnp.asarray(draw(1, 2, 4, 4, 6))
    y = half(x.astype(jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    exact = np.asarray(block(x))
    assert 0 < np.linalg.norm(y.astype(jnp.float32) - exact) < 0.03 * np.linalg.norm(exact)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(nnx.state(half)))


def test_an_unknown_mode_is_named():
    with pytest.raises(ValueError, match="'gauss': must be one of softmax, dot_product"):
        NonLocal(4, mode="gauss", rngs=nnx.Rngs(0))
