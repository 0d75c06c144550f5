"""BMN's targets, losses and proposals: the reference's, and definitions written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import localisation
from vidjax.config import LocaliseConfig
from vidjax.models.families.bmn import BoundaryOutputs
from vidjax.nn.boundary_matching import cells_of
from vidjax.tasks.localise.boundaries import boundary_loss, boundary_targets, decode_boundaries, within
from vidjax.tasks.localise.methods import suppression_of
from vidjax.tasks.localise.nms import Suppression, suppress


def test_proposals_are_the_references(shared):
    arrays, meta = localisation.of_shared("bmn_400x100", shared), localisation.INDEX["bmn_400x100"]["proposals"]["meta"]
    maps = np.zeros((2, 100, 100), np.float32)
    maps[:, *cells_of(100).T] = arrays["confidence"][0]
    outputs = BoundaryOutputs(arrays["start"][0], arrays["end"][0], maps[0], maps[1])
    # Features are of every 16th frame, whose last part is left out.
    frames = meta["duration_frame"]
    seconds = frames // 16 * 16 / frames * meta["duration_second"]
    every = LocaliseConfig(min_score=0.0, candidates=10_000, min_length=0.0, detections=100)
    rule = suppression_of(outputs, every)
    assert rule == Suppression(kind="width", sigma=0.4, min_score=0.0, detections=100)
    found = decode_boundaries(outputs, every).found
    found = suppress(found._replace(segments=(found.segments + 0.5) / 100 * seconds), rule, seconds)
    np.testing.assert_allclose(found.segments, arrays["proposals"][:, :2], atol=1e-6)
    np.testing.assert_allclose(found.scores, arrays["proposals"][:, 2], atol=1e-6)


def overlap(a, b):
    shared = max(min(a[1], b[1]) - max(a[0], b[0]), 0)
    return shared / (a[1] - a[0] + b[1] - b[0] - shared)


def test_targets_by_their_definition():
    steps, spans = 8, [(1.2, 3.7), (4.0, 4.5)]  # in parts
    segments = np.zeros((1, 3, 2), np.float32)
    segments[0, :2] = np.array(spans) - 0.5
    found = jax.tree.map(lambda x: np.asarray(x[0]), boundary_targets(jnp.asarray(segments), steps))
    for duration in range(steps):
        for start in range(steps):
            cell = (start, start + duration + 1)
            wanted = max(overlap(cell, span) for span in spans) if duration + start < steps else 0
            assert found.overlap[duration, start] == pytest.approx(wanted, abs=1e-6)
    for name, side in (("start", 0), ("end", 1)):
        for place in range(steps):
            shares = [max(min(place + 1.5, s[side] + 1.5) - max(place - 0.5, s[side] - 1.5), 0) / 2 for s in spans]
            assert getattr(found, name)[place] == pytest.approx(max(shares), abs=1e-6)


def outputs_like(targets, sure=6.0):
    """Logits that say the targets, or nothing at all."""
    hot = [np.where(x > 0.5, sure, -sure) for x in (targets.start, targets.end)]
    share = np.clip(np.asarray(targets.overlap), 1e-3, 1 - 1e-3)
    match = np.where(np.asarray(targets.overlap) > 0.9, sure, -sure)
    return BoundaryOutputs(*hot, np.log(share / (1 - share)), match)


def test_the_loss_is_least_for_the_truth_and_finite_without_segments():
    segments = np.full((2, 3, 2), 0, np.float32)
    segments[0, 0] = (1.5, 5.5)
    targets = boundary_targets(jnp.asarray(segments), 8)
    right = outputs_like(targets)
    wrong = jax.tree.map(lambda x: -x, right)
    loss = jax.jit(lambda outputs, segments: boundary_loss(None, outputs, segments, None)[0])
    both = [loss(each, segments) for each in (right, wrong)]
    assert both[0] < 0.1 < 10 < both[1]
    nothing = np.zeros_like(segments)
    value, gradient = jax.jit(jax.value_and_grad(loss))(right, nothing)
    assert np.isfinite(value) and all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))


class Settings:
    min_score, candidates, min_length = 0.2, 5, 0.05


def test_candidates_are_in_vectors():
    segments = np.array([[[1.5, 5.5]]], np.float32)
    one = jax.tree.map(lambda x: np.asarray(x[0]), outputs_like(boundary_targets(jnp.asarray(segments), 8)))
    found = decode_boundaries(one, Settings())
    np.testing.assert_allclose(found.segments[0], segments[0, 0])
    assert found.scores[0] == found.scores.max() > 0.9 and set(found.labels) == {0}
    assert found.places[0] == 3.5 and within(3).sum() == 6
