"""Attention for TPUs, one Pallas kernel per pass: scores never leave the chip's own memory.

Video tokens are few enough (thousands, not hundreds of thousands) that the keys and values of a few heads fit into a
core's vector memory whole. So a block of queries sees all its keys at once, the softmax needs no second pass, and the
backward pass recomputes the scores from queries and keys. A block is cut out of `(B, N, heads·d)` as the dense layers
write it: nothing is transposed, and nothing is padded in the chip's main memory.

Short sequences (the frames or windows of divided attention) share a program: several at a time, and very short ones
side by side in one product, where each sees only itself.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from vidjax.nn.attention_plan import LANES, Ids, Plan
from vidjax.nn.remat import attention_part

FORWARD, BACKWARD = "vidjax_attention_forward", "vidjax_attention_backward"  # the kernels' names in a program
_NEVER = -1e30  # score below all products, finite also when multiplied
_LOG2_E = math.log2(math.e)


def fused_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, plan: Plan, *, bias: jax.Array | None = None, ids: Ids | None = None
) -> jax.Array:
    """Compute `softmax(q·kᵀ·scale + bias)·v`, the softmax in float32, without an array of scores in main memory.

    Args:
      q: queries, `(B, N, H, d)`, bfloat16 or float32.
      k: keys, `(B, M, H, d)`.
      v: values, `(B, M, H, e)`.
      plan: result of `plan_for` for the same arguments.
      bias: array added to the scores, `(1, H or 1, N, M)`.
      ids: group numbers, int32 `(C, N)` and `(C, M)`, C a divisor of B: a query of sequence b sees the keys that have
        its number in row b mod C. A query that sees no key gets the mean of all values.

    Returns:
      `(B, N, H, e)` of the type of `q`. Gradients go to `q`, `k`, `v` and `bias`.
    """
    batch, n, heads, _ = q.shape
    # Named in the shape used later: another one might be kept in another layout.
    flat = [attention_part(x.reshape(*x.shape[:2], heads * x.shape[3])) for x in (q, k, v)]
    flat = [x.reshape(batch // plan.packed, plan.packed * x.shape[1], x.shape[2]) for x in flat]
    if bias is not None:
        bias = jnp.broadcast_to(bias[0], (heads, *bias.shape[2:])).astype(jnp.float32)
    return _attend(plan, *flat, bias, _spread(ids)).reshape(batch, n, heads, -1)


def part_of_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, plan: Plan, *, ids: Ids | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Compute what some of the keys contribute to an attention, without gradients.

    Args:
      q: queries, `(B, N, H·d)`.
      k: some of the keys, `(B, M, H·d)`.
      v: their values, `(B, M, H·e)`.
      plan: result of `plan_for` with `part`, for the same arguments in four axes.
      ids: group numbers, as in `fused_attention`.

    Returns:
      Sum over the keys of `exp((q·k - top)·scale)·v`, float32 `(B, N, H·e)`; `top`, the largest `q·k`, and the sum of
      the factors, float32 `(B, N, H)`.
    """
    out, numbers = _run_forward(plan, q, k, v, None, _spread(ids))
    numbers = numbers.reshape(*q.shape[:2], -1, LANES)[..., : 2 * plan.block]
    numbers = numbers.reshape(*q.shape[:2], plan.heads, 2)
    return out, numbers[..., 0], numbers[..., 1]


def numbers_of_all(top: jax.Array, total: jax.Array, plan: Plan) -> jax.Array:
    """Arrange for `gradients_of_part` the largest `q·k` of all keys, and the sum over them of `exp((q·k - top)·scale)`.

    Both are float32 `(B, N, H)`; the result is `(B, N, programs·128)`, as the kernel reads it.
    """
    numbers = jnp.stack([top, total], axis=-1).reshape(*top.shape[:2], -1, 2 * plan.block)
    return jnp.pad(numbers, [(0, 0)] * 3 + [(0, LANES - 2 * plan.block)]).reshape(*top.shape[:2], -1)


def gradients_of_part(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    out: jax.Array,
    numbers: jax.Array,
    d_out: jax.Array,
    plan: Plan,
    *,
    ids: Ids | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Compute gradients by some of the keys, their values, and the queries as far as they see these keys.

    Args:
      q: queries, as in `part_of_attention`.
      k: some of the keys.
      v: their values.
      out: result of the attention to all keys, `(B, N, H·e)`.
      numbers: result of `numbers_of_all`.
      d_out: gradient by `out`.
      plan: as in `part_of_attention`.
      ids: as in `part_of_attention`.

    Returns:
      Gradients by q, k and v, float32.
    """
    dq, dk, dv = _run_backward(plan, q, k, v, None, _spread(ids), out, d_out, numbers)
    return dq, dk, dv


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(plan: Plan, q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array | None, ids: Ids | None) -> jax.Array:
    """`(B, N, H·d)`, `(B, M, H·d)`, `(B, M, H·e)` → `(B, N, H·e)`; bias `(H, N, M)`, ids `(C, N, 1)`, `(C, 1, M)`."""
    return _forward(plan, q, k, v, bias, ids)[0]


def _forward(plan: Plan, q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array | None, ids: Ids | None):
    # Named before it becomes both result and residual: a name given outside would not save the kernel a second run.
    out = attention_part(_run_forward(plan, q, k, v, bias, ids)[0])
    return out, (q, k, v, bias, ids, out)


def _backward(plan: Plan, saved: tuple, d_out: jax.Array):
    q, k, v, bias, ids, out = saved
    dq, dk, dv, *d_bias = _run_backward(plan, q, k, v, bias, ids, out, d_out)
    return dq, dk, dv, d_bias[0] if plan.bias else None, None


def _run_forward(
    plan: Plan, q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array | None, ids: Ids | None
) -> list[jax.Array]:
    """The result `(B, N, H·e)`; of a part of the keys also `(B, N, programs·128)`, as `_Cut.numbers` cuts it."""
    cut = _Cut.of(plan, q, v)
    specs, shapes = [cut.queries(cut.e)], [jax.ShapeDtypeStruct((*q.shape[:2], v.shape[2]), cut.wide(q.dtype))]
    if plan.part:
        specs.append(cut.numbers())
        shapes.append(jax.ShapeDtypeStruct((*q.shape[:2], plan.heads // plan.block * LANES), jnp.float32))
    return pl.pallas_call(
        partial(_forward_kernel, plan, cut),
        grid=cut.grid,
        in_specs=[cut.queries(cut.d), cut.keys(cut.d), cut.keys(cut.e), *cut.extras(ids)],
        out_specs=specs,
        out_shape=shapes,
        cost_estimate=cut.cost(2, q.dtype.itemsize),
        compiler_params=cut.params(),
        interpret=plan.interpret,
        name=FORWARD,
    )(q, k, v, *_present(bias, ids))


def _run_backward(
    plan: Plan,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    bias: jax.Array | None,
    ids: Ids | None,
    *rest: jax.Array,
) -> list[jax.Array]:
    """Gradients by q, k, v and the bias, if there is one; `rest` is the result, its gradient, and of a part the
    `_Cut.numbers` of the whole."""
    cut = _Cut.of(plan, q, v)
    specs = [cut.queries(cut.d), cut.keys(cut.d), cut.keys(cut.e)]
    shapes = [jax.ShapeDtypeStruct(x.shape, cut.wide(x.dtype)) for x in (q, k, v)]
    if plan.bias:
        assert bias is not None
        specs.append(cut.bias())
        shapes.append(jax.ShapeDtypeStruct(bias.shape, jnp.float32))
    scratch = []
    if cut.blocks > 1:
        scratch = [pltpu.VMEM((cut.m, plan.block * width), jnp.float32) for width in (cut.d, cut.e)]
    return pl.pallas_call(
        partial(_backward_kernel, plan, cut),
        grid=cut.grid,
        in_specs=[cut.queries(cut.d), cut.keys(cut.d), cut.keys(cut.e), *cut.extras(ids)]
        + [cut.queries(cut.e), cut.queries(cut.e), *[cut.numbers()] * plan.part],
        out_specs=specs,
        out_shape=shapes,
        scratch_shapes=scratch,
        cost_estimate=cut.cost(5, q.dtype.itemsize),
        compiler_params=cut.params(),
        interpret=plan.interpret,
        name=BACKWARD,
    )(q, k, v, *_present(bias, ids), *rest)


_attend.defvjp(_forward, _backward)


@dataclass(frozen=True)
class _Cut:
    """Blocks of the arrays that a program works on.

    The grid is (sequences, heads, queries), the queries in sequence, as their parts of the gradients of keys and values
    are summed; with a bias it is (heads, sequences, 1), for the same reason.
    """

    plan: Plan
    batch: int
    n: int
    m: int
    d: int
    e: int

    @classmethod
    def of(cls, plan: Plan, q: jax.Array, v: jax.Array) -> "_Cut":
        batch, n, width = q.shape
        return cls(plan, batch, n, v.shape[1], width // plan.heads, v.shape[2] // plan.heads)

    @property
    def blocks(self) -> int:
        """Blocks of queries in a sequence."""
        return pl.cdiv(self.n, self.plan.rows)

    @property
    def grid(self) -> tuple[int, int, int]:
        sequences, heads = self.batch // self.plan.group, self.plan.heads // self.plan.block
        return (heads, sequences, 1) if self.plan.bias else (sequences, heads, self.blocks)

    def _spec(self, shape: tuple[int, ...], place: Any) -> pl.BlockSpec:
        if self.plan.bias:
            return pl.BlockSpec(shape, lambda h, b, i: place(b, h, i))
        return pl.BlockSpec(shape, place)

    def queries(self, width: int) -> pl.BlockSpec:
        """Block of an array `(B, N, H·width)`."""
        return self._spec((self.plan.group, self.plan.rows, self.plan.block * width), lambda b, h, i: (b, i, h))

    def keys(self, width: int) -> pl.BlockSpec:
        """Block of an array `(B, M, H·width)`."""
        return self._spec((self.plan.group, self.m, self.plan.block * width), lambda b, h, i: (b, 0, h))

    def bias(self) -> pl.BlockSpec:
        """Block of an array `(H, N, M)`."""
        return self._spec((self.plan.block, self.n, self.m), lambda b, h, i: (h, 0, 0))

    def numbers(self) -> pl.BlockSpec:
        """Block of an array `(B, N, programs·128)`, of which lanes 2·h and 2·h + 1 are the largest score of a program's
        head h and the sum of its weights."""
        return self._spec((self.plan.group, self.plan.rows, LANES), lambda b, h, i: (b, i, h))

    def wide(self, dtype: Any) -> Any:
        """Type of results: of parts float32, as they will be summed."""
        return jnp.float32 if self.plan.part else dtype

    def extras(self, ids: Ids | None) -> list[pl.BlockSpec]:
        """Blocks of the bias and the group numbers, if there are any."""
        specs = [self.bias()] if self.plan.bias else []
        if ids is not None:
            rows = ids[0].shape[0] // self.plan.group
            specs.append(self._spec((self.plan.group, self.plan.rows, 1), lambda b, h, i: (b % rows, i, 0)))
            specs.append(self._spec((self.plan.group, 1, self.m), lambda b, h, i: (b % rows, 0, 0)))
        return specs

    def params(self) -> Any:
        kinds = ("parallel", "arbitrary", "arbitrary") if self.plan.bias else ("parallel", "parallel", "arbitrary")
        return pltpu.CompilerParams(dimension_semantics=kinds, vmem_limit_bytes=self.plan.vmem)

    def cost(self, products: int, itemsize: int) -> pl.CostEstimate:
        """Cost of `products` products of the size of the scores, without those that packed sequences waste."""
        pairs = self.batch * self.n * self.m // self.plan.packed * self.plan.heads
        arrays = self.n * (self.d + self.e) + self.m * (self.d + self.e)
        return pl.CostEstimate(
            flops=products * pairs * (self.d + self.e),
            transcendentals=pairs,
            bytes_accessed=products // 2 * self.batch * self.plan.heads * arrays * itemsize,
        )


def _forward_kernel(plan: Plan, cut: _Cut, q_ref: Any, k_ref: Any, v_ref: Any, *refs: Any) -> None:
    number = int(plan.bias) + 2 * int(plan.ids)
    extras, (out_ref, *numbers_ref) = refs[:number], refs[number:]
    for g in range(plan.group):
        sees = _sees(plan, cut, extras, g)
        for h in range(plan.block):
            weights, top = _weights(plan, cut, q_ref, k_ref, extras, sees, g, h)
            total = weights.sum(-1, keepdims=True)
            out = _dot(weights.astype(v_ref.dtype), v_ref[g, :, _of(h, cut.e)], ((1,), (0,)))
            if plan.part:
                numbers_ref[0][g, :, 2 * h : 2 * h + 1] = top
                numbers_ref[0][g, :, 2 * h + 1 : 2 * h + 2] = total
            else:
                out = out / total
            out_ref[g, :, _of(h, cut.e)] = out.astype(out_ref.dtype)


def _backward_kernel(plan: Plan, cut: _Cut, q_ref: Any, k_ref: Any, v_ref: Any, *refs: Any) -> None:
    number = int(plan.bias) + 2 * int(plan.ids)
    extras, (out_ref, d_out_ref, *rest) = refs[:number], refs[number:]
    numbers_ref = rest.pop(0) if plan.part else None
    dq_ref, dk_ref, dv_ref, *rest = rest
    whole = cut.blocks == 1
    block = pl.program_id(2)
    if not whole:
        dk_sum, dv_sum = rest[-2:]

        @pl.when(block == 0)
        def _():
            dk_sum[...] = jnp.zeros_like(dk_sum)
            dv_sum[...] = jnp.zeros_like(dv_sum)

    if plan.bias:
        d_bias_ref = rest[0]

        @pl.when(pl.program_id(1) == 0)
        def _():
            d_bias_ref[...] = jnp.zeros_like(d_bias_ref)

    # A last block of queries may hold anything beyond the sequence.
    inside = None
    if cut.n % plan.rows:
        inside = block * plan.rows + lax.broadcasted_iota(jnp.int32, (plan.rows, 1), 0) < cut.n
    for g in range(plan.group):
        sees = _sees(plan, cut, extras, g)
        for h in range(plan.block):
            q, d_out, out = (
                ref[g, :, _of(h, width)] for ref, width in ((q_ref, cut.d), (d_out_ref, cut.e), (out_ref, cut.e))
            )
            if inside is not None:
                q, d_out, out = (jnp.where(inside, x, jnp.zeros_like(x)) for x in (q, d_out, out))
            k, v = k_ref[g, :, _of(h, cut.d)], v_ref[g, :, _of(h, cut.e)]
            top = None if numbers_ref is None else numbers_ref[g, :, 2 * h : 2 * h + 1]
            if top is not None and inside is not None:
                top = jnp.where(inside, top, 0.0)
            weights, _ = _weights(plan, cut, q, k, extras, sees, g, h, top)
            if numbers_ref is None:
                total = weights.sum(-1, keepdims=True)
            else:
                total = numbers_ref[g, :, 2 * h + 1 : 2 * h + 2]
                total = total if inside is None else jnp.where(inside, total, 1.0)
            # Factors go to the (rows, e) arrays, which are smaller than the (rows, M) ones.
            d_out = d_out.astype(jnp.float32) * (1 / total)
            # Σ over keys of weight · its gradient, from the output.
            mean = (d_out * out.astype(jnp.float32)).sum(-1, keepdims=True)
            d_out = d_out.astype(v.dtype)
            d_scores = weights * (_dot(d_out, v, ((1,), (1,))) - mean)
            if sees is not None:
                d_scores = jnp.where(sees, d_scores, 0.0)
            if plan.bias:
                d_bias_ref[h] += d_scores
            d_scores = d_scores.astype(q.dtype)
            dq_ref[g, :, _of(h, cut.d)] = (_dot(d_scores, k, ((1,), (0,))) * plan.scale).astype(dq_ref.dtype)
            dk = _dot(d_scores, q, ((0,), (0,))) * plan.scale
            dv = _dot(weights.astype(d_out.dtype), d_out, ((0,), (0,)))
            if whole:
                dk_ref[g, :, _of(h, cut.d)] = dk.astype(dk_ref.dtype)
                dv_ref[g, :, _of(h, cut.e)] = dv.astype(dv_ref.dtype)
            else:
                dk_sum[:, _of(h, cut.d)] += dk
                dv_sum[:, _of(h, cut.e)] += dv
    if not whole:

        @pl.when(block == cut.blocks - 1)
        def _():
            dk_ref[0] = dk_sum[...].astype(dk_ref.dtype)
            dv_ref[0] = dv_sum[...].astype(dv_ref.dtype)


def _weights(
    plan: Plan,
    cut: _Cut,
    q: Any,
    k: Any,
    extras: Sequence[Any],
    sees: jax.Array | None,
    g: int,
    h: int,
    top: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """exp(scores - their maximum) of one head, float32 `(rows, M)`, and the maximum, `top` where that is given; `q` and
    `k` are its features, or refs to them."""
    if not isinstance(q, jax.Array):
        q, k = q[g, :, _of(h, cut.d)], k[g, :, _of(h, cut.d)]
    scores, base = _dot(q, k, ((1,), (1,))), plan.scale * _LOG2_E
    if plan.bias:
        scores, base = scores * plan.scale + extras[0][h], _LOG2_E
    if sees is not None:
        scores = jnp.where(sees, scores, _NEVER)
    # The chip has only powers of 2: one factor for both scale and base.
    top = scores.max(-1, keepdims=True) if top is None else top
    return jnp.exp2((scores - top) * base), top


def _sees(plan: Plan, cut: _Cut, extras: Sequence[Any], g: int) -> jax.Array | None:
    """Mask of the keys that queries of the program's sequence `g` see, bool `(rows, M)`; None: all."""
    sees = None
    if plan.ids:
        sees = extras[-2][g] == extras[-1][g]
    if plan.causal or plan.packed > 1:
        query = pl.program_id(2) * plan.rows + lax.broadcasted_iota(jnp.int32, (plan.rows, cut.m), 0)
        key = lax.broadcasted_iota(jnp.int32, (plan.rows, cut.m), 1)
        if plan.causal:
            sees = key <= query if sees is None else sees & (key <= query)
        else:
            length = cut.m // plan.packed
            sees = lax.div(query, length) == lax.div(key, length)
    return sees


def _dot(a: jax.Array, b: jax.Array, axes: tuple[tuple[int], tuple[int]]) -> jax.Array:
    precision = lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    return lax.dot_general(a, b, (axes, ((), ())), precision=precision, preferred_element_type=jnp.float32)


def _of(head: int, width: int) -> slice:
    return slice(head * width, (head + 1) * width)


def _spread(ids: Ids | None) -> Ids | None:
    """Group numbers as the kernel compares them, `(C, N, 1)` and `(C, 1, M)`."""
    return None if ids is None else (ids[0][:, :, None], ids[1][:, None, :])


def _present(bias: jax.Array | None, ids: Ids | None) -> list[jax.Array]:
    return ([] if bias is None else [bias]) + ([] if ids is None else list(ids))
