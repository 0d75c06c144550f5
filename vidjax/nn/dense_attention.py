"""Attention by matrix products and a softmax: all at once, head by head, or by blocks of queries.

The softmax is taken in float32, or float64 if the inputs are.
"""

from functools import partial

import jax
import jax.numpy as jnp

from vidjax.nn.remat import attention_part

# Scores per head from which the CPU works head by head. 512×512 float32 scores take 1 MiB, about a core's own cache;
# with all heads at once every pass over the scores is a pass over main memory. At 1568 tokens, 12 heads and
# d = 64 on 2 cores, forward / forward + backward take 98 / 453 ms at once and 55 / 169 ms head by head; below 400
# tokens there is no difference. Above it, accelerators without a kernel for the inputs work block by block.
MANY_SCORES = 512 * 512
_BLOCK = 512  # queries per block


def softmax_product(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    bias: jax.Array | None,
    mask: jax.Array | None,
    scale: float,
    cap: float = 0.0,
) -> jax.Array:
    """Attention all at once, with tokens and features as the last two axes.

    Args:
      q: queries, `(…, N, d)`.
      k: keys, `(…, M, d)`.
      v: values, `(…, M, e)`.
      bias: array added to the scores, which broadcasts to `(…, N, M)`; None: none.
      mask: boolean mask, likewise; False hides a key from a query. None: none.
      scale: factor of the scores.
      cap: bound of the scores, before the bias, see `vidjax.nn.attention.attention`; 0: none.

    Returns:
      `(…, N, e)`.
    """
    dtype = jnp.promote_types(q.dtype, jnp.float32)
    scores = jnp.einsum("...nd,...md->...nm", q, k, preferred_element_type=dtype) * scale
    if cap:
        scores = cap * jnp.tanh(scores / cap)
    if bias is not None:
        scores = scores + bias.astype(dtype)
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(dtype).min)
    # Dividing the (N, d) result instead of the (N, M) weights saves a pass over the largest array there is. The
    # maximum cancels out of the quotient, so it needs no gradient.
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
    # Inputs of the quotient's gradient, no larger than the result.
    total = attention_part(weights.sum(axis=-1, keepdims=True))
    out = jnp.einsum("...nm,...md->...nd", weights.astype(v.dtype), v, preferred_element_type=dtype)
    out = attention_part(out)
    return (out / total).astype(q.dtype)


def head_by_head(
    q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array | None, mask: jax.Array | None, scale: float, cap: float
) -> jax.Array:
    """Attention as a loop over heads, whose scores stay in the cache and are recomputed in the backward pass.

    The batch stays inside the loop, so that a batch split over devices stays split.

    Args:
      q, k, v, bias, mask, scale, cap: as for `vidjax.nn.attention.attention`, heads after tokens.
    """
    heads = q.shape[2]
    tokens = [jnp.moveaxis(x, 2, 0) for x in (q, k, v)]
    per_head = {}
    for name, extra in (("bias", bias), ("mask", mask)):
        if extra is not None:
            per_head[name] = jnp.moveaxis(jnp.broadcast_to(extra, (extra.shape[0], heads, *extra.shape[2:])), 1, 0)

    @jax.checkpoint
    def one_head(args):
        (q, k, v), extras = args
        return softmax_product(q, k, v, extras.get("bias"), extras.get("mask"), scale, cap)

    return jnp.moveaxis(jax.lax.map(one_head, (tokens, per_head)), 0, 2)


def by_blocks(
    q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array | None, mask: jax.Array | None, scale: float, cap: float
) -> jax.Array:
    """Attention as a loop over blocks of queries, whose scores are recomputed in the backward pass.

    The batch and the heads stay inside the loop, so that arrays split over devices stay split.

    Args:
      q, k, v, bias, mask, scale, cap: as for `vidjax.nn.attention.attention`, heads after tokens.
    """
    n = q.shape[1]
    size = -(-n // -(-n // _BLOCK))
    spare = -n % size  # padding queries, results discarded

    def blocks(x: jax.Array, axis: int) -> jax.Array:
        x = jnp.pad(x, [(0, spare if a == axis else 0) for a in range(x.ndim)])
        x = x.reshape(*x.shape[:axis], -1, size, *x.shape[axis + 1 :])
        return jnp.moveaxis(x, axis, 0)

    extras = {name: x for name, x in (("bias", bias), ("mask", mask)) if x is not None}
    cut = {name: blocks(x, 2) for name, x in extras.items() if x.shape[2] > 1}
    k, v = (jnp.swapaxes(x, 1, 2) for x in (k, v))

    @jax.checkpoint
    def one_block(k, v, whole, args):
        q, own = args
        both = whole | own
        return softmax_product(jnp.swapaxes(q, 1, 2), k, v, both.get("bias"), both.get("mask"), scale, cap)

    whole = {name: x for name, x in extras.items() if name not in cut}
    out = jax.lax.map(partial(one_block, k, v, whole), (blocks(q, 1), cut))  # (blocks, B, heads, size, e)
    out = jnp.moveaxis(out, 0, 2)
    out = out.reshape(*out.shape[:2], -1, out.shape[-1])[:, :, :n]
    return jnp.swapaxes(out, 1, 2)
