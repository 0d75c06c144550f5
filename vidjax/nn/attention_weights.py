"""Recording of attention's weights, which the fast formulations never hold, while a network runs."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import jax
import jax.numpy as jnp

_RECORD: ContextVar[list[jax.Array] | None] = ContextVar("attention weights", default=None)


@contextlib.contextmanager
def recorded_weights() -> Iterator[list[jax.Array]]:
    """Context that yields a list, to which each call of `vidjax.nn.attention.attention` adds its weights.

    Weights are float32 `(B, N, M)`, the mean over heads: what each of N queries takes of M keys; rows sum to one. Use
    it inside the function that is traced, with blocks that run one by one (`vidjax.nn.remat.straight`).
    """
    found: list[jax.Array] = []
    token = _RECORD.set(found)
    try:
        yield found
    finally:
        _RECORD.reset(token)


def record(
    q: jax.Array,
    k: jax.Array,
    scale: float,
    cap: float,
    bias: jax.Array | None,
    mask: Callable[[], jax.Array | None],
) -> None:
    """Add the weights of a call to the list of the context, if there is one.

    Args:
      q: queries `(B, N, heads, d)`.
      k: keys `(B, M, heads, d)`.
      scale: factor of the scores.
      cap: bound of the scores, as for `attention`; 0: none.
      bias: added to the scores, broadcast to `(B, heads, N, M)`.
      mask: function that returns where attention is allowed, likewise; None: everywhere.
    """
    found = _RECORD.get()
    if found is None:
        return
    scores = scale * jnp.einsum("bnhd,bmhd->bhnm", q.astype(jnp.float32), k.astype(jnp.float32))
    if cap:
        scores = cap * jnp.tanh(scores / cap)
    if bias is not None:
        scores += bias
    if (allowed := mask()) is not None:
        scores = jnp.where(allowed, scores, -jnp.inf)
    found.append(jax.nn.softmax(scores, axis=-1).mean(axis=1))
