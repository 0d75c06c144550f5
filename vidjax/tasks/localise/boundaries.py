"""Loss and decoding of networks that score starts, ends and all segments between them (BMN).

Places are T equal parts of a video whose features are resized to T vectors. Vector i stands for the middle of part i,
so a segment from part s to part e is one from s - ½ to e - ½ in vectors.

Sources: `mmaction/models/localizers/bmn.py` and `mmaction/models/losses/bmn_loss.py` in open-mmlab/mmaction2.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vidjax.models.families.bmn import BoundaryOutputs
from vidjax.tasks.localise.decode import Candidates, sigmoid

_LEAST = 1e-5  # added to what a logarithm is taken of
_SHARES = (1.05, 21.0)  # bounds of entries per positive, which balance positives and negatives
OVERLAP_WEIGHT = 10.0


class BoundaryTargets(NamedTuple):
    """Targets of clips.

    Attributes:
      start: share of each place's surroundings that is near the start of a segment, float32 `(B, T)`.
      end: the same for ends.
      overlap: largest IoU of each segment of the map with an annotated one, float32 `(B, T, T)`, 0 beyond the video.
    """

    start: jax.Array
    end: jax.Array
    overlap: jax.Array


def within(steps: int) -> np.ndarray:
    """Cells of the map whose segments are within the video, bool `(T, T)`, by duration and start."""
    return np.arange(steps)[:, None] + np.arange(steps)[None] < steps


def boundary_targets(segments: jax.Array, steps: int) -> BoundaryTargets:
    """Targets of annotated segments.

    Args:
      segments: starts and ends, float32 `(B, S, 2)`, in vectors; one without length is padding.
      steps: T, number of places.
    """
    real = (segments[..., 1] > segments[..., 0])[..., None]
    ends = segments + 0.5  # in parts
    place = jnp.arange(steps, dtype=segments.dtype)[None, None]

    def near(end: jax.Array) -> jax.Array:
        # A place's surroundings are two parts long, those of an end three.
        shared = jnp.minimum(place + 1.5, end + 1.5) - jnp.maximum(place - 0.5, end - 1.5)
        return jnp.where(real, jnp.maximum(shared, 0) / 2, 0).max(axis=1, initial=0)

    first = place[..., None, :]
    last = first + 1 + place[..., :, None]  # (1, 1, T, T), by duration and start
    start, end = ends[..., 0, None, None], ends[..., 1, None, None]
    shared = jnp.maximum(jnp.minimum(last, end) - jnp.maximum(first, start), 0)
    union = (last - first) + (end - start) - shared
    overlap = jnp.where(real[..., None], shared / jnp.where(union > 0, union, 1), 0).max(axis=1, initial=0)
    mask = jnp.asarray(within(steps))[None]
    return BoundaryTargets(near(ends[..., :1]), near(ends[..., 1:]), jnp.where(mask, overlap, 0))


def balanced_loss(scores: jax.Array, positive: jax.Array, mask: jax.Array) -> jax.Array:
    """Cross-entropy in which positives and negatives count about alike, the mean over the entries of a mask.

    Args:
      scores: probabilities.
      positive: bool, of the same shape.
      mask: bool, which entries count.
    """
    positive, negative = positive & mask, ~positive & mask
    positives = jnp.maximum(positive.sum(), 1).astype(scores.dtype)
    entries = positives + negative.sum()
    share = jnp.clip(entries / positives, *_SHARES)
    loss = 0.5 * share * jnp.where(positive, jnp.log(scores + _LEAST), 0)
    loss += 0.5 * share / (share - 1) * jnp.where(negative, jnp.log(1 - scores + _LEAST), 0)
    return -loss.sum() / entries


def overlap_loss(scores: jax.Array, overlap: jax.Array, mask: jax.Array) -> jax.Array:
    """Half the squared error of predicted overlaps, the weighted mean over high, middle and low ones.

    The source draws as many middle (0.3…0.7) and low ones as there are high ones; here each has the probability of
    being drawn as its weight.

    Args:
      scores: predicted overlaps.
      overlap: true overlaps.
      mask: bool, which entries count.
    """
    high = mask & (overlap > 0.7)
    middle, low = mask & (overlap <= 0.7) & (overlap > 0.3), mask & (overlap <= 0.3) & (overlap > 0)
    weight = high.astype(scores.dtype)
    for others in (middle, low):
        share = jnp.minimum(high.sum() / jnp.maximum(others.sum(), 1), 1)
        weight += jnp.where(others, share, 0).astype(scores.dtype)
    return 0.5 * (weight * jnp.square(scores - overlap)).sum() / jnp.maximum(weight.sum(), 1)


def boundary_loss(
    network: Any, outputs: BoundaryOutputs, segments: jax.Array, labels: jax.Array
) -> tuple[jax.Array, Mapping[str, jax.Array]]:
    """Compute the loss of a batch, times its number of clips, and its two parts: "classes", of starts, ends and
    segments, and "offsets", of overlaps.

    Positives and negatives are balanced over all clips of the call.

    Args:
      network: unused, for the common signature.
      outputs: outputs for B clips.
      segments: starts and ends, float32 `(B, S, 2)`, in vectors; one without length is padding.
      labels: unused: proposals have no class.
    """
    del network, labels
    clips, steps = outputs.start.shape
    targets = boundary_targets(segments, steps)
    everywhere, mask = jnp.ones((clips, steps), bool), jnp.broadcast_to(within(steps), targets.overlap.shape)
    logits = (outputs.start, outputs.end, outputs.overlap, outputs.match)
    start, end, overlap, match = (jax.nn.sigmoid(x) for x in logits)
    classes = (
        balanced_loss(start, targets.start > 0.5, everywhere)
        + balanced_loss(end, targets.end > 0.5, everywhere)
        + balanced_loss(match, targets.overlap > 0.9, mask)
    )
    offsets = OVERLAP_WEIGHT * overlap_loss(overlap, targets.overlap, mask)
    parts = {"classes": clips * classes, "offsets": clips * offsets}
    return parts["classes"] + parts["offsets"], parts


def _peaks(scores: np.ndarray, edge: int) -> np.ndarray:
    """Places whose score is a maximum or more than half of the best, and the place `edge`; bool `(T,)`."""
    inner = (scores[1:-1] > scores[2:]) & (scores[1:-1] > scores[:-2]) | (scores[1:-1] > 0.5 * scores.max())
    peaks = np.zeros(len(scores), bool)
    peaks[1:-1], peaks[edge] = inner, True
    return peaks


def boundary_segments(outputs: Any) -> tuple[np.ndarray, np.ndarray]:
    """Segments between all likely starts and ends of one clip, and their scores.

    Args:
      outputs: `BoundaryOutputs` of one clip, NumPy without the batch axis.

    Returns:
      Starts and ends in parts of the video, int64 `(N, 2)`, by duration, then start; and scores `(N,)`, the products of
      the four probabilities.
    """
    logits = (outputs.start, outputs.end, outputs.overlap, outputs.match)
    start, end, overlap, match = (sigmoid(np.asarray(x)) for x in logits)
    steps = len(start)
    first, last = _peaks(start, 0), _peaks(end, -1)
    duration, begin = np.nonzero(within(steps))
    used = begin + duration + 1 < steps
    duration, begin = duration[used], begin[used]
    used = first[begin] & last[begin + duration + 1]
    duration, begin = duration[used], begin[used]
    stop = begin + duration + 1
    scores = start[begin] * end[stop] * match[duration, begin] * overlap[duration, begin]
    return np.stack([begin, stop], axis=1), scores


def decode_boundaries(outputs: Any, settings: Any) -> Candidates:
    """Candidates of one clip, of class 0.

    Args:
      outputs: `BoundaryOutputs` of one clip, NumPy without the batch axis.
      settings: object with `min_score`, `candidates` and `min_length`, as `config.task.localise` has them.
    """
    parts, scores = boundary_segments(outputs)
    best = np.argsort(-scores, kind="stable")[: settings.candidates]
    segments = parts[best].astype(np.float32) - 0.5
    kept = (scores[best] > settings.min_score) & (segments[:, 1] - segments[:, 0] > settings.min_length)
    best, segments = best[kept], segments[kept]
    return Candidates(segments, scores[best], np.zeros(len(best), np.int64), segments.mean(axis=1))
