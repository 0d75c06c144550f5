"""Targets of the places of a pyramid: which classes each has to find, and how far the ends of its segment are.

Two rules. `assign_points` takes geometry alone: a place is responsible for a segment if it lies near its middle and the
distance to the farther end fits its level (ActionFormer, TriDet). `assign_by_cost` also asks what the network says
(TemporalMaxer's form of SimOTA). Both are functions of one clip's arrays; `jax.vmap` makes them functions of a batch.

Sources: `label_points_single_video` of `libs/modeling/meta_archs.py` in happyharrycn/actionformer_release and in
TuanTNG/TemporalMaxer, and the latter's `simota_assigner.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vidjax.tasks.localise.losses import diou_loss, focal_loss

ALIKE = 1e-3  # segments that differ by less in length, in vectors, are all targets of a place


@dataclass(frozen=True)
class Points:
    """Places of all levels, one level after the other: N in all, arrays float32 `(N,)`.

    Attributes:
      time: time of each place, in vectors.
      stride: distance between the places of its level, in vectors.
      low: least distance to the farther end of a segment that it is responsible for, in vectors.
      high: largest such distance.
    """

    time: np.ndarray
    stride: np.ndarray
    low: np.ndarray
    high: np.ndarray


def points_of(levels: Sequence[int], ranges: Sequence[tuple[float, float]]) -> Points:
    """Places of levels with these numbers of places, level l every 2^l vectors, and these ranges of distances."""
    strides = [2.0**level for level in range(len(levels))]
    rows = [
        (np.arange(count) * stride, np.full(count, stride), np.full(count, low), np.full(count, high))
        for count, stride, (low, high) in zip(levels, strides, ranges, strict=True)
    ]
    return Points(*(np.concatenate(column).astype(np.float32) for column in zip(*rows, strict=True)))


class Assignment(NamedTuple):
    """Targets of a clip's places.

    Attributes:
      classes: float32 `(N, K)`, 1 for each class that a place has to find, else 0; a place without any is background.
      offsets: float32 `(N, 2)`, distances to the left and right end, in strides; meaningless for background.
      weight: float32 `(N,)`, weight of a place in the loss.
    """

    classes: jax.Array
    offsets: jax.Array
    weight: jax.Array


def _distances(points: Points, segments: jax.Array) -> jax.Array:
    """Distances `(N, S, 2)` from each place to the left and right end of each segment, in vectors."""
    time = jnp.asarray(points.time)[:, None]
    return jnp.stack([time - segments[None, :, 0], segments[None, :, 1] - time], axis=-1)


def _candidates(points: Points, segments: jax.Array, radius: float) -> tuple[jax.Array, jax.Array]:
    """Lengths `(N, S)` of the segments that each place may be responsible for, else infinite; and which are shortest.

    A segment without length is padding.
    """
    distances = _distances(points, segments)
    length = segments[:, 1] - segments[:, 0]
    centre = 0.5 * (segments[:, 0] + segments[:, 1])[None]
    time, reach = jnp.asarray(points.time)[:, None], radius * jnp.asarray(points.stride)[:, None]
    if radius:
        left = time - jnp.maximum(centre - reach, segments[None, :, 0])
        right = jnp.minimum(centre + reach, segments[None, :, 1]) - time
        inside = jnp.minimum(left, right) > 0
    else:
        inside = distances.min(axis=-1) > 0
    farther = distances.max(axis=-1)
    fits = (farther >= jnp.asarray(points.low)[:, None]) & (farther <= jnp.asarray(points.high)[:, None])
    lengths = jnp.where(inside & fits & (length > 0)[None], length[None], jnp.inf)
    shortest = (lengths <= lengths.min(axis=1, keepdims=True) + ALIKE) & jnp.isfinite(lengths)
    return lengths, shortest


def _targets(
    points: Points, segments: jax.Array, labels: jax.Array, num_classes: int, matched: jax.Array, chosen: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Classes `(N, K)` of all matched segments `(N, S)`, and offsets `(N, 2)` to the ends of the chosen one `(N,)`."""
    hot = jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)
    classes = jnp.minimum(matched.astype(jnp.float32) @ hot, 1)
    offsets = jnp.take_along_axis(_distances(points, segments), chosen[:, None, None], axis=1)[:, 0]
    return classes, offsets / jnp.asarray(points.stride)[:, None]


def assign_points(
    points: Points, segments: jax.Array, labels: jax.Array, num_classes: int, radius: float = 1.5
) -> Assignment:
    """Assign segments by geometry: the shortest of those that a place may be responsible for.

    A place may be responsible for a segment that it lies in, strictly, if it is less than `radius` strides from its
    middle and its distance to the farther end is in the range of its level, both bounds included. Of several, the
    shortest gives the offsets, and all of nearly its length give their classes.

    Args:
      points: places, N.
      segments: starts and ends, float32 `(S, 2)`, in vectors; one without length is padding.
      labels: class numbers, int `(S,)`.
      num_classes: K, number of classes.
      radius: largest distance from the middle, in strides; 0: anywhere inside.
    """
    lengths, shortest = _candidates(points, segments, radius)
    classes, offsets = _targets(points, segments, labels, num_classes, shortest, lengths.argmin(axis=1))
    return Assignment(classes, offsets, jnp.ones(len(points.time), jnp.float32))


def assign_by_cost(
    points: Points,
    segments: jax.Array,
    labels: jax.Array,
    logits: jax.Array,
    offsets: jax.Array,
    mask: jax.Array,
    *,
    radius: float = 1.5,
    class_weight: float = 1.0,
    overlap_weight: float = 2.0,
    keep: float = 1.0,
    confused: float = 0.0,
) -> Assignment:
    """Assign segments by geometry and by what the network says of each place, without gradient.

    The cost of a place for a segment is the focal loss of its classes and the distance-IoU loss of its ends, weighed;
    infinite outside of the segment. A place has the classes of the segments that `assign_points` would give it, and the
    ends of the segment of least cost. Of each segment, the share `keep` of the places inside counts fully, those of
    least cost; other places inside of a segment have the weight `confused`.

    Args:
      points: places, N.
      segments: starts and ends, float32 `(S, 2)`, in vectors; one without length is padding.
      labels: class numbers, int `(S,)`.
      logits: what the network says of the classes, `(N, K)`.
      offsets: what it says of the distances to both ends, `(N, 2)`, in strides.
      mask: bool `(N,)`, False for places without a vector.
      radius: largest distance from the middle of a segment, in strides.
      class_weight: weight of the focal loss.
      overlap_weight: weight of the distance-IoU loss.
      keep: share of the places inside of a segment that counts fully.
      confused: weight of the other places inside.
    """
    logits, offsets = jax.lax.stop_gradient((logits, offsets))
    num_classes = logits.shape[-1]
    wanted = _distances(points, segments) / jnp.asarray(points.stride)[:, None, None]
    real = (segments[:, 1] > segments[:, 0])[None]
    inside = (wanted.min(axis=-1) >= 0) & real & mask[:, None]
    overlap = diou_loss(jnp.where(inside[..., None], offsets[:, None], 0), jnp.where(inside[..., None], wanted, 0))
    hot = jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)
    # Of each class as a positive and as a negative: a segment's cost is that of one positive, the rest negatives.
    against, for_ = (focal_loss(logits, jnp.full_like(logits, value)) for value in (0.0, 1.0))
    classes = against.sum(axis=-1, keepdims=True) + (for_ - against) @ hot.T
    cost = jnp.where(inside, class_weight * classes + overlap_weight * overlap, jnp.inf)

    places = inside.sum(axis=0)
    counted = jnp.floor(places * keep).astype(jnp.int32)
    rank = jnp.argsort(jnp.argsort(cost, axis=0), axis=0)
    best = (inside & (rank < counted[None])).any(axis=1)
    weight = jnp.where(inside.any(axis=1) & ~best, confused, 1.0)

    _, shortest = _candidates(points, segments, radius)
    found, ends = _targets(points, segments, labels, num_classes, shortest & inside, cost.argmin(axis=1))
    return Assignment(found, ends, jnp.where(mask, weight, 0.0).astype(jnp.float32))
