"""Kernels under a mesh: each device runs them on its own part of the batch, and of the heads.

A compiler that splits a program over devices cannot look into a kernel, and would gather its operands first. So the
split is written down: in the context `kernels_on(layout)`, which the training step and the evaluation open.
"""

import contextlib
import math
from collections.abc import Callable, Generator, Sequence

import jax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

# A context of JAX's own: what was traced for one layout is not taken from the cache for another.
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
    """`attend(q, k, v, *others)`, every device with its own part of `(B, N, heads·d)`.

    The heads are split over the axis for them; where that does not divide their number, the queries are, and keys and
    values are copied; where it does not divide those either, the devices of that axis do the same work. A batch that
    cannot be split evenly is worked on whole by all.

    Copies of keys and values are not free, so split the heads where you can. An example, compiled for v5e:2x4 and not
    timed: VideoMAE-S, 1568 tokens, 6 heads on 4 devices, 16 clips for these, `config.mesh.tokens`. Keys and values are
    gathered in 1.7 ms and their gradients summed in 3.6 ms of an update of 37 ms, at the full bandwidth of the links:
    14 %. Gathering them inside of the split, so that gradients could be scattered, changes nothing there: XLA makes it
    one sum again.

    Args:
      attend: maps such arrays, the whole or a part, to one as `q`.
      q: queries, `(B, N, heads·d)`.
      k: keys.
      v: values.
      heads: number of heads, with features one after another in the last axis.
      in_order: whether a query's place counts, so that queries are never split.
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
        check_vma=False,  # it cannot look into a kernel either
    )
    return split(q, k, v, *arrays)
