"""Kernels under a mesh: each device runs them on its own part of the batch, and of the heads.

A compiler that splits a program over devices cannot look into a kernel, and would gather its operands first. So the
split is made explicit, in the context `kernels_on(layout)` that training step and evaluation open.
"""

import contextlib
import math
from collections.abc import Callable, Generator, Sequence

import jax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

# JAX's own kind of context: its cache keeps the traces for different layouts apart.
_layout = jax.make_user_context(default_value=None)


@contextlib.contextmanager
def kernels_on(layout: NamedSharding) -> Generator[None, None, None]:
    """Context in which traced kernels run on the devices of a mesh, each on its part.

    Args:
      layout: sharding with a spec that names the mesh axes of the batch, then the one axis of the heads.
    """
    with _layout(layout):
        yield


def own_part(
    attend: Callable[..., jax.Array],
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    heads: int,
    others: Sequence[tuple[jax.Array | None, Sequence[str]]] = (),
    *,
    in_order: bool = False,
) -> jax.Array:
    """Run `attend(q, k, v, *others)`, each device on its part of `(B, N, heads·d)`.

    The heads are split over their axis; where it does not divide them, the queries are split, and keys and values
    copied; where it divides neither, the devices of that axis do the same work. A batch that cannot be split evenly is
    processed whole by all.

    Copies of keys and values are not free, so split the heads where you can. An example, compiled for v5e:2x4 and not
    timed: VideoMAE-S, 1568 tokens, 6 heads on 4 devices, 16 clips on them, tokens split over them. Keys and values are
    gathered in 1.7 ms and their gradients summed in 3.6 ms of an update of 37 ms, at the full bandwidth of the links:
    14 %. Gathering them inside the split, so that gradients could be scattered, changes nothing there: XLA makes it
    one sum again. Such tokens take `nn/ring_attention.py` now, except where that does not apply: numbers of tokens that
    the devices do not divide or that are small, a bias, causal attention, masks per pair.

    Args:
      attend: function of such arrays, or parts of them, to one as `q`.
      q: queries, `(B, N, heads·d)`.
      k: keys, `(B, M, heads·d)`.
      v: values, `(B, M, heads·e)`.
      heads: number of heads, one after another in the last axis.
      in_order: whether positions of queries matter, so that queries are never split.
      others: further arrays, or None, each with the kinds of its axes: "batch", "heads", "queries", or "" for any
        other.

    Returns:
      `(B, N, heads·e)`.
    """
    layout, arrays = _layout.value, [x for x, _ in others]
    if layout is None or layout.mesh.size == 1:
        return attend(q, k, v, *arrays)
    mesh, (batch, axis) = layout.mesh, layout.spec
    size = mesh.shape[axis]
    by_heads, by_queries = heads % size == 0, q.shape[1] % size == 0 and not in_order
    places = {
        "batch": None if q.shape[0] % math.prod(mesh.shape[name] for name in batch) else batch,
        "heads": axis if by_heads else None,
        "queries": axis if by_queries and not by_heads else None,
    }

    def spec(x: jax.Array | None, axes: Sequence[str]) -> P | None:
        if x is None:
            return None
        return P(*(None if n == 1 else places.get(name) for n, name in zip(x.shape, axes, strict=True)))

    queries, keys = ("batch", "queries", "heads"), ("batch", "", "heads")
    split = jax.shard_map(
        attend,
        mesh=mesh,
        in_specs=(spec(q, queries), spec(k, keys), spec(v, keys), *(spec(x, axes) for x, axes in others)),
        out_specs=spec(q, queries),
        check_vma=False,  # the check cannot look into a kernel
    )
    return split(q, k, v, *arrays)
