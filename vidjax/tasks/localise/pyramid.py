"""Loss of networks with a pyramid of places: targets of the places, and the losses of what the network says there."""

from collections.abc import Mapping
from typing import Any

import jax

from vidjax.models.pyramid import Pyramid, SegmentOutputs, SegmentTraining
from vidjax.tasks.localise.assign import Assignment, Points, assign_by_cost, assign_points, points_of
from vidjax.tasks.localise.losses import SegmentSums, running_positives, segment_sums


def assignment(
    points: Points, training: SegmentTraining, outputs: SegmentOutputs, segments: jax.Array, labels: jax.Array
) -> Assignment:
    """Targets of a batch by the network's rule; arguments and result as for `segment_losses`, with a batch axis."""
    num_classes = outputs.classes.shape[-1]
    # A network of one class finds segments of any class.
    labels = labels if num_classes > 1 else labels * 0
    if training.matching == "cost":

        def of_clip(segments: Any, labels: Any, classes: Any, offsets: Any, mask: Any) -> Assignment:
            return assign_by_cost(points, segments, labels, classes, offsets, mask, radius=training.radius)

        return jax.vmap(of_clip)(segments, labels, outputs.classes, outputs.distances(), outputs.mask)
    return jax.vmap(lambda s, k: assign_points(points, s, k, num_classes, training.radius))(segments, labels)


def segment_losses(
    training: SegmentTraining,
    ranges: tuple[tuple[float, float], ...],
    outputs: SegmentOutputs,
    segments: jax.Array,
    labels: jax.Array,
) -> SegmentSums:
    """Compute the losses of a batch, summed over its positive places.

    Args:
      training: options of the network.
      ranges: distances of its levels.
      outputs: outputs of the network for B clips.
      segments: starts and ends, float32 `(B, S, 2)`, in vectors or frames; one without length is padding.
      labels: class numbers, int `(B, S)`.
    """
    segments = segments / outputs.reduction
    targets = assignment(points_of(outputs.levels, ranges), training, outputs, segments, labels)
    return segment_sums(
        outputs.classes, outputs.distances(), outputs.mask, *targets,
        smoothing=training.label_smoothing, overlap_power=training.overlap_power,
    )  # fmt: skip


def pyramid_loss(
    network: Pyramid, outputs: SegmentOutputs, segments: jax.Array, labels: jax.Array
) -> tuple[jax.Array, Mapping[str, jax.Array]]:
    """Compute the loss of a batch, summed over clips, and its two parts, "classes" and "offsets".

    The losses of a clip's places are divided by the running number of positive places per clip, which this call brings
    up to date: over the whole batch that is what ActionFormer divides by.

    Args:
      network: network in training mode.
      outputs: its outputs for B clips.
      segments: starts and ends, float32 `(B, S, 2)`, in vectors or frames; one without length is padding.
      labels: class numbers, int `(B, S)`.
    """
    clips = segments.shape[0]
    sums = segment_losses(network.training, network.ranges, outputs, segments, labels)
    running = running_positives(network.positives[...] * clips, sums.positives) / clips
    network.positives[...] = jax.lax.stop_gradient(running)
    parts = {"classes": sums.classes / running, "offsets": network.training.offset_weight * sums.offsets / running}
    return parts["classes"] + parts["offsets"], parts
