"""Attention to tokens that are split over devices: keys and values travel from device to device, in a ring.

Each device keeps its queries and, one after another, sees the keys and values of all others, while the next ones are on
their way. What each part contributes is joined as in a softmax of one pass: with the largest score so far and the sum
of the weights relative to it. The backward pass sends keys and values around again, with the gradients by them. So no
device ever holds all keys, at the price of more to exchange and to add up (an example, compiled and not timed, is in
`tests/benchmarks/steps.md`). Liu et al., "Ring attention with blockwise transformers for near-infinite context"
(arXiv 2310.01889).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from vidjax.nn import attention_kernel, attention_plan
from vidjax.nn.attention_plan import Ids, Plan
from vidjax.nn.remat import attention_part
from vidjax.nn.target_backend import apart, backend

_BLOCK = 512  # queries at a time where no kernel does the work

Part = tuple[jax.Array, jax.Array, jax.Array]


class _Keys(NamedTuple):
    """What travels: keys, values and the keys' group numbers, if there are any."""

    k: jax.Array
    v: jax.Array
    ids: jax.Array | None


@dataclass(frozen=True)
class _Ring:
    """Constants of one attention: mesh axis and number of its devices, heads, factor of the scores, the kernel's plan
    (None: no kernel)."""

    axis: str
    size: int
    heads: int
    scale: float
    plan: Plan | None

    def passed(self, arrays: Any) -> Any:
        """The arrays of the device before, a pytree as given."""
        ring = [(i, (i + 1) % self.size) for i in range(self.size)]
        return jax.tree.map(lambda x: jax.lax.ppermute(x, self.axis, ring), arrays)


def ring_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    layout: NamedSharding,
    *,
    scale: float,
    ids: Ids | None = None,
) -> jax.Array:
    """Compute `softmax(q·kᵀ·scale)·v` of tokens split over a mesh axis, the softmax in float32 or wider.

    On TPUs the kernel of `nn/attention_kernel.py` does each part where it applies; elsewhere matrix products do, some
    queries at a time.

    Args:
      q: queries, `(B, N, heads, d)`.
      k: keys, `(B, M, heads, d)`.
      v: values, `(B, M, heads, e)`.
      layout: sharding with a spec that names the mesh axes of the batch, then the one axis of the tokens, whose size
        divides N and M. A batch that cannot be split evenly is processed whole by all.
      scale: factor of the scores, positive.
      ids: group numbers, int32 `(C, N)` and `(C, M)`, C 1 or B: a query sees the keys that have its number. A query
        that sees no key gets the mean of all values.

    Returns:
      `(B, N, heads, e)` of the type of `q`.
    """
    (batch, axis), mesh, heads = layout.spec, layout.mesh, q.shape[2]
    if q.shape[0] % math.prod(mesh.shape[name] for name in batch):
        batch = None

    def attend(q, k, v, ids):
        four = [x.reshape(*x.shape[:2], heads, -1) for x in (q, k, v)]
        plan = attention_plan.plan_for(*four, scale=scale, ids=ids, part=True) if backend() == "tpu" else None
        q, k, v = (_in_rows(x) for x in (q, k, v))
        return _in_rows(_attend(_Ring(axis, mesh.shape[axis], heads, scale, plan), q, k, v, ids))

    tokens = P(batch, axis)
    rows = P(None if ids is None or ids[0].shape[0] == 1 else batch, axis)
    flat = [x.reshape(*x.shape[:2], -1) for x in (q, k, v)]  # as in the layers around
    split = jax.shard_map(
        attend,
        mesh=mesh,
        in_specs=(tokens, tokens, tokens, rows),
        out_specs=tokens,
        check_vma=False,  # the check cannot look into a kernel
    )
    return split(*flat, ids).reshape(*q.shape[:3], v.shape[3])


def _in_rows(x: jax.Array) -> jax.Array:
    """A device's `x`, on GPUs with features next to each other in memory, and apart from the products around.

    XLA would leave it as the products inside write it, transpose it in the products around, and find no tiles for that.
    """
    return apart(with_layout_constraint(x, Layout(tuple(range(x.ndim)))) if backend() == "gpu" else x)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(ring: _Ring, q: jax.Array, k: jax.Array, v: jax.Array, ids: Ids | None) -> jax.Array:
    """One device's `(B, n, heads·d)`, `(B, m, heads·d)`, `(B, m, heads·e)` → `(B, n, heads·e)`."""
    return _forward(ring, q, k, v, ids)[0]


def _forward(ring: _Ring, q: jax.Array, k: jax.Array, v: jax.Array, ids: Ids | None):
    q, k, v = (attention_part(x) for x in (q, k, v))

    def see(found: Part | None, keys: _Keys) -> Part:
        part = _part(ring, q, keys, ids)
        return part if found is None else _joined(ring, found, part)

    sums, top, total = _around(ring, see, _Keys(k, v, None if ids is None else ids[1]))
    out = _by_head(ring, sums, 1 / total).astype(q.dtype)
    # Named before they become residuals: names given outside would not save a second round.
    out, top, total = (attention_part(x) for x in (out, top, total))
    return out, (q, k, v, ids, out, top, total)


def _backward(ring: _Ring, saved: tuple, d_out: jax.Array):
    q, k, v, ids, out, top, total = saved
    if ring.plan is None:
        whole = out, top, 1 / total
    else:
        whole = out, attention_kernel.numbers_of_all(top, total, ring.plan)

    def see(found: Part | None, keys: _Keys) -> Part:
        # In float32: rounded to bfloat16 at each turn, the sums would be off by 20 % more with four devices.
        sums = None if found is None else (found[0], *ring.passed(found[1:]))
        parts = _gradients(ring, q, keys, ids, whole, d_out)
        return parts if sums is None else jax.tree.map(jnp.add, sums, parts)

    dq, *d_keys = _around(ring, see, _Keys(k, v, None if ids is None else ids[1]))
    dk, dv = ring.passed([x.astype(y.dtype) for x, y in zip(d_keys, (k, v), strict=True)])  # one step from home
    return dq.astype(q.dtype), dk, dv, None


_attend.defvjp(_forward, _backward)


def _around(ring: _Ring, see: Callable[[Any, _Keys], Any], keys: _Keys) -> Any:
    """Call `see(what it returned before, or None; keys)` for the keys of each device, while the next ones arrive.

    A loop, so that no device sends keys ahead of its work: the next ones are all that it holds.
    """

    def turn(carry: tuple[Any, _Keys], _: None) -> tuple[tuple[Any, _Keys], None]:
        found, keys = carry
        coming = ring.passed(keys)
        return (see(found, keys), coming), None

    # Outside of the loop the first, which has nothing to add to, and the last, which sends nothing on.
    carry, _ = turn((None, keys), None)
    carry, _ = jax.lax.scan(turn, carry, length=ring.size - 2)
    return see(*carry)


def _joined(ring: _Ring, a: Part, b: Part) -> Part:
    """What two parts of the keys contribute, from what each does."""
    top = jnp.maximum(a[1], b[1])
    by_a, by_b = (jnp.exp((x[1] - top) * ring.scale) for x in (a, b))
    sums = _by_head(ring, a[0], by_a) + _by_head(ring, b[0], by_b)
    return sums, top, a[2] * by_a + b[2] * by_b


def _part(ring: _Ring, q: jax.Array, keys: _Keys, ids: Ids | None) -> Part:
    """Sum of `exp((q·k - top)·scale)·v` over these keys, `(B, n, heads·e)`; `top`, the largest `q·k`, and the sum of
    the factors, `(B, n, heads)`."""
    q_ids = None if ids is None else ids[0]
    if ring.plan is not None:
        pair = None if q_ids is None else (q_ids, keys.ids)
        return attention_kernel.part_of_attention(q, keys.k, keys.v, ring.plan, ids=pair)
    k, v = (_heads(ring, x) for x in (keys.k, keys.v))

    def block(args):
        q, q_ids = args
        scores, _ = _scores(ring, q, k, q_ids, keys.ids)
        top = scores.max(-1)
        weights = jnp.exp((scores - top[..., None]) * ring.scale)
        sums = jnp.einsum("bhnm,bmhe->bnhe", weights.astype(v.dtype), v, preferred_element_type=scores.dtype)
        return sums.reshape(*sums.shape[:2], -1), jnp.swapaxes(top, 1, 2), jnp.swapaxes(weights.sum(-1), 1, 2)

    return jax.tree.map(lambda x: _whole(x, q.shape[1]), jax.lax.map(block, _blocks((q, q_ids))))


def _gradients(
    ring: _Ring, q: jax.Array, keys: _Keys, ids: Ids | None, whole: Sequence[jax.Array], d_out: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradients by q, as far as it sees these keys, by the keys and by their values, float32 or wider.

    Args:
      whole: result of all parts; the largest `q·k` of all and the inverse of their factors' sum, or in place of both
        the kernel's `numbers_of_all`.
    """
    q_ids = None if ids is None else ids[0]
    if ring.plan is not None:
        pair = None if q_ids is None else (q_ids, keys.ids)
        return attention_kernel.gradients_of_part(q, keys.k, keys.v, *whole, d_out, ring.plan, ids=pair)
    k, v = (_heads(ring, x) for x in (keys.k, keys.v))
    wide = jnp.promote_types(q.dtype, jnp.float32)

    def block(sums, args):
        q, q_ids, out, top, share, d_out = args
        q = _heads(ring, q)
        scores, sees = _scores(ring, q, k, q_ids, keys.ids)
        weights = jnp.exp((scores - jnp.swapaxes(top, 1, 2)[..., None]) * ring.scale)
        d_out = _heads(ring, _by_head(ring, d_out.astype(wide), share))
        mean = (d_out * _heads(ring, out).astype(wide)).sum(-1)
        d_out = d_out.astype(v.dtype)
        products = jnp.einsum("bnhe,bmhe->bhnm", d_out, v, preferred_element_type=wide)
        d_scores = weights * (products - jnp.swapaxes(mean, 1, 2)[..., None])
        d_scores = (d_scores if sees is None else jnp.where(sees, d_scores, 0)).astype(q.dtype)
        dq = jnp.einsum("bhnm,bmhd->bnhd", d_scores, k, preferred_element_type=wide) * ring.scale
        dk = jnp.einsum("bhnm,bnhd->bmhd", d_scores, q, preferred_element_type=wide) * ring.scale
        dv = jnp.einsum("bhnm,bnhe->bmhe", weights.astype(v.dtype), d_out, preferred_element_type=wide)
        sums = [x + y.reshape(x.shape) for x, y in zip(sums, (dk, dv), strict=True)]
        return sums, dq.reshape(*dq.shape[:2], -1)

    args = _blocks((q, q_ids, *whole, d_out))  # the inverse is 0 for queries that only fill a block
    (dk, dv), dq = jax.lax.scan(block, [jnp.zeros(x.shape, wide) for x in (keys.k, keys.v)], args)
    return _whole(dq, q.shape[1]), dk, dv


def _scores(
    ring: _Ring, q: jax.Array, k: jax.Array, q_ids: jax.Array | None, k_ids: jax.Array | None
) -> tuple[jax.Array, jax.Array | None]:
    """`q·k` by head, `(B, heads, n, m)`, without the scale, and which of them count (None: all)."""
    q = q if q.ndim == 4 else _heads(ring, q)
    scores = jnp.einsum("bnhd,bmhd->bhnm", q, k, preferred_element_type=jnp.promote_types(q.dtype, jnp.float32))
    if q_ids is None:
        return scores, None
    sees = (q_ids[:, :, None] == k_ids[:, None, :])[:, None]
    return jnp.where(sees, scores, jnp.finfo(scores.dtype).min), sees


def _heads(ring: _Ring, x: jax.Array) -> jax.Array:
    """`(B, n, heads·d)` as `(B, n, heads, d)`."""
    return x.reshape(*x.shape[:2], ring.heads, -1)


def _by_head(ring: _Ring, x: jax.Array, factor: jax.Array) -> jax.Array:
    """`(B, n, heads·d)` times `(B, n, heads)`."""
    return (_heads(ring, x) * factor[..., None]).reshape(x.shape)


def _blocks(arrays: Any) -> Any:
    """Cut arrays `(B, n, …)` to `(blocks, B, size, …)`, the last block filled with zeros."""

    def cut(x: jax.Array) -> jax.Array:
        n = x.shape[1]
        size = -(-n // -(-n // _BLOCK))
        x = jnp.pad(x, [(0, -n % size if axis == 1 else 0) for axis in range(x.ndim)])
        return jnp.moveaxis(x.reshape(x.shape[0], -1, size, *x.shape[2:]), 1, 0)

    return jax.tree.map(cut, arrays)


def _whole(x: jax.Array, n: int) -> jax.Array:
    """`(B, n, …)` from its `_blocks`."""
    x = jnp.moveaxis(x, 0, 1)
    return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :n]
