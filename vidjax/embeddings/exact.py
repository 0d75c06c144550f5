"""Exact search by cosine similarity, in blocks of vectors on the device."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

_BLOCK = 1 << 16  # vectors compared at a time
_QUERIES = 64  # queries compared at a time


@dataclass(frozen=True, eq=False)
class Hits:
    """The most similar vectors of each of Q queries, best first."""

    rows: np.ndarray  # int64 (Q, k), numbers of the vectors
    scores: np.ndarray  # float32 (Q, k), cosines


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors `(…, D)` to length 1, float32; those of length 0 stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def exact_search(vectors: np.ndarray, queries: np.ndarray, top: int, block: int = _BLOCK) -> Hits:
    """Find the vectors with the highest cosine for each query; of equal ones, the first.

    Args:
      vectors: N vectors, `(N, D)`, of any length.
      queries: Q queries, `(Q, D)`.
      top: k, number of vectors to find for each query; at most N are found.
      block: vectors compared at a time, which bounds the device's memory.
    """
    count, top = len(vectors), min(top, len(vectors))
    block = min(block, 1 << max(count - 1, 1).bit_length())
    found = [_of_queries(vectors, queries[i : i + _QUERIES], top, block) for i in range(0, len(queries), _QUERIES)]
    if not found:
        return Hits(np.empty((0, top), np.int64), np.empty((0, top), np.float32))
    return Hits(*(np.concatenate(each) for each in zip(*found, strict=True)))


def _of_queries(vectors: np.ndarray, queries: np.ndarray, top: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    size = min(_QUERIES, 1 << max(len(queries) - 1, 0).bit_length())
    padded = np.zeros((size, queries.shape[1]), np.float32)
    padded[: len(queries)] = unit(queries)
    asked = jnp.asarray(padded)
    rows, scores = [], []
    for start in range(0, len(vectors), block):
        part = vectors[start : start + block]
        valid = len(part)
        if valid < block:
            part = np.concatenate([part, np.zeros((block - valid, part.shape[1]), part.dtype)])
        score, row = _best(asked, jnp.asarray(part, jnp.float32), valid, min(top, block))
        scores.append(np.asarray(score)[: len(queries)])
        rows.append(np.asarray(row)[: len(queries)].astype(np.int64) + start)
    row, score = np.concatenate(rows, axis=1), np.concatenate(scores, axis=1)
    order = np.argsort(-score, axis=1, kind="stable")[:, :top]
    return np.take_along_axis(row, order, axis=1), np.take_along_axis(score, order, axis=1)


@functools.partial(jax.jit, static_argnames="top")
def _best(queries: jax.Array, block: jax.Array, valid: jax.Array, top: int) -> tuple[jax.Array, jax.Array]:
    lengths = jnp.sqrt(jnp.sum(block * block, axis=1))
    cosines = jnp.matmul(queries, block.T, precision=jax.lax.Precision.HIGHEST)
    cosines = cosines / jnp.where(lengths > 0, lengths, 1)[None]
    cosines = jnp.where((jnp.arange(len(block)) < valid)[None], cosines, -jnp.inf)
    return jax.lax.top_k(cosines, top)
