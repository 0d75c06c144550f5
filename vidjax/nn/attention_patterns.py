"""Space-time attention patterns (which token sees which), each a reshape around the one attention call.

All take queries, keys and values `(B, P + N, heads, d)`: P prefix tokens, such as a class token, then N = T·H·W tokens
of a video in t, h, w order. A pattern cuts the grid into groups; a token sees its group, itself included, and the
prefix. The prefix tokens are members of every group; each group gives them a result, and the mean of these is used
(TimeSformer's rule for its class token).

The cost of attention is the number of scores, pairs of a query and a key, per head. Projections cost N·D² whatever the
pattern. At 8 × 14 × 14 tokens there are, in thousands: joint 2459, sparse (local, then global) 922, divided (time,
then space) 320, space 307, axial 56, time 13.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from einops import rearrange

from vidjax.nn.attention import attention
from vidjax.nn.grids import Grid, triple_of
from vidjax.nn.target_backend import apart

Attend = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def joint_attention(q: jax.Array, k: jax.Array, v: jax.Array, *, grid: Grid, prefix: int = 0) -> jax.Array:
    """Joint attention: every token sees every token, N² scores."""
    _check(q, grid, prefix)
    return attention(q, k, v)


def window_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, *, grid: Grid, window: Grid, prefix: int = 0
) -> jax.Array:
    """Window attention: groups are blocks of `window` tokens, N·n scores for windows of n tokens.

    Raises:
      ValueError: if the window does not divide the grid, or the tokens do not fit the grid.
    """
    groups = _divided(grid, window, "window")
    return _grouped(q, k, v, "(gt it gh ih gw iw)", dict(zip(("gt", "gh", "gw"), groups, strict=True)), grid, prefix)


def strided_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, *, grid: Grid, stride: Grid, prefix: int = 0
) -> jax.Array:
    """Strided attention: groups are tokens a multiple of `stride` apart, N·N/s scores for strides of product s.

    Raises:
      ValueError: if the stride does not divide the grid, or the tokens do not fit the grid.
    """
    _divided(grid, stride, "stride")
    return _grouped(q, k, v, "(it gt ih gh iw gw)", dict(zip(("gt", "gh", "gw"), stride, strict=True)), grid, prefix)


def time_attention(q: jax.Array, k: jax.Array, v: jax.Array, *, grid: Grid, prefix: int = 0) -> jax.Array:
    """Time attention: a token sees those at its place in all frames, N·T scores."""
    return window_attention(q, k, v, grid=grid, window=(grid[0], 1, 1), prefix=prefix)


def space_attention(q: jax.Array, k: jax.Array, v: jax.Array, *, grid: Grid, prefix: int = 0) -> jax.Array:
    """Space attention: a token sees those of its frame, N·H·W scores."""
    return window_attention(q, k, v, grid=grid, window=(1, grid[1], grid[2]), prefix=prefix)


def height_attention(q: jax.Array, k: jax.Array, v: jax.Array, *, grid: Grid, prefix: int = 0) -> jax.Array:
    """Height attention: a token sees those of its column in its frame, N·H scores."""
    return window_attention(q, k, v, grid=grid, window=(1, grid[1], 1), prefix=prefix)


def width_attention(q: jax.Array, k: jax.Array, v: jax.Array, *, grid: Grid, prefix: int = 0) -> jax.Array:
    """Width attention: a token sees those of its row in its frame, N·W scores."""
    return window_attention(q, k, v, grid=grid, window=(1, 1, grid[2]), prefix=prefix)


def local_attention(q: jax.Array, k: jax.Array, v: jax.Array, *, grid: Grid, prefix: int = 0) -> jax.Array:
    """Local attention: a token sees its quarter of the picture in all frames, T × H/2 × W/2, N²/4 scores."""
    t, h, w = grid
    return window_attention(q, k, v, grid=grid, window=(t, -(-h // 2), -(-w // 2)), prefix=prefix)


def global_attention(q: jax.Array, k: jax.Array, v: jax.Array, *, grid: Grid, prefix: int = 0) -> jax.Array:
    """Global attention: a token sees every second one along T, H and W of the clip, N²/8 scores."""
    return strided_attention(q, k, v, grid=grid, stride=triple_of(min(2, n) for n in grid), prefix=prefix)


def factorised_attention(q: jax.Array, k: jax.Array, v: jax.Array, *, grid: Grid, prefix: int = 0) -> jax.Array:
    """Factorised attention: half of the heads over time, then half over space, N·(T + H·W)/2 scores per head.

    Source: the factorised dot-product attention of ViViT (arXiv 2103.15691, model 4).

    Raises:
      ValueError: if the number of heads is odd, or the tokens do not fit the grid.
    """
    heads = q.shape[2]
    if heads % 2:
        raise ValueError(f"{heads} heads cannot be split between time and space: their number must be even")
    halves = []
    for half, attend in ((slice(heads // 2), time_attention), (slice(heads // 2, None), space_attention)):
        halves.append(attend(q[:, :, half], k[:, :, half], v[:, :, half], grid=grid, prefix=prefix))
    return jnp.concatenate(halves, axis=2)


PATTERNS = {
    "joint": joint_attention,
    "time": time_attention,
    "space": space_attention,
    "height": height_attention,
    "width": width_attention,
    "local": local_attention,
    "global": global_attention,
    "factorised": factorised_attention,
}

# Attention steps of a network's blocks, each step with weights of its own. Scores per block: the sum.
#   joint        N²                 everything in one step
#   space        N·H·W              no exchange between frames
#   divided      N·(T + H·W)        time, then space (TimeSformer; ViViT's model 3 in the opposite order)
#   axial        N·(T + W + H)      one axis at a time
#   sparse       N·(N/4 + N/8)      a quarter of the picture, then every second token of the clip
#   alternating  N·(T + H·W)/2      blocks take turns: space in even ones, time in odd ones
#   factorised   N·(T + H·W)/2      half of the heads each (ViViT's model 4)
# ViViT's factorised encoder (model 2) is `space` in all blocks but the last few, which are joint over one token per
# frame: N·H·W and T² scores.
_STEPS = {
    "joint": ("joint",),
    "space": ("space",),
    "divided": ("time", "space"),
    "axial": ("time", "width", "height"),
    "sparse": ("local", "global"),
    "factorised": ("factorised",),
}
KINDS = (*_STEPS, "alternating")


def block_steps(kind: str, index: int) -> tuple[str, ...]:
    """Attention steps, by name in `PATTERNS`, of block number `index`, from 0.

    Raises:
      ValueError: for an unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"attention = {kind!r}: must be one of {', '.join(map(repr, KINDS))}")
    if kind == "alternating":
        return ("time",) if index % 2 else ("space",)
    return _STEPS[kind]


def pattern(name: str, grid: Grid, prefix: int = 0) -> Attend:
    """Attention pattern as a function of queries, keys and values, for `SelfAttention(…)(x, attend=…)`."""
    return partial(PATTERNS[name], grid=grid, prefix=prefix)


def _grouped(
    q: jax.Array, k: jax.Array, v: jax.Array, tokens: str, groups: dict[str, int], grid: Grid, prefix: int
) -> jax.Array:
    """Attention within groups; in `tokens`, axes g… index the groups and i… their members."""
    _check(q, grid, prefix)
    batch, inside = q.shape[0], "(gt gh gw) (it ih iw)"
    count = groups["gt"] * groups["gh"] * groups["gw"]
    inner = {f"i{g[1]}": n // groups[g] for g, n in zip(("gt", "gh", "gw"), grid, strict=True)}

    def cut(x: jax.Array) -> jax.Array:
        members = rearrange(x[:, prefix:], f"b {tokens} n d -> b {inside} n d", **groups, **inner)
        if prefix:
            first = jnp.broadcast_to(x[:, None, :prefix], (batch, count, prefix, *x.shape[2:]))
            members = jnp.concatenate([first, members], axis=2)
        return members.reshape(batch * count, *members.shape[2:])

    out = attention(*(cut(apart(x)) for x in (q, k, v)))
    out = out.reshape(batch, count, *out.shape[1:])
    members = rearrange(out[:, :, prefix:], f"b {inside} n d -> b {tokens} n d", **groups, **inner)
    if not prefix:
        return apart(members)
    # Mean in float32, of up to thousands of groups.
    first = out[:, :, :prefix].mean(axis=1, dtype=jnp.float32).astype(out.dtype)
    return apart(jnp.concatenate([first, members], axis=1))


def _divided(grid: Grid, parts: Grid, what: str) -> Grid:
    if any(n % part for n, part in zip(grid, parts, strict=True)):
        raise ValueError(f"a {what} of {_by(parts)} tokens does not divide a grid of {_by(grid)}: choose another size")
    return triple_of(n // part for n, part in zip(grid, parts, strict=True))


def _check(q: jax.Array, grid: Grid, prefix: int) -> None:
    t, h, w = grid
    if q.ndim != 4 or q.shape[1] != prefix + t * h * w:
        raise ValueError(f"tokens {q.shape} do not fit a grid of {_by(grid)} after {prefix} prefix tokens: "
                         f"expected (B, {prefix + t * h * w}, heads, d)")  # fmt: skip


def _by(sizes: Grid) -> str:
    return "×".join(map(str, sizes))
