"""Self-attention with queries, keys and values pooled on the space-time grid.

Pooled keys and values make attention over fine grids affordable; pooled queries make the grid coarser, as strides do in
a convolutional network. Tokens are `(B, 1 + T·H·W, …)`: a class token, which no pooling touches, then the grid in t, h,
w order.

Sources: Fan et al., "Multiscale vision transformers" (arXiv 2104.11227) and Li et al., "MViTv2" (arXiv 2112.01526), and
their code in facebookresearch/SlowFast, `models/attention.py`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.nn.attention import attention
from vidjax.nn.conv import conv3d
from vidjax.nn.formulations import out_size
from vidjax.nn.grids import Triple, triple_of
from vidjax.nn.init import normal_002
from vidjax.nn.norm import LAYER_NORM_EPSILON
from vidjax.nn.remat import layer_result
from vidjax.nn.target_backend import apart


def pooled_grid(grid: Triple, kernel: Triple, strides: Triple) -> Triple:
    """Grid of tokens after pooling with padding of half the kernel."""
    return triple_of(out_size(n + 2 * (k // 2), k, s) for n, k, s in zip(grid, kernel, strides, strict=True))


class TokenPool(nnx.Module):
    """Strided depthwise convolution over the grid of tokens, the same for every head, then layer norm of each head.

    `kernel` is `(kt, kh, kw, 1, d)`.

    Args:
      dim: d, features of a head.
      kernel_size: size (kt, kh, kw); the grid is zero-padded by half of it on each side.
      strides: strides along T, H, W.
      dtype: dtype of the computation; None: float32. Parameters are float32.
      rngs: random streams; `params` draws the initial kernel, normal with standard deviation 0.02.
    """

    def __init__(self, dim: int, kernel_size: Triple, strides: Triple, *, dtype: Any = None, rngs: nnx.Rngs):
        self.strides = triple_of(strides)
        self.kernel = nnx.Param(normal_002(rngs.params(), (*kernel_size, 1, dim), jnp.float32))
        self.norm = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, dtype=dtype, rngs=rngs)

    def grid(self, grid: Triple) -> Triple:
        """Tokens along T, H, W of the result, for an input of `grid`."""
        return pooled_grid(grid, triple_of(self.kernel.shape[:3]), self.strides)

    def __call__(self, x: jax.Array, grid: Triple) -> jax.Array:
        """Map `(B, 1 + T·H·W, heads, d)` to `(B, 1 + T'·H'·W', heads, d)`; the class token is only normalised."""
        batch, _, heads, dim = x.shape
        kernel = jnp.tile(self.kernel[...].astype(x.dtype), heads)
        y = conv3d(
            x[:, 1:].reshape(batch, *grid, heads * dim),
            kernel,
            strides=self.strides,
            padding=tuple(k // 2 for k in kernel.shape[:3]),
            groups=heads * dim,
        )
        y = layer_result(y)
        return self.norm(jnp.concatenate([x[:, :1], y.reshape(batch, -1, heads, dim)], axis=1))


def relative_offsets(queries: int, keys: int) -> np.ndarray:
    """Rows, int32 `(queries, keys)`, of a table of 2·max(queries, keys) - 1 relative positions along one axis.

    Both cover the same extent: the fewer are spaced further apart, and distances truncated to integers.
    """
    # In float32, as the reference before truncating.
    q_step, k_step = np.float32(max(keys / queries, 1)), np.float32(max(queries / keys, 1))
    distance = np.arange(queries, dtype=np.float32)[:, None] * q_step - np.arange(keys, dtype=np.float32) * k_step
    return (distance + np.float32(keys - 1) * k_step).astype(np.int32)


def relative_rows(table: jax.Array, queries: int, keys: int) -> jax.Array:
    """Learned vectors for all pairs, `(queries, keys, d)`, from a table `(rows, d)` of relative positions.

    A table for other sizes is interpolated linearly to 2·max(queries, keys) - 1 rows, with centres aligned as for
    resized images, as in the reference.
    """
    rows = 2 * max(queries, keys) - 1
    if table.shape[0] != rows:
        table = jax.image.resize(table, (rows, table.shape[1]), "linear", antialias=False)
    return table[relative_offsets(queries, keys)]


class PoolingAttention(nnx.Module):
    """Multi-head attention between pooled queries and pooled keys and values.

    With `relative`, a score has three further terms: the query times learned vectors for the key's distance along T, H
    and W, from three small tables instead of one of all offsets. With `residual` the pooled queries are added to the
    heads' results. Neither applies to the class token.

    Args:
      dim: input features.
      out: output features; heads have `out / heads`.
      heads: number of heads; divides `out`.
      kernel_q: pooling kernel (kt, kh, kw) of the queries; None: no pooling.
      stride_q: strides of `kernel_q`.
      kernel_kv: pooling kernel of keys and of values; None: no pooling.
      stride_kv: strides of `kernel_kv`.
      relative: grid (T, H, W) of tokens before pooling that the tables of relative positions are made for; for others
        they are interpolated. None: no relative positions.
      residual: whether to add the pooled queries.
      dtype: dtype of the computation; None: float32. Parameters are float32.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if `heads` does not divide `out`.
    """

    pool_q: TokenPool | None
    pool_k: TokenPool | None
    pool_v: TokenPool | None
    relative_t: nnx.Param | None
    relative_h: nnx.Param | None
    relative_w: nnx.Param | None

    def __init__(
        self,
        dim: int,
        out: int,
        heads: int,
        *,
        kernel_q: Triple | None,
        stride_q: Triple,
        kernel_kv: Triple | None,
        stride_kv: Triple,
        relative: Triple | None,
        residual: bool,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        if out % heads:
            raise ValueError(f"heads = {heads} does not divide the attention's features = {out}")
        self.heads = heads
        self.residual = residual
        head_dim = out // heads
        self.qkv = nnx.Linear(dim, 3 * out, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.proj = nnx.Linear(out, out, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        kernels = {"pool_q": (kernel_q, stride_q), "pool_k": (kernel_kv, stride_kv), "pool_v": (kernel_kv, stride_kv)}
        for name, (kernel, strides) in kernels.items():
            setattr(
                self, name, None if kernel is None else TokenPool(head_dim, kernel, strides, dtype=dtype, rngs=rngs)
            )
        self.relative_t = self.relative_h = self.relative_w = nnx.data(None)
        if relative is not None:
            # The reference rounds table sizes down, and uses the longer side for both axes of space.
            side = max(relative[1:])
            side = 2 * max(side // stride_q[1], side // stride_kv[1]) - 1
            for name, rows in (("t", 2 * relative[0] - 1), ("h", side), ("w", side)):
                table = normal_002(rngs.params(), (rows, head_dim), jnp.float32)
                setattr(self, f"relative_{name}", nnx.Param(table))

    def grid(self, grid: Triple) -> Triple:
        """Tokens along T, H, W of the result, for an input of `grid`."""
        return grid if self.pool_q is None else self.pool_q.grid(grid)

    def __call__(self, x: jax.Array, grid: Triple) -> jax.Array:
        """Map tokens `(B, 1 + T·H·W, dim)` of `grid` to `(B, 1 + T'·H'·W', out)`."""
        batch, tokens, _ = x.shape
        qkv = layer_result(self.qkv(x)).reshape(batch, tokens, 3, self.heads, -1)
        q, k, v = (qkv[:, :, i] for i in range(3))
        q = q if self.pool_q is None else self.pool_q(q, grid)
        k = k if self.pool_k is None else self.pool_k(k, grid)
        v = v if self.pool_v is None else self.pool_v(v, grid)
        scale = q.shape[-1] ** -0.5
        if self.relative_t is None:
            y = attention(q, k, v, scale=scale)
        else:
            q_grid, k_grid = self.grid(grid), grid if self.pool_k is None else self.pool_k.grid(grid)
            # The three terms as further features: a query's are its terms for every offset, a key's select its own
            # offsets. This needs no array of the size of the scores.
            terms, places = self._terms(q, q_grid, k_grid), _places(k_grid)
            spare = -(q.shape[-1] + places.shape[-1]) % 8  # fused kernels need multiples of 8
            terms = jnp.pad(terms, ((0, 0), (1, 0), (0, 0), (0, spare)))
            places = jnp.asarray(np.pad(places, ((1, 0), (0, spare))), k.dtype)
            places = jnp.broadcast_to(places[None, :, None], (*k.shape[:3], places.shape[-1]))
            y = attention(
                jnp.concatenate([q * scale, terms], axis=-1), jnp.concatenate([k, places], axis=-1), v, scale=1.0
            )
        if self.residual:
            y = jnp.concatenate([y[:, :1], y[:, 1:] + q[:, 1:]], axis=1)
        return layer_result(self.proj(y.reshape(batch, y.shape[1], -1)))

    def _terms(self, q: jax.Array, q_grid: Triple, k_grid: Triple) -> jax.Array:
        """Map `(B, 1 + N, heads, d)` to `(B, N, heads, kT + kH + kW)`, queries times the vectors of all offsets."""
        batch, _, heads, dim = q.shape
        q = apart(q[:, 1:].reshape(batch, *q_grid, heads, dim))
        tables = [table for table in (self.relative_t, self.relative_h, self.relative_w) if table is not None]
        rows = [
            relative_rows(table[...], queries, keys).astype(q.dtype)
            for table, queries, keys in zip(tables, q_grid, k_grid, strict=True)
        ]
        terms = [apart(jnp.einsum(f"bthwnc,{axis}kc->bthwnk", q, r)) for axis, r in zip("thw", rows, strict=True)]
        return jnp.concatenate(terms, axis=-1).reshape(batch, -1, heads, sum(k_grid))


def _places(grid: Triple) -> np.ndarray:
    """One-hot positions, float32 `(T·H·W, T + H + W)`: ones at a token's t, h and w."""
    index = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij")).reshape(3, -1)
    return np.concatenate([np.eye(n, dtype=np.float32)[i] for n, i in zip(grid, index, strict=True)], axis=-1)
