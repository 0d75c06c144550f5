"""Sharding of a clip's tokens over devices, for clips too long for one.

Between attention layers tokens are independent: norms, MLPs and residual sums need no others. So they may be on
different devices, with their activations for the backward pass. Attention needs all tokens, but one head at a
time: there the heads are distributed instead, and XLA moves tokens back and forth; where devices do not divide the
heads, keys and values go around. With dense layers split over the
same devices this is the sequence parallelism of Korthikanti et al., "Reducing activation recomputation in
large Transformer models" (arXiv 2205.05198).
"""

import contextlib
from collections.abc import Callable, Generator

import jax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

# `(sharding of (B, N, …), axis of the mesh that splits N)`. JAX's own kind of context: its cache keeps
# the traces for different layouts apart.
_layout = jax.make_user_context(default_value=None)


_LEAST = 64  # tokens of a device from which keys travel


@contextlib.contextmanager
def splitting_tokens(layout: NamedSharding) -> Generator[None, None, None]:
    """Context in which traced code shards tokens `(B, N, …)` by `layout`.

    Args:
      layout: sharding with a spec that names the mesh axes of the batch, then the one axis of the tokens.
    """
    with _layout(layout):
        yield


def ring_layout(q: jax.Array, k: jax.Array) -> NamedSharding | None:
    """Sharding of the tokens, if attention of `q` and `k` `(B, N, heads, d)` is better a ring (`nn/ring_attention.py`).

    It is where the devices divide both numbers of tokens, but not the heads, so that each would need all keys. Other
    numbers of tokens, such as with a class token, stay with `split_attention` and `kernel_mesh.own_part`, and so do
    fewer than `_LEAST` tokens of a device, as all keys are little then.
    """
    layout = _layout.value
    if layout is None:
        return None
    size = layout.mesh.shape[layout.spec[1]]
    lengths = q.shape[1], k.shape[1]
    few = min(lengths) // size < _LEAST or any(n % size for n in lengths)
    return None if few or q.shape[2] % size == 0 else layout


def split_tokens(x: jax.Array) -> jax.Array:
    """Shard the second axis of `(B, N, D)` or `(B, T, H, W, D)`; outside of `splitting_tokens`, do nothing."""
    return x if _layout.value is None else jax.lax.with_sharding_constraint(x, _layout.value)


def split_attention(
    attend: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    fused: bool,
) -> jax.Array:
    """Run `attend(q, k, v)` on `(B, N, heads, d)` with the heads of inputs and result split.

    If they do not divide evenly (and there is no ring, see `ring_layout`), the queries are split and keys and values
    copied; for a fused kernel, which does not support that, all are copied. Outside of `splitting_tokens` no sharding
    is set.
    """
    layout = _layout.value
    if layout is None:
        return attend(q, k, v)
    batch, axis = layout.spec
    if q.shape[2] % layout.mesh.shape[axis] == 0:
        queries = keys = P(batch, None, axis)
    else:
        queries, keys = P(batch) if fused else layout.spec, P(batch)

    def lay(x: jax.Array, spec: P) -> jax.Array:
        return jax.lax.with_sharding_constraint(x, NamedSharding(layout.mesh, spec))

    # With the result's layout left open, XLA would move the scores to the tokens' layout.
    return lay(attend(lay(q, queries), lay(k, keys), lay(v, keys)), queries)
