"""Losses of networks for segments: sums over places, not means.

A segment is given by distances ≥ 0 from a place inside to its left and right end, so the overlap of two segments of one
place is a matter of minima. Sources: `libs/modeling/losses.py` of happyharrycn/actionformer_release, and `losses` of
dingfengshi/TriDet, `libs/modeling/meta_archs.py`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

_LEAST = 1e-8  # of a length that is divided by
MOMENTUM = 0.9  # share of the running number of positive places that a batch keeps


def focal_loss(logits: jax.Array, targets: jax.Array, alpha: float = 0.25, gamma: float = 2.0) -> jax.Array:
    """Focal loss of each element (arXiv 1708.02002), for targets that may lie between 0 and 1.

    Args:
      logits: logits of any shape.
      targets: targets of the same shape, in 0…1.
      alpha: weight of positives; negatives have 1 - alpha.
      gamma: exponent by which elements that are already right count less.

    Returns:
      The loss of each element, float32 or wider.
    """
    logits, targets = (x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in (logits, targets))
    p = jax.nn.sigmoid(logits)
    right = p * targets + (1 - p) * (1 - targets)
    loss = optax.sigmoid_binary_cross_entropy(logits, targets) * (1 - right) ** gamma
    return (alpha * targets + (1 - alpha) * (1 - targets)) * loss


def overlap(found: jax.Array, wanted: jax.Array) -> jax.Array:
    """Intersection over union of segments around the same places; distances `(…, 2)` each → `(…)`."""
    shared = jnp.minimum(found, wanted).sum(axis=-1)
    union = found.sum(axis=-1) + wanted.sum(axis=-1) - shared
    return shared / jnp.maximum(union, _LEAST)


def diou_loss(found: jax.Array, wanted: jax.Array) -> jax.Array:
    """Distance-IoU loss of segments around the same places (arXiv 1911.08287, along one axis).

    It is one less the overlap, plus the squared distance of the middles over that of the outermost ends.

    Args:
      found: distances to both ends, ≥ 0, `(…, 2)`.
      wanted: distances of the target, ≥ 0, `(…, 2)`.

    Returns:
      The loss of each segment, `(…)`.
    """
    hull = jnp.maximum(found, wanted).sum(axis=-1)
    apart = 0.5 * ((found[..., 1] - found[..., 0]) - (wanted[..., 1] - wanted[..., 0]))
    return 1 - overlap(found, wanted) + jnp.square(apart / jnp.maximum(hull, _LEAST))


def smoothed(targets: jax.Array, smoothing: float) -> jax.Array:
    """Targets `(…, K)` moved towards 1/(K + 1) by a share `smoothing`."""
    return targets * (1 - smoothing) + smoothing / (targets.shape[-1] + 1)


class SegmentSums(NamedTuple):
    """Sums of a batch, float32 `()`: what its loss is made of.

    Attributes:
      classes: focal loss over all places.
      offsets: distance-IoU loss over positive places (and their classes, if distances are per class).
      positives: number of positive places, by their weight.
    """

    classes: jax.Array
    offsets: jax.Array
    positives: jax.Array


def segment_sums(
    logits: jax.Array,
    distances: jax.Array,
    mask: jax.Array,
    classes: jax.Array,
    offsets: jax.Array,
    weight: jax.Array | None = None,
    *,
    smoothing: float = 0.0,
    overlap_power: float = 0.0,
) -> SegmentSums:
    """Compute the losses of a batch, summed.

    Args:
      logits: of the classes, `(B, N, K)`.
      distances: to both ends, in strides, `(B, N, 2)`; or per class, `(B, N, K, 2)`.
      mask: bool `(B, N)`, False for places without a vector.
      classes: targets of the classes, `(B, N, K)`, zeros and ones.
      offsets: target distances, `(B, N, 2)`, in strides.
      weight: weight of a place, `(B, N)`; None: 1.
      smoothing: share of label smoothing, see `smoothed`.
      overlap_power: exponent of the overlap by which the class loss of positives is multiplied, with its gradient, for
        distances per class. 0: the class loss does not depend on the overlap.
    """
    positive = (classes.sum(axis=-1) > 0) & mask
    counts = jnp.where(mask, 1.0, 0.0) if weight is None else jnp.where(mask, weight, 0.0)
    loss = focal_loss(logits, smoothed(classes, smoothing))
    if distances.ndim == 4:
        used = positive[..., None] & (classes > 0)
        offsets = jnp.broadcast_to(offsets[:, :, None], distances.shape)
    else:
        used = positive
    # Places that are not used must have a finite loss too, or its gradient would be no number times 0.
    found, wanted = (jnp.where(used[..., None], x, 1.0) for x in (distances, offsets))
    if overlap_power and distances.ndim == 4:
        shared = overlap(found, wanted)
        there = shared > 0
        loss = loss * jnp.where(there, jnp.where(there, shared, 1.0) ** overlap_power, 0.0)
    ends = jnp.where(used, diou_loss(found, wanted), 0.0)
    ends = ends.sum(axis=-1) if distances.ndim == 4 else ends
    # Background counts fully, whatever its weight.
    of_classes = jnp.where(positive, counts, jnp.where(mask, 1.0, 0.0))
    return SegmentSums(
        (loss.sum(axis=-1) * of_classes).sum(), (ends * counts).sum(), jnp.where(positive, counts, 0.0).sum()
    )


def running_positives(running: jax.Array, positives: jax.Array) -> jax.Array:
    """Running number of positive places after a batch with so many: what the losses are divided by."""
    return MOMENTUM * running + (1 - MOMENTUM) * jnp.maximum(positives, 1)
