"""Every pattern against dense attention under the mask that says who sees whom, made from coordinates."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from vidjax.nn.attention import SelfAttention
from vidjax.nn.attention_patterns import (
    KINDS,
    PATTERNS,
    block_steps,
    factorised_attention,
    pattern,
    strided_attention,
    window_attention,
)

HEADS, DIM = 2, 4


def tokens(grid, prefix=0, seed=0, heads=HEADS):
    rng = np.random.default_rng(seed)
    shape = (2, prefix + int(np.prod(grid)), heads, DIM)
    return [rng.standard_normal(shape).astype(np.float32) for _ in range(3)]


def run(name_or_function, *qkv, **arguments):
    """One compilation, which is what these tests cost."""
    function = PATTERNS.get(name_or_function, name_or_function)
    return jax.jit(partial(function, **arguments))(*qkv)


def coordinates(grid):
    """`(N, 3)`: t, h, w of each token, t slowest."""
    return np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), axis=-1).reshape(-1, 3)


def sees(name, grid):
    """`(N, N)` bool, from what each pattern says of itself."""
    a, b = coordinates(grid)[:, None], coordinates(grid)[None]
    same = a == b
    half = -(-np.array(grid[1:]) // 2)
    return {
        "joint": np.ones(same.shape[:2], bool),
        "time": same[..., 1] & same[..., 2],
        "space": same[..., 0],
        "height": same[..., 0] & same[..., 2],
        "width": same[..., 0] & same[..., 1],
        "local": (a[..., 1:] // half == b[..., 1:] // half).all(axis=-1),
        "global": ((a - b) % 2 == 0).all(axis=-1),
    }[name]


def masked(q, k, v, mask):
    scores = np.einsum("bnhd,bmhd->bhnm", q, k, dtype=np.float64) / np.sqrt(DIM)
    weights = np.where(mask, np.exp(scores), 0)
    return np.einsum("bhnm,bmhd->bnhd", weights / weights.sum(axis=-1, keepdims=True), v)


def dense(q, k, v, groups, prefix):
    """Attention where tokens of one group see each other and the prefix, which takes the mean over the groups."""
    n = prefix + len(groups)
    mask = np.ones((n, n), bool)
    mask[prefix:, prefix:] = groups
    out = masked(q, k, v, mask)
    if prefix:
        answers = []
        for row in np.unique(groups, axis=0):
            seen = np.concatenate([np.ones(prefix, bool), row])
            answers.append(masked(q[:, :prefix], k, v, np.broadcast_to(seen, (prefix, n))))
        out[:, :prefix] = np.mean(answers, axis=0)
    return out


even = st.sampled_from([1, 2, 4])
examples = settings(deadline=None, max_examples=5)


@pytest.mark.parametrize("name", sorted(PATTERNS.keys() - {"factorised"}))
@examples
@given(grid=st.tuples(even, even, even), prefix=st.integers(0, 2))
def test_equals_dense_attention_under_the_mask(name, grid, prefix):
    q, k, v = tokens(grid, prefix, seed=sum(grid))
    np.testing.assert_allclose(
        run(name, q, k, v, grid=grid, prefix=prefix), dense(q, k, v, sees(name, grid), prefix), atol=3e-6
    )


@examples
@given(groups=st.tuples(*3 * [st.integers(1, 3)]), inside=st.tuples(*3 * [st.integers(1, 3)]), prefix=st.integers(0, 1))
def test_windows_and_strides_of_any_size(groups, inside, prefix):
    grid = tuple(a * b for a, b in zip(groups, inside, strict=True))
    q, k, v = tokens(grid, prefix, seed=sum(grid))
    at = coordinates(grid)
    windows = (at[:, None] // inside == at[None] // inside).all(axis=-1)
    out = run(window_attention, q, k, v, grid=grid, window=inside, prefix=prefix)
    np.testing.assert_allclose(out, dense(q, k, v, windows, prefix), atol=3e-6)
    strides = (at[:, None] % groups == at[None] % groups).all(axis=-1)
    out = run(strided_attention, q, k, v, grid=grid, stride=groups, prefix=prefix)
    np.testing.assert_allclose(out, dense(q, k, v, strides, prefix), atol=3e-6)


@pytest.mark.parametrize("prefix", [0, 1])
def test_factorised_heads(prefix):
    grid = (3, 2, 4)
    q, k, v = tokens(grid, prefix, heads=4)
    out = run(factorised_attention, q, k, v, grid=grid, prefix=prefix)
    for half, name in ((slice(2), "time"), (slice(2, 4), "space")):
        expected = dense(q[:, :, half], k[:, :, half], v[:, :, half], sees(name, grid), prefix)
        np.testing.assert_allclose(out[:, :, half], expected, atol=3e-6)
    with pytest.raises(ValueError, match="3 heads cannot be split"):
        factorised_attention(*tokens(grid, heads=3), grid=grid)


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_scores_are_as_many_as_the_docstring_says(name):
    grid = t, h, w = (4, 6, 2)
    n = t * h * w
    per_token = {
        "joint": n, "time": t, "space": h * w, "height": h, "width": w, "local": n / 4, "global": n / 8,
        "factorised": (t + h * w) / 2,
    }[name]  # fmt: skip
    # All heads' products of queries and keys, and of scores and values: 2·d multiplications per score.
    compiled = jax.jit(pattern(name, grid)).lower(*(x[:1] for x in tokens(grid)))
    products = [line for line in compiled.as_text().splitlines() if "dot_general" in line]
    scores = sum(int(np.prod([int(s) for s in shapes_of(line)[-1]])) for line in products if "f32" in line)
    # Of the two products of each call one gives the scores, one a token's answer.
    assert scores == HEADS * n * per_token + HEADS * n * DIM


def shapes_of(line):
    """Sizes of the tensors named in a line of StableHLO."""
    return [part.split("xf32")[0].split("x") for part in line.split("tensor<")[1:]]


def test_blocks_of_every_kind():
    assert block_steps("divided", 3) == ("time", "space")
    assert block_steps("axial", 0) == ("time", "width", "height")
    assert [block_steps("alternating", i) for i in range(3)] == [("space",), ("time",), ("space",)]
    for kind in KINDS:
        assert set(block_steps(kind, 0)) <= PATTERNS.keys()
    with pytest.raises(ValueError, match="attention = 'dense': must be one of 'joint', 'space', 'divided'"):
        block_steps("dense", 0)


@pytest.mark.parametrize("kind", ["divided", "axial", "sparse", "alternating"])
def test_two_blocks_of_a_kind_let_every_token_see_the_whole_clip(kind):
    grid = (2, 4, 4)
    reach = np.eye(32, dtype=bool)
    for index in range(2):
        for step in block_steps(kind, index):
            reach = (sees(step, grid).astype(int) @ reach) > 0
    assert reach.all()
    space_only = sees("space", grid) @ sees("space", grid)
    assert not space_only.all()


def test_as_the_core_of_a_layer():
    grid = (2, 2, 3)
    layer = SelfAttention(8, HEADS, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 13, 8)), jnp.float32)
    mask = np.ones((13, 13), bool)
    mask[1:, 1:] = sees("space", grid)
    out = layer(x, attend=pattern("space", grid, prefix=1))
    np.testing.assert_allclose(out[:, 1:], layer(x, mask=jnp.asarray(mask)[None, None])[:, 1:], atol=3e-6)
    with pytest.raises(ValueError, match="neither bias nor mask"):
        layer(x, mask=jnp.asarray(mask)[None, None], attend=pattern("space", grid, prefix=1))


def test_what_does_not_fit_is_named():
    q, k, v = tokens((2, 3, 4))
    with pytest.raises(ValueError, match="a window of 2×2×2 tokens does not divide a grid of 2×3×4"):
        PATTERNS["local"](q, k, v, grid=(2, 3, 4))
    with pytest.raises(ValueError, match="a stride of 2×2×2 tokens does not divide"):
        PATTERNS["global"](q, k, v, grid=(2, 3, 4))
    for name in ("joint", "time"):
        with pytest.raises(
            ValueError, match=r"do not fit a grid of 2×3×4 after 1 prefix tokens: expected \(B, 25, heads, d\)"
        ):
            PATTERNS[name](q, k, v, grid=(2, 3, 4), prefix=1)
