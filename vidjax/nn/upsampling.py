"""Enlargement of maps: bilinear between the corners, and by learned means of neighbours."""

import jax
import jax.numpy as jnp


def interpolation(places: jax.Array, size: int) -> jax.Array:
    """Weights of linear interpolation between samples, of which there are none outside: those count as 0.

    Args:
      places: places among the samples 0, 1, …, float `(…, K)`.
      size: number of samples.

    Returns:
      `(…, K, size)`; at most two weights of a place are not 0.
    """
    samples = jnp.arange(size, dtype=places.dtype).reshape(*(1,) * places.ndim, size)
    return jnp.maximum(1 - jnp.abs(places[..., None] - samples), 0)


def upsampled(x: jax.Array, factor: int) -> jax.Array:
    """Enlarge a map bilinearly, its outermost places staying outermost (PyTorch's `align_corners=True`).

    Args:
      x: map, `(B, H, W, C)`.
      factor: number of rows and columns that one becomes.

    Returns:
      float32 `(B, factor · H, factor · W, C)`.
    """
    for axis, equation in ((1, "ph,bhwc->bpwc"), (2, "qw,bhwc->bhqc")):
        size = x.shape[axis]
        weights = interpolation(jnp.linspace(0, size - 1, factor * size, dtype=jnp.float32), size)
        x = jnp.einsum(equation, weights, x, precision=jax.lax.Precision.HIGHEST)
    return x


def convex_upsampled(x: jax.Array, scores: jax.Array, factor: int) -> jax.Array:
    """Enlarge a map by means of the 3 × 3 neighbours of each place, with weights for every new place.

    Args:
      x: map, `(B, H, W, C)`; its outside counts as 0.
      scores: logits of the weights, `(B, H, W, 9 · factor²)`: neighbour by neighbour in reading order, and of each the
        new places, row by row.
      factor: number of rows and columns that one becomes.

    Returns:
      float32 `(B, factor · H, factor · W, C)`.

    Source: Teed & Deng, RAFT (2003.12039), section 3.3.
    """
    count, height, width, channels = x.shape
    weights = jax.nn.softmax(scores.astype(jnp.float32).reshape(count, height, width, 9, factor, factor), axis=3)
    wide = jnp.pad(x.astype(jnp.float32), ((0, 0), (1, 1), (1, 1), (0, 0)))
    near = [wide[:, row : row + height, column : column + width] for row in range(3) for column in range(3)]
    highest = jax.lax.Precision.HIGHEST
    fine = jnp.einsum("bhwkpq,bhwkc->bhpwqc", weights, jnp.stack(near, axis=3), precision=highest)
    return fine.reshape(count, factor * height, factor * width, channels)
