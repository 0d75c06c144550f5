"""Scaled dot-product attention in the fastest formulation for the device, and self-attention modules.

Tokens come as `(B, N, heads, d)`. The softmax is taken in float32, or float64 if the inputs are.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn import attention_kernel, attention_plan
from vidjax.nn.attention_weights import record
from vidjax.nn.dense_attention import MANY_SCORES, by_blocks, head_by_head, softmax_product
from vidjax.nn.kernel_mesh import own_part
from vidjax.nn.remat import attention_part, layer_result
from vidjax.nn.ring_attention import ring_attention
from vidjax.nn.target_backend import apart, backend, target
from vidjax.nn.token_sharding import ring_layout, split_attention

Implementation = Literal["auto", "cudnn", "pallas", "blocks", "xla"]
Ids = tuple[jax.Array, jax.Array]

# Name, in a trace, of attention that a fused kernel could compute where there is one.
FUSABLE = "fusable_attention"


def attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    bias: jax.Array | None = None,
    mask: jax.Array | None = None,
    ids: Ids | None = None,
    causal: bool = False,
    scale: float | None = None,
    cap: float = 0.0,
    implementation: Implementation = "auto",
) -> jax.Array:
    """Compute attention, `softmax(q·kᵀ·scale + bias)·v`, the softmax in float32 or wider.

    Args:
      q: queries, `(B, N, heads, d)`.
      k: keys, `(B, M, heads, d)`.
      v: values, `(B, M, heads, e)`; usually e = d.
      bias: array added to the scores; broadcasts to `(B, heads, N, M)` from four axes.
      mask: boolean mask, four axes as for `bias`; False hides a key from a query. A query that sees no key gets the
        mean of all values.
      ids: group numbers of queries and keys, int32 `(C, N)` and `(C, M)`, C a divisor of B: a mask for windows and
        padded sequences. A query of sequence b sees the keys that have its number in row b mod C. Excludes `mask`.
      causal: whether a query sees only keys up to its own position.
      scale: factor of the scores; None: 1/√d.
      cap: bound c of the scores, before any bias: a score s becomes c·tanh(s/c). 0: none. Excludes the fused kernels.
      implementation: formulation of the attention. `"pallas"`: the kernel for TPUs of `nn/attention_kernel.py`;
        `"cudnn"`: the fused kernel of `jax.nn.dot_product_attention` for NVIDIA GPUs; both raise where they do not
        apply. `"blocks"`: matrix products and a softmax, some queries at a time, recomputed in the backward pass, so
        that no array holds all scores; `"xla"`: all at once. `"auto"`: on TPUs Pallas where it applies; cuDNN on NVIDIA
        GPUs of compute capability 8.0 or higher, for 16-bit inputs without bias or mask, and a head dimension that is a
        multiple of 8 up to 128; otherwise XLA, which works head by head (CPU) or by blocks where there are many scores.
        The choice is made at trace time, see `vidjax.nn.target_backend`.

    Returns:
      `(B, N, heads, e)` of the type of `q`.

    Raises:
      ValueError: for shapes that do not match, which the message names, and for an implementation that is unknown or
        does not apply.
    """
    _check_shapes(q, k, v, bias, mask, ids)
    if implementation not in ("auto", "cudnn", "pallas", "blocks", "xla"):
        raise ValueError(
            f"implementation = {implementation!r}: must be one of 'auto', 'cudnn', 'pallas', 'blocks', 'xla'"
        )
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if cap and implementation in ("pallas", "cudnn"):
        raise ValueError(f"implementation = {implementation!r}: the kernel takes no cap of the scores; use 'auto'")
    record(q, k, scale, cap, bias, lambda: _joined(mask, ids, q, k, causal))
    of_keys = (mask is None or mask.shape[1:3] == (1, 1)) and (ids is None or ids[0].shape[0] in (1, q.shape[0]))
    alone = bias is None and of_keys and not causal and not cap
    ring = ring_layout(q, k) if implementation == "auto" and alone else None
    if ring is not None and scale > 0:
        return ring_attention(q, k, v, ring, scale=scale, ids=_numbers(mask, ids, q, k))
    plain = bias is None and mask is None and ids is None and not causal and not cap
    chosen = _choose(q, k, v, plain=plain) if implementation == "auto" else implementation
    attend = partial(_attend, bias=bias, mask=mask, ids=ids, causal=causal, scale=scale, cap=cap, implementation=chosen)
    return split_attention(attend, q, k, v, chosen == "cudnn")


def _choose(q: jax.Array, k: jax.Array, v: jax.Array, *, plain: bool) -> str:
    """Choose the implementation for `"auto"`."""
    device = target()
    if device.backend == "tpu":
        return "pallas or not"
    if device.backend == "gpu":
        if plain and _cudnn_takes(q, v) and device.capability >= 8.0:
            return "cudnn"
        # An unknown GPU may have a kernel, see FUSABLE.
        if device.kind and q.shape[1] * k.shape[1] >= MANY_SCORES:
            return "blocks"
    return "xla"


def _attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    bias: jax.Array | None,
    mask: jax.Array | None,
    ids: Ids | None,
    causal: bool,
    scale: float,
    implementation: str,
    cap: float = 0.0,
) -> jax.Array:
    if implementation == "pallas" and mask is not None and mask.shape[1:3] != (1, 1):
        raise ValueError(f"implementation = 'pallas': the kernel takes no mask per pair, {mask.shape}; use 'auto'")
    if implementation in ("pallas", "pallas or not") and (mask is None or mask.shape[1:3] == (1, 1)) and not cap:
        return _on_tpu(q, k, v, bias, mask, ids, causal, scale, must=implementation == "pallas")
    q, k, v = (attention_part(x) for x in (q, k, v))
    if implementation == "cudnn":
        return _by_cudnn(q, k, v, bias, _joined(mask, ids, q, k), causal, scale)
    mask = _joined(mask, ids, q, k, causal)
    many = q.shape[1] * k.shape[1] >= MANY_SCORES
    if implementation == "blocks" or (implementation == "pallas or not" and many):
        return attention_part(by_blocks(q, k, v, bias, mask, scale, cap))
    if backend() == "cpu" and many:
        return attention_part(head_by_head(q, k, v, bias, mask, scale, cap))
    # Heads before tokens: two plain batched matrix products on any backend.
    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))
    fusable = bias is None and mask is None and not cap and _cudnn_takes(q, v)
    with jax.named_scope(FUSABLE if fusable else "attention"):
        y = softmax_product(q, k, v, bias, mask, scale, cap)
    return jnp.swapaxes(y, 1, 2)


def _on_tpu(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    bias: jax.Array | None,
    mask: jax.Array | None,
    ids: Ids | None,
    causal: bool,
    scale: float,
    *,
    must: bool,
) -> jax.Array:
    """Run the TPU kernel on each device's part where it applies; with `must`, raise where it does not.

    Raises:
      ValueError: if `must` is set and the kernel does not apply.
    """
    ids = _numbers(mask, ids, q, k)
    heads, d, e = *q.shape[2:], v.shape[3]

    def attend(q, k, v, bias, q_ids, k_ids):
        q, k, v = (x.reshape(*x.shape[:2], -1, width) for x, width in ((q, d), (k, d), (v, e)))
        ids = None if q_ids is None else (q_ids, k_ids)
        if ids is not None and q.shape[0] % q_ids.shape[0]:
            raise ValueError(f"{q_ids.shape[0]} rows of ids do not divide the {q.shape[0]} sequences of a device")
        plan = attention_plan.plan_for(q, k, v, scale=scale, causal=causal, bias=bias, ids=ids)
        if plan is not None:
            y = attention_kernel.fused_attention(q, k, v, plan, bias=bias, ids=ids)
            return y.reshape(*y.shape[:2], -1)
        if must:
            raise ValueError(
                f"implementation = 'pallas': q {q.shape}, k {k.shape}, v {v.shape} of {q.dtype} with this bias do not "
                "fit the kernel; use 'auto'"
            )
        implementation = "blocks" if q.shape[1] * k.shape[1] >= MANY_SCORES else "xla"
        y = _attend(q, k, v, bias=bias, mask=None, ids=ids, causal=causal, scale=scale, implementation=implementation)
        return y.reshape(*y.shape[:2], -1)

    q_ids, k_ids = ids or (None, None)
    rows = "batch" if q_ids is not None and q_ids.shape[0] == q.shape[0] else ""
    others = [(bias, ("batch", "heads", "queries", "")), (q_ids, (rows, "queries")), (k_ids, (rows, ""))]
    # Flat, as in the layers around: another shape here would cost a copy there.
    flat_q, flat_k, flat_v = (x.reshape(*x.shape[:2], -1) for x in (q, k, v))
    return own_part(attend, flat_q, flat_k, flat_v, heads, others, in_order=causal).reshape(*q.shape[:3], e)


def _numbers(mask: jax.Array | None, ids: Ids | None, q: jax.Array, k: jax.Array) -> Ids | None:
    """Group numbers for a mask of keys, or `ids`; None also for a mask per pair."""
    if mask is None or mask.shape[1:3] != (1, 1):
        return ids
    keys = jnp.broadcast_to(mask[:, 0, 0], (mask.shape[0], k.shape[1])).astype(jnp.int32)
    return jnp.ones((mask.shape[0], q.shape[1]), jnp.int32), keys


def _by_cudnn(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    bias: jax.Array | None,
    mask: jax.Array | None,
    causal: bool,
    scale: float,
) -> jax.Array:
    """Run cuDNN's fused kernel. JAX refuses its gradient for odd numbers of queries or keys: one more is added then,
    and masked out."""
    (n, _, features), keys, width = q.shape[1:], k.shape[1], v.shape[-1]
    more_q, more_k = n % 2, keys % 2
    q = _longer(q, {1: more_q})
    # The kernel also needs values as wide as the keys.
    k, v = _longer(k, {1: more_k}), _longer(v, {1: more_k, 3: max(0, features - width)})
    bias, mask = (
        None if x is None else _longer(x, {2: more_q * (x.shape[2] > 1), 3: more_k * (x.shape[3] > 1)})
        for x in (bias, mask)
    )
    seen = jnp.full(k.shape[0], keys, jnp.int32) if more_k else None
    y = jax.nn.dot_product_attention(
        q, k, v, bias=bias, mask=mask, is_causal=causal, scale=scale, key_value_seq_lengths=seen, implementation="cudnn"
    )
    return y[:, :n, :, :width]


def _longer(x: jax.Array, by: dict[int, int]) -> jax.Array:
    """Pad `x` at the end with `by[axis]` zeros along each axis."""
    return jnp.pad(x, [(0, by.get(axis, 0)) for axis in range(x.ndim)]) if any(by.values()) else x


def _joined(
    mask: jax.Array | None, ids: Ids | None, q: jax.Array, k: jax.Array, causal: bool = False
) -> jax.Array | None:
    """Join `mask`, `ids` and `causal` to one boolean mask of four axes."""
    if ids is not None:
        repeats = q.shape[0] // ids[0].shape[0] if ids[0].shape[0] > 1 else 1
        q_ids, k_ids = (jnp.tile(x, (repeats, 1)) for x in ids)
        mask = (q_ids[:, :, None] == k_ids[:, None, :])[:, None]
    if causal:
        before = jnp.arange(k.shape[1])[None, :] <= jnp.arange(q.shape[1])[:, None]
        mask = before[None, None] if mask is None else mask & before
    return mask


LECUN_NORMAL = nnx.initializers.lecun_normal()


class SelfAttention(nnx.Module):
    """Multi-head self-attention over tokens `(B, N, D)`: fused projection `qkv`, attention, projection `proj`.

    The kernel of `qkv` is `(D, 3·D)`: all queries, then all keys, then all values, each by head. With
    `qkv_bias="qv"` queries and values have the biases `q_bias` and `v_bias` `(D,)` and keys none, as in BEiT and
    VideoMAE: a bias of the keys adds the same number to all scores of a query, which the softmax cancels.

    Args:
      dim: D, input and output features of a token.
      heads: number of heads; divides `dim`.
      qkv_bias: biases of the projection: `"qv"`, `"qkv"` (one bias `qkv.bias` `(3·D,)`) or `"none"`.
      kernel_init: initialiser of both kernels; biases start at 0.
      dtype: dtype of the computation; None: float32. Parameters are float32.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if `heads` does not divide `dim`, or for an unknown `qkv_bias`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        qkv_bias: Literal["qv", "qkv", "none"] = "qkv",
        kernel_init: nnx.Initializer = LECUN_NORMAL,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        if dim % heads:
            raise ValueError(f"heads = {heads} does not divide dim = {dim}")
        if qkv_bias not in ("qv", "qkv", "none"):
            raise ValueError(f"qkv_bias = {qkv_bias!r}: must be one of 'qv', 'qkv', 'none'")
        self.heads = heads
        self.qkv = nnx.Linear(dim, 3 * dim, use_bias=qkv_bias == "qkv", kernel_init=kernel_init, dtype=dtype, rngs=rngs)
        self.q_bias = nnx.Param(jnp.zeros(dim)) if qkv_bias == "qv" else nnx.data(None)
        self.v_bias = nnx.Param(jnp.zeros(dim)) if qkv_bias == "qv" else nnx.data(None)
        self.proj = nnx.Linear(dim, dim, kernel_init=kernel_init, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        *,
        bias: jax.Array | None = None,
        mask: jax.Array | None = None,
        attend: Callable[[jax.Array, jax.Array, jax.Array], jax.Array] | None = None,
    ) -> jax.Array:
        """Map `(B, N, D)` to `(B, N, D)`.

        Args:
          x: tokens, `(B, N, D)`.
          bias: array added to the scores, as in `attention`.
          mask: boolean mask, as in `attention`.
          attend: function of queries, keys and values `(B, N, heads, d)` that replaces `attention`, such as a pattern
            of `nn/attention_patterns.py`; excludes bias and mask.

        Raises:
          ValueError: if `attend` is combined with a bias or a mask.
        """
        if attend is not None and not (bias is None and mask is None):
            raise ValueError("attend takes neither bias nor mask: build them into the function")
        attend = attend or partial(attention, bias=bias, mask=mask)
        batch, tokens, dim = x.shape
        project = self._project_apart if backend() == "tpu" else self._project
        q, k, v = (x.reshape(batch, tokens, self.heads, dim // self.heads) for x in project(x))
        return layer_result(self.proj(attend(q, k, v).reshape(batch, tokens, dim)))

    def _project(self, x: jax.Array) -> list[jax.Array]:
        """Project to queries, keys and values, `(B, N, D)` each, in one product."""
        qkv = self.qkv(x)
        if self.q_bias is not None and self.v_bias is not None:
            joint = jnp.concatenate([self.q_bias[...], jnp.zeros(x.shape[-1]), self.v_bias[...]])
            qkv = qkv + joint.astype(qkv.dtype)[None, None]
        return jnp.split(apart(qkv), 3, axis=-1)

    def _project_apart(self, x: jax.Array) -> list[jax.Array]:
        """Project to the same in three products."""
        if self.q_bias is None or self.v_bias is None:
            return three_products(x, self.qkv)
        return three_products(x, self.qkv, (self.q_bias[...], None, self.v_bias[...]))


def three_products(x: jax.Array, qkv: nnx.Linear, biases: Sequence[jax.Array | None] | None = None) -> list[jax.Array]:
    """Project to queries, keys and values, `(…, D)` each, by a product with each third of one kernel, for TPUs.

    Attention kernels read inputs from memory: one product's result would be copied to split it, and the three
    gradients to join them.

    Args:
      x: input, `(…, D)`.
      qkv: dense layer with all queries' columns in its kernel, then all keys', then all values'.
      biases: biases of queries, keys and values; None: the layer's own, if it has one.
    """
    dtype = qkv.dtype or jnp.promote_types(x.dtype, qkv.kernel.dtype)
    if biases is None:
        biases = [None] * 3 if qkv.bias is None else jnp.split(qkv.bias[...], 3)
    parts = []
    for kernel, bias in zip(jnp.split(qkv.kernel[...], 3, axis=1), biases, strict=True):
        y = x.astype(dtype) @ kernel.astype(dtype)
        parts.append(y if bias is None else y + jnp.expand_dims(bias.astype(dtype), tuple(range(y.ndim - 1))))
    return parts


def _cudnn_takes(q: jax.Array, v: jax.Array) -> bool:
    """Whether cuDNN's fused kernel takes inputs of this type and head dimensions."""
    return q.dtype in (jnp.bfloat16, jnp.float16) and q.shape[-1] % 8 == 0 and v.shape[-1] <= q.shape[-1] <= 128


def _check_shapes(
    q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array | None, mask: jax.Array | None, ids: Ids | None
) -> None:
    fits = q.ndim == k.ndim == v.ndim == 4 and k.shape[:3] == v.shape[:3]
    if not (fits and (q.shape[0], *q.shape[2:]) == (k.shape[0], *k.shape[2:])):
        raise ValueError(
            f"q {q.shape}, k {k.shape} and v {v.shape} do not fit: they must be (B, N, heads, d), (B, M, heads, d) and "
            "(B, M, heads, e)"
        )
    full = (q.shape[0], q.shape[2], q.shape[1], k.shape[1])
    for name, extra in (("bias", bias), ("mask", mask)):
        if extra is not None and not (
            extra.ndim == 4 and all(n in (1, wanted) for n, wanted in zip(extra.shape, full, strict=True))
        ):
            raise ValueError(f"{name} {extra.shape} does not broadcast to (B, heads, N, M) = {full}")
    if mask is not None and mask.dtype != jnp.bool_:
        raise ValueError(f"mask is {mask.dtype}: it must be bool, True where a query sees a key")
    if ids is not None:
        if mask is not None:
            raise ValueError("mask and ids exclude each other: give one of them")
        count = ids[0].shape[0]
        if q.shape[0] % count or [x.shape for x in ids] != [(count, q.shape[1]), (count, k.shape[1])]:
            raise ValueError(
                f"ids {ids[0].shape} and {ids[1].shape} do not fit: they must be (C, N) and (C, M), C a divisor of "
                f"B; N and M are those of q {q.shape} and k {k.shape}"
            )
