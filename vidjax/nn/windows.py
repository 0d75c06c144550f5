"""Self-attention within space-time windows, shifted by half a window in every second block.

With windows of n tokens, N tokens cost N·n scores instead of N². Tokens outside a window reach it two blocks later:
in between, the windows' borders are elsewhere. A shifted window beyond the far end of an axis is completed with tokens
from the near end (a cyclic roll); a mask keeps the two apart.

Source: Liu et al., "Video Swin Transformer" (arXiv 2106.13230), and its code, followed in every rule: `fit_window` and
`relative_index` have those that the paper does not mention.
"""

from functools import lru_cache
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx

from vidjax.nn.attention import attention, three_products
from vidjax.nn.grids import Triple, triple_of
from vidjax.nn.init import normal_002
from vidjax.nn.remat import layer_result
from vidjax.nn.target_backend import apart, backend

ArrayT = TypeVar("ArrayT", jax.Array, np.ndarray)


def fit_window(sizes: Triple, window: Triple, shift: Triple) -> tuple[Triple, Triple]:
    """Fit `(window, shift)` to a grid of `sizes`: along an axis no longer than the window, the window is the axis and
    the shift 0.

    Args:
      sizes: tokens along T, H, W.
      window: tokens of a window along T, H, W.
      shift: shift in tokens along T, H, W.
    """
    fits = [n > w for n, w in zip(sizes, window, strict=True)]
    return (
        triple_of(w if fit else n for fit, w, n in zip(fits, window, sizes, strict=True)),
        triple_of(s if fit else 0 for fit, s in zip(fits, shift, strict=True)),
    )


def partition(x: ArrayT, window: Triple) -> ArrayT:
    """Cut `(B, T, H, W, C)` into `(B·windows, N, C)`, N tokens in t, h, w order; the window divides the sizes."""
    t, h, w = window
    return rearrange(x, "b (nt t) (nh h) (nw w) c -> (b nt nh nw) (t h w) c", t=t, h=h, w=w)


def merge(windows: jax.Array, window: Triple, sizes: Triple) -> jax.Array:
    """Join `(B·windows, N, C)` to `(B, T, H, W, C)`, the inverse of `partition`."""
    (t, h, w), (nt, nh, nw) = window, (n // w for n, w in zip(sizes, window, strict=True))
    return rearrange(windows, "(b nt nh nw) (t h w) c -> b (nt t) (nh h) (nw w) c", t=t, h=h, w=w, nt=nt, nh=nh, nw=nw)


@lru_cache(maxsize=32)
def regions(sizes: Triple, window: Triple, shift: Triple) -> np.ndarray:
    """Regions, int32 `(windows, N)`: after the roll by `-shift`, tokens of a window see those of their region.

    Along each shifted axis the last window holds the far end of the grid and, rolled behind it, the near end.
    Read-only: it is cached.
    """
    axes = []
    for n, w, s in zip(sizes, window, shift, strict=True):
        axis = np.zeros(n, np.int32)
        if s:
            axis[n - w : n - s], axis[n - s :] = 1, 2
        axes.append(axis)
    t, h, w = axes
    ids = t[:, None, None] * 9 + h[None, :, None] * 3 + w[None, None, :]
    ids = np.asarray(partition(ids[None, ..., None], window)[..., 0])
    ids.flags.writeable = False
    return ids


@lru_cache(maxsize=8)
def relative_index(window: Triple) -> np.ndarray:
    """Rows of the bias table, int32 `(N, N)`, for each query and key, by their distance along t, h and w.

    A smaller window uses the upper left part, `[:n, :n]`, as in all reference codes. Shrunk in time, those are the
    right offsets; shrunk in height or width, they are offsets of other pairs, but those of the published networks.
    Read-only: it is cached.
    """
    tokens = np.stack(np.meshgrid(*map(np.arange, window), indexing="ij")).reshape(3, -1)
    offset = tokens[:, :, None] - tokens[:, None, :] + np.array(window)[:, None, None] - 1
    _, height, width = (2 * w - 1 for w in window)
    index = ((offset[0] * height + offset[1]) * width + offset[2]).astype(np.int32)
    index.flags.writeable = False
    return index


class WindowAttention(nnx.Module):
    """Multi-head self-attention of `(B, T, H, W, C)` within windows, with a learned bias per relative position.

    Grids that the window does not divide are zero-padded at the far ends; padding is seen like other tokens, as in the
    reference.

    Args:
      dim: C, input and output features.
      heads: number of heads; divides `dim`.
      window: tokens along T, H, W of a window; shrinks to fit smaller grids (`fit_window`).
      shift: shift of the windows in tokens along T, H, W; less than the window.
      kernel_init: initialiser of both kernels; biases start at 0.
      dtype: dtype of the computation; None: float32. Parameters are float32.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if `heads` does not divide `dim`, or the shift is not less than the window.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        window: Triple,
        shift: Triple = (0, 0, 0),
        kernel_init: nnx.Initializer = normal_002,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        if dim % heads:
            raise ValueError(f"heads = {heads} does not divide dim = {dim}")
        if any(not 0 <= s < w for s, w in zip(shift, window, strict=True)):
            raise ValueError(f"shift = {shift}: must lie in 0 ≤ shift < window = {window} along each axis")
        self.heads = heads
        self.window = triple_of(window)
        self.shift = triple_of(shift)
        self.qkv = nnx.Linear(dim, 3 * dim, kernel_init=kernel_init, dtype=dtype, rngs=rngs)
        self.proj = nnx.Linear(dim, dim, kernel_init=kernel_init, dtype=dtype, rngs=rngs)
        rows = int(np.prod([2 * w - 1 for w in window]))
        self.relative_bias = nnx.Param(normal_002(rngs.params(), (rows, heads), jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `(B, T, H, W, C)` to `(B, T, H, W, C)`."""
        sizes = triple_of(x.shape[1:4])
        window, shift = fit_window(sizes, self.window, self.shift)
        full = triple_of(-(-n // w) * w for n, w in zip(sizes, window, strict=True))
        if full != sizes:
            x = jnp.pad(x, ((0, 0), *((0, m - n) for n, m in zip(sizes, full, strict=True)), (0, 0)))
        if any(shift):
            x = jnp.roll(x, [-s for s in shift], axis=(1, 2, 3))
        x = merge(self._attend(partition(x, window), full, window, shift), window, full)
        if any(shift):
            x = jnp.roll(x, shift, axis=(1, 2, 3))
        return x[:, : sizes[0], : sizes[1], : sizes[2]]

    def _attend(self, x: jax.Array, sizes: Triple, window: Triple, shift: Triple) -> jax.Array:
        """Map `(B·windows, N, C)` to `(B·windows, N, C)`."""
        count, tokens, dim = x.shape
        if backend() == "tpu":
            q, k, v = (y.reshape(count, tokens, self.heads, -1) for y in three_products(x, self.qkv))
        else:
            qkv = apart(self.qkv(apart(x))).reshape(count, tokens, 3, self.heads, dim // self.heads)
            q, k, v = (qkv[:, :, i] for i in range(3))
        index = relative_index(self.window)[:tokens, :tokens]
        bias = jnp.moveaxis(self.relative_bias[...][index], 2, 0)[None]
        ids = None
        if any(shift):
            ids = (jnp.asarray(regions(sizes, window, shift)),) * 2
        y = attention(q, k, v, bias=bias, ids=ids).reshape(count, tokens, dim)
        return apart(layer_result(self.proj(y)))
