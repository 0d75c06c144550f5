"""Scaled dot-product attention: one function that chooses the fast formulation, and the modules around it.

Tokens come as `(B, N, heads, d)`. The softmax is taken in float32, or float64 if the inputs are.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.backend import backend
from vidjax.nn.remat import attention_part, layer_result
from vidjax.nn.tokens import split_attention

Implementation = Literal["auto", "cudnn", "xla"]

# Marks, in a trace, the attention that a fused kernel could do where there is one.
FUSABLE = "fusable_attention"

# Scores per head from which the CPU goes head by head. 512×512 float32 scores are 1 MiB, about what a core's own cache
# holds; with all heads at once every pass over the scores is a pass over main memory. At 1568 tokens, 12 heads and
# d = 64 on 2 cores, forward / forward + backward take 98 / 453 ms at once and 55 / 169 ms head by head; below 400
# tokens there is no difference.
_SCORES_PER_HEAD = 512 * 512


def attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    bias: jax.Array | None = None,
    mask: jax.Array | None = None,
    scale: float | None = None,
    implementation: Implementation = "auto",
) -> jax.Array:
    """`softmax(q·kᵀ·scale + bias)·v`, the softmax in float32 or more.

    Args:
      q: queries, `(B, N, heads, d)`.
      k: keys, `(B, M, heads, d)`.
      v: values, `(B, M, heads, e)`; mostly e = d.
      bias: added to the scores; anything that broadcasts to `(B, heads, N, M)` from four axes.
      mask: bool, four axes as for `bias`; False keeps a query from seeing a key. A query that sees no key at all gets
        the mean of all values.
      scale: of the scores; None: 1/√d.
      implementation: `"cudnn"`: the fused kernel of `jax.nn.dot_product_attention`, which raises where it does not
        apply; `"xla"`: matrix products and a softmax that any backend runs; `"auto"`: cuDNN on NVIDIA GPUs from Hopper
        on for 16-bit inputs without bias and mask and a head dimension that is a multiple of 8 up to 128, else XLA.
        The choice is made at trace time, see `vidjax.nn.backend`.

    Returns:
      `(B, N, heads, e)` of the type of `q`.

    Raises:
      ValueError: for shapes that do not fit together, naming them, or an unknown implementation.
    """
    _check_shapes(q, k, v, bias, mask)
    if implementation not in ("auto", "cudnn", "xla"):
        raise ValueError(f"implementation = {implementation!r}: must be one of 'auto', 'cudnn', 'xla'")
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    fused = implementation == "cudnn" or (
        implementation == "auto" and bias is None and mask is None and _cudnn_applies(q, v)
    )
    return split_attention(partial(_attend, bias=bias, mask=mask, scale=scale, fused=fused), q, k, v, fused)


def _attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    bias: jax.Array | None,
    mask: jax.Array | None,
    scale: float,
    fused: bool,
) -> jax.Array:
    q, k, v = (attention_part(x) for x in (q, k, v))
    if fused:
        # The fused kernel wants values as long as the keys.
        short = q.shape[-1] - v.shape[-1]
        padded = jnp.pad(v, ((0, 0), (0, 0), (0, 0), (0, short))) if short > 0 else v
        y = jax.nn.dot_product_attention(q, k, padded, bias=bias, mask=mask, scale=scale, implementation="cudnn")
        return y[..., : v.shape[-1]]
    if backend() == "cpu" and q.shape[1] * k.shape[1] >= _SCORES_PER_HEAD:
        return attention_part(_head_by_head(q, k, v, bias, mask, scale))
    # Heads before tokens: two plain batched matrix products on any backend.
    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))
    with jax.named_scope(FUSABLE if bias is None and mask is None and _cudnn_takes(q, v) else "attention"):
        y = _softmax_product(q, k, v, bias, mask, scale)
    return jnp.swapaxes(y, 1, 2)


LECUN_NORMAL = nnx.initializers.lecun_normal()


class SelfAttention(nnx.Module):
    """Multi-head self-attention over tokens `(B, N, D)`: fused projection `qkv`, attention, projection `proj`.

    The kernel of `qkv` is `(D, 3·D)`: all queries, then all keys, then all values, each by head. With
    `qkv_bias="qv"` queries and values have the biases `q_bias` and `v_bias` `(D,)` and keys none, as in BEiT and
    VideoMAE: a bias of the keys adds the same number to all scores of a query, which the softmax takes away again.

    Args:
      dim: D, features of a token, in and out.
      heads: number of heads; divides `dim`.
      qkv_bias: `"qv"`, `"qkv"` (one bias `qkv.bias` `(3·D,)`) or `"none"`.
      kernel_init: initialiser of both kernels; biases start at 0.
      dtype: what is computed in; None: float32. Parameters are float32.
      rngs: `params` draws the initial weights.

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
        """`(B, N, D)` → `(B, N, D)`.

        Args:
          x: the tokens.
          bias: as in `attention`.
          mask: as in `attention`.
          attend: what maps queries, keys and values `(B, N, heads, d)` to `(B, N, heads, d)` in the place of
            `attention`, such as a pattern of `nn/attention_patterns.py`; without bias and mask.

        Raises:
          ValueError: if `attend` comes with a bias or a mask.
        """
        if attend is not None and not (bias is None and mask is None):
            raise ValueError("attend takes neither bias nor mask: give it functions that know them")
        attend = attend or partial(attention, bias=bias, mask=mask)
        batch, tokens, dim = x.shape
        qkv = self.qkv(x)
        if self.q_bias is not None:
            joint = jnp.concatenate([self.q_bias[...], jnp.zeros(dim), self.v_bias[...]])
            qkv = qkv + joint.astype(qkv.dtype)[None, None]
        q, k, v = (x.reshape(batch, tokens, self.heads, dim // self.heads) for x in jnp.split(qkv, 3, axis=-1))
        return layer_result(self.proj(attend(q, k, v).reshape(batch, tokens, dim)))


def _softmax_product(
    q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array | None, mask: jax.Array | None, scale: float
) -> jax.Array:
    """Attention with tokens and features as the last two axes: `(…, N, d)`, `(…, M, d)`, `(…, M, e)` → `(…, N, e)`."""
    dtype = jnp.promote_types(q.dtype, jnp.float32)
    scores = jnp.einsum("...nd,...md->...nm", q, k, preferred_element_type=dtype) * scale
    if bias is not None:
        scores = scores + bias.astype(dtype)
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(dtype).min)
    # Dividing the (N, d) result instead of the (N, M) weights saves a pass over the largest array there is. The
    # maximum cancels out of the quotient, so it needs no gradient.
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
    # What the gradient of the quotient takes, of the size of the result.
    total = attention_part(weights.sum(axis=-1, keepdims=True))
    out = jnp.einsum("...nm,...md->...nd", weights.astype(v.dtype), v, preferred_element_type=dtype)
    out = attention_part(out)
    return (out / total).astype(q.dtype)


def _head_by_head(
    q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array | None, mask: jax.Array | None, scale: float
) -> jax.Array:
    """Attention as a loop over heads, whose scores stay in the cache and are recomputed in the backward pass.

    The batch stays inside the loop, so that a batch split over devices stays split.
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
        return _softmax_product(q, k, v, extras.get("bias"), extras.get("mask"), scale)

    return jnp.moveaxis(jax.lax.map(one_head, (tokens, per_head)), 0, 2)


def _cudnn_takes(q: jax.Array, v: jax.Array) -> bool:
    """Whether cuDNN's fused kernel takes inputs of this type and head dimensions."""
    return q.dtype in (jnp.bfloat16, jnp.float16) and q.shape[-1] % 8 == 0 and v.shape[-1] <= q.shape[-1] <= 128


def _cudnn_applies(q: jax.Array, v: jax.Array) -> bool:
    """Whether it does on the default backend."""
    if not _cudnn_takes(q, v) or backend() != "gpu":
        return False
    device = jax.local_devices()[0]
    # AMD's devices name an architecture such as "gfx90a" there.
    capability = str(getattr(device, "compute_capability", ""))
    return capability.replace(".", "").isdigit() and float(capability) >= 9.0


def _check_shapes(q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array | None, mask: jax.Array | None) -> None:
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
