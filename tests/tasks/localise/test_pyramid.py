"""Targets and losses of pyramids against the references' own, and what they promise for any segments."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import localisation
from vidjax.models.pyramid import DOUBLING, SegmentOutputs, SegmentTraining
from vidjax.tasks.localise.assign import assign_points, points_of
from vidjax.tasks.localise.losses import running_positives
from vidjax.tasks.localise.pyramid import segment_losses


def of_golden(name, shared):
    """Outputs, and the segments and classes of both clips."""
    entry, arrays = localisation.INDEX[name], localisation.of_shared(name, shared)
    fields = {"classes": "cls", "offsets": "offset", "start": "start", "end": "end"}
    outputs = {ours: arrays.get(f"{theirs}64") for ours, theirs in fields.items()}
    outputs = {name: None if x is None else x.astype(np.float32) for name, x in outputs.items()}
    lengths = {"actionformer_thumos_i3d": (576, 401), "tridet_thumos_i3d": (128, 93)}[name]
    count = {"actionformer_thumos_i3d": 9, "tridet_thumos_i3d": 7}[name]
    drawn = [localisation.segments(count, length, 20, seed=100 + b) for b, length in enumerate(lengths)]
    segments, labels = (np.stack(column) for column in zip(*drawn, strict=True))
    return (
        entry,
        arrays,
        SegmentOutputs(**outputs, mask=arrays["mask"], levels=tuple(entry["levels"])),
        segments,
        labels,
    )


@pytest.mark.parametrize(
    ("name", "power"), [("actionformer_thumos_i3d", 0.0), ("tridet_thumos_i3d", 0.2)], ids=["ActionFormer", "TriDet"]
)
def test_targets_and_losses_are_the_references(name, power, shared):
    entry, arrays, outputs, segments, labels = of_golden(name, shared)
    points = points_of(outputs.levels, DOUBLING)
    # Segments without length are padding, whatever their class.
    segments = np.pad(segments, ((0, 0), (0, 2), (0, 0)))
    labels = np.pad(labels, ((0, 0), (0, 2)))
    targets = jax.jit(jax.vmap(lambda s, k: assign_points(points, s, k, 20)))(segments, labels)
    classes = np.asarray(targets.classes) * arrays["mask"][..., None]
    np.testing.assert_array_equal(np.argwhere(classes), arrays["target_cls"])
    clip, place = arrays["target_offset"][:, :2].astype(int).T
    np.testing.assert_array_equal(np.argwhere(classes.any(axis=-1)), np.stack([clip, place], axis=1))
    np.testing.assert_allclose(np.asarray(targets.offsets)[clip, place], arrays["target_offset"][:, 2:], atol=1e-5)

    training = SegmentTraining(overlap_power=power)
    sums = jax.jit(functools.partial(segment_losses, training, DOUBLING))(outputs, segments, labels)
    expected = entry["losses"]
    running = running_positives(jnp.float32(expected["normaliser_before"]), sums.positives)
    np.testing.assert_allclose(running, expected["normaliser_after"], rtol=1e-6)
    found = np.array([sums.classes, sums.offsets, sums.classes + sums.offsets]) / running
    np.testing.assert_allclose(found, expected["values"], rtol=1e-5)
    np.testing.assert_allclose(found, arrays["losses"], rtol=1e-5)
