"""Features of every segment of a sequence at once: samples along each, weighed and summed.

A segment is given by its duration and start, two axes of a map. Its samples lie evenly from half of its length before
it to half of its length after it; a sample between two places takes a share of both.

Source: "BMN" (arXiv 1907.09702), and `BMN` of `mmaction/models/localizers/bmn.py` in open-mmlab/mmaction2.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.nn.init import uniform_fan_in


class Samples(NamedTuple):
    """Places that the samples of all segments within a sequence take, `(cells, samples, parts, 2)`.

    The cells are the segments by duration, then start. A sample is the mean of its parts, each of two places.

    Attributes:
      place: numbers of the places, int32.
      share: weights of the places, float64; 0 where a place is outside of the sequence.
    """

    place: np.ndarray
    share: np.ndarray


def cells_of(steps: int) -> np.ndarray:
    """Durations and starts of the segments within a sequence, int64 `(cells, 2)`, by duration, then start.

    Segment (d, s) reaches from place s to place s + d, which is within the sequence.
    """
    return np.argwhere(np.arange(steps)[:, None] + np.arange(steps)[None] < steps)


@lru_cache(maxsize=4)
def sample_places(steps: int, samples: int = 32, parts: int = 3, margin: float = 0.5) -> Samples:
    """Places of the samples of all segments.

    Args:
      steps: T, places of the sequence.
      samples: samples of a segment.
      parts: positions whose mean is one sample.
      margin: share of a segment's length by which the samples reach beyond it on both sides.
    """
    duration, start = cells_of(steps).T.astype(np.float64)
    first, last = start - (duration + 1) * margin, start + duration + (duration + 1) * margin
    step = (last - first) / (samples * parts - 1.0)
    at = first[:, None] + step[:, None] * np.arange(samples * parts)
    # A position before the first place counts for it whole, as the fraction is negative there.
    fraction, whole = np.modf(at)
    place = np.stack([whole, np.ceil(at)], axis=-1)
    share = np.stack([1 - fraction, fraction], axis=-1)
    share = np.where((place >= 0) & (place < steps), share, 0) / parts
    shape = (len(at), samples, parts, 2)
    return Samples(np.clip(place, 0, steps - 1).astype(np.int32).reshape(shape), share.reshape(shape))


def sampling_matrix(steps: int, samples: int = 32, parts: int = 3, margin: float = 0.5) -> np.ndarray:
    """Weights of all places in all samples, float32 `(T, samples, durations, starts)`, 0 beyond the sequence."""
    place, share = sample_places(steps, samples, parts, margin)
    matrix = np.zeros((steps, samples, steps, steps))
    (duration, start), sample = cells_of(steps).T, np.arange(samples)
    for part in range(parts):
        for end in range(2):
            at = place[:, :, part, end], sample[None], duration[:, None], start[:, None]
            np.add.at(matrix, at, share[:, :, part, end])
    return matrix.astype(np.float32)


class BoundaryMatching(nnx.Module):
    """Linear layer over the samples of every segment of a sequence.

    Segments that would reach beyond the sequence get the bias alone. No matrix of samples is stored: it would have
    32·T³ entries.

    Args:
      in_features: C, channels of the sequence.
      out_features: O, channels of the map.
      samples: samples of a segment.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(self, in_features: int, out_features: int, samples: int = 32, *, dtype: Any = None, rngs: nnx.Rngs):
        kernel = uniform_fan_in(rngs.params(), (samples, in_features, out_features))
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(jnp.zeros(out_features))
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `(B, T, C)` to `(B, T, T, O)`, by duration and start."""
        x = x if self.dtype is None else x.astype(self.dtype)
        steps, samples = x.shape[1], self.kernel.shape[0]
        place, share = sample_places(steps, samples)
        # Each sample's channels first, of every place, then the places of each segment's samples: half of the products.
        each = jnp.einsum("btc,nco->bnto", x, self.kernel[...].astype(x.dtype))
        there = jnp.arange(steps, dtype=jnp.int32)[:, None, None]
        weights = sum(
            jnp.where(there == place[None, :, :, part, end], jnp.asarray(share[:, :, part, end], x.dtype)[None], 0)
            for part in range(place.shape[2])
            for end in range(2)
        )
        found = jnp.einsum("bnto,tcn->bco", each, weights)
        cells = np.full((steps, steps), len(place), np.int32)
        cells[tuple(cells_of(steps).T)] = np.arange(len(place))
        found = jnp.pad(found, ((0, 0), (0, 1), (0, 0)))
        return found[:, cells] + self.bias[...].astype(x.dtype)[None, None, None]
