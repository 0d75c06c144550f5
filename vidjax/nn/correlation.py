"""Correlation of every place of one map with every place of another, and its lookup around moving centres.

Source: Teed & Deng, RAFT (2003.12039), section 3.2.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from vidjax.nn.target_backend import backend
from vidjax.nn.upsampling import interpolation

LOOKUPS = ("products", "slices")


def correlation_pyramid(first: jax.Array, second: jax.Array, levels: int) -> list[jax.Array]:
    """Correlate all pairs of places of two maps, the second at several scales.

    Args:
      first: map of the first picture, `(B, H, W, C)`.
      second: map of the second one, of the same shape.
      levels: number of scales; each has half as many rows and columns as the one before, means of 2 × 2 places.

    Returns:
      For each scale float32 `(B, H·W, H', W')`: scalar products divided by √C.

    Raises:
      ValueError: if a scale has no places.
    """
    if min(second.shape[1:3]) < 2 ** (levels - 1):
        raise ValueError(f"maps of {second.shape[1]}×{second.shape[2]} places cannot be halved {levels - 1} times")
    count, height, width, features = first.shape
    queries = first.reshape(count, height * width, features) / math.sqrt(features)
    pyramid = []
    for level in range(levels):
        # The mean of products is the product with the mean.
        second = halved(second) if level else second
        keys = second.reshape(count, -1, features)
        products = jnp.einsum("bnc,bmc->bnm", queries, keys, preferred_element_type=jnp.float32)
        pyramid.append(products.reshape(count, height * width, *second.shape[1:3]))
    return pyramid


def halved(x: jax.Array) -> jax.Array:
    """Means of 2 × 2 places of a map, `(B, H, W, C)` → `(B, H // 2, W // 2, C)`."""
    height, width = x.shape[1] // 2, x.shape[2] // 2
    x = x[:, : 2 * height, : 2 * width].reshape(x.shape[0], height, 2, width, 2, x.shape[3])
    return x.mean((2, 4))


def correlation_lookup(
    pyramid: Sequence[jax.Array], radius: int, form: str | None = None
) -> Callable[[jax.Array], jax.Array]:
    """Make the function that reads correlation around each place's centre, bilinearly, 0 outside of the second map.

    Args:
      pyramid: result of `correlation_pyramid`.
      radius: r; a window has 2·r + 1 columns and rows, at distances of one place of its scale.
      form: "products" with interpolation weights, of which two in a row are not 0: matrix units run them, and their
        gradients are products too; or "slices", cut out of maps with a margin of zeros, which a CPU does faster. None:
        slices on a CPU, products elsewhere.

    Returns:
      Function of the centres, x and y in columns and rows of the second map at its first scale, `(B, H, W, 2)`. It
      gives float32 `(B, H, W, levels · (2·r + 1)²)`: scale by scale, in a window column by column (x moves slowest).

    Raises:
      ValueError: for an unknown form.
    """
    if form is None:
        form = "slices" if backend() == "cpu" else "products"
    if form not in LOOKUPS:
        raise ValueError(f"form = {form!r}: must be one of {', '.join(LOOKUPS)}")
    margin = 2 * radius + 2
    if form == "slices":
        edges = ((0, 0), (0, 0), (margin, margin), (margin, margin))
        pyramid = [jnp.pad(correlation, edges) for correlation in pyramid]

    def look_up(centres: jax.Array) -> jax.Array:
        count, height, width, _ = centres.shape
        centres = centres.reshape(count, height * width, 2).astype(jnp.float32)
        read = _products if form == "products" else _slices
        windows = [read(correlation, centres / 2**level, radius) for level, correlation in enumerate(pyramid)]
        return jnp.concatenate([window.reshape(count, height, width, -1) for window in windows], axis=-1)

    return look_up


def _products(correlation: jax.Array, centres: jax.Array, radius: int) -> jax.Array:
    """Windows `(B, N, x, y)` of one scale `(B, N, H, W)` around centres `(B, N, 2)`, by products."""
    steps = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    places = centres[..., None] + steps[None, None, None]
    across = interpolation(places[:, :, 0], correlation.shape[3])
    down = interpolation(places[:, :, 1], correlation.shape[2])
    rows = jnp.einsum("bnhw,bniw->bnih", correlation, across)
    return jnp.einsum("bnih,bnjh->bnij", rows, down)


def _slices(padded: jax.Array, centres: jax.Array, radius: int) -> jax.Array:
    """The same from a scale with a margin of 2·r + 2 zeros: all places of a window lie equally between samples."""
    count, places, height, width = padded.shape
    margin = 2 * radius + 2
    low = jnp.floor(centres)
    x, y = jnp.moveaxis((centres - low).reshape(-1, 2), 1, 0)[:, :, None, None]
    most = jnp.asarray([width - margin, height - margin], jnp.int32)
    start = jnp.clip(low.astype(jnp.int32) - radius + margin, 0, most[None, None]).reshape(-1, 2)

    def cut(correlation: jax.Array, start: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(correlation, (start[1], start[0]), (margin, margin))

    window = jax.vmap(cut)(padded.reshape(-1, height, width), start)
    window = window[:, :-1] * (1 - y) + window[:, 1:] * y
    window = window[:, :, :-1] * (1 - x) + window[:, :, 1:] * x
    return window.swapaxes(1, 2).reshape(count, places, margin - 1, margin - 1)
