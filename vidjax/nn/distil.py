"""Losses that compare a network with another one that has learned the same classes: its teacher."""

import jax
import jax.numpy as jnp
import numpy as np

from vidjax.nn.grids import Grid


def softened_divergence(logits: jax.Array, teacher: jax.Array, temperature: float, several: bool = False) -> jax.Array:
    """Divergence of a network's probabilities from its teacher's, both softened, float32 `(B,)`.

    It is multiplied by the square of the temperature, so that its gradient is as large as that of a loss of labels.
    Source: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (arXiv 1503.02531).

    Args:
      logits: the network's logits `(B, K)`.
      teacher: the teacher's logits `(B, K)`.
      temperature: divisor of both.
      several: whether a clip may have several classes: sigmoid, mean over the classes; otherwise softmax.
    """
    own, other = (x.astype(jnp.float32) / temperature for x in (logits, jax.lax.stop_gradient(teacher)))
    if several:
        yes, no = jax.nn.log_sigmoid(other), jax.nn.log_sigmoid(-other)
        gain = jnp.exp(yes) * (yes - jax.nn.log_sigmoid(own)) + jnp.exp(no) * (no - jax.nn.log_sigmoid(-own))
        found = gain.mean(axis=-1)
    else:
        known = jax.nn.log_softmax(other)
        found = (jnp.exp(known) * (known - jax.nn.log_softmax(own))).sum(axis=-1)
    return jnp.square(temperature) * found


def likeness_difference(tokens: jax.Array, grid: Grid, teacher: jax.Array, teacher_grid: Grid) -> jax.Array:
    """Difference between two networks in how alike the places of a clip are to each other, float32 `(B,)`.

    Tokens of both are averaged to the coarser grid along each axis. The cosines of all pairs of a clip's tokens do not
    depend on the tokens' width, so that no layer has to be learned between the networks. The difference is the mean
    square over the pairs. After Tung and Mori, "Similarity-preserving knowledge distillation" (arXiv 1907.09682), who
    compare the clips of a batch.

    Args:
      tokens: the network's tokens `(B, N, D)`; those before the last t·h·w, for the whole clip, are left out.
      grid: t, h and w, their number along each axis.
      teacher: the teacher's tokens `(B, N', D')`.
      teacher_grid: their number along each axis.
    """
    common = tuple(min(pair) for pair in zip(grid, teacher_grid, strict=True))
    teacher = jax.lax.stop_gradient(teacher)
    own, other = (_cosines(x, g, common) for x, g in ((tokens, grid), (teacher, teacher_grid)))
    return jnp.square(own - other).mean(axis=(1, 2))


def _cosines(tokens: jax.Array, grid: Grid, common: tuple[int, ...]) -> jax.Array:
    batch, count, width = tokens.shape
    places = grid[0] * grid[1] * grid[2]
    x = tokens[:, count - places :].astype(jnp.float32).reshape(batch, *grid, width)
    for axis, (old, new) in enumerate(zip(grid, common, strict=True), start=1):
        if old != new:
            x = jnp.moveaxis(jnp.tensordot(_overlaps(old, new), x, axes=(1, axis)), 0, axis)
    x = x.reshape(batch, -1, width)
    x = x / jnp.sqrt(jnp.maximum(jnp.square(x).sum(axis=-1, keepdims=True), 1e-12))
    return jnp.einsum("bnd,bmd->bnm", x, x)


def _overlaps(old: int, new: int) -> np.ndarray:
    """Weights, float32 `(new, old)`, of the mean of the old places over each of fewer new ones."""
    edges, places = np.arange(new + 1) * old / new, np.arange(old)
    shared = np.minimum(edges[1:, None], places + 1) - np.maximum(edges[:-1, None], places)
    return (np.maximum(shared, 0) * new / old).astype(np.float32)
