"""Classes of steps: labels from segments, and segments from classes."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vidjax.config import LocaliseConfig
from vidjax.models.sequences import StepOutputs
from vidjax.tasks.localise.steps import decode_steps, step_labels, step_loss

SEGMENTS = np.array([[[1.0, 6.0], [4.0, 5.0], [0.0, 0.0]]], np.float32)
CLASSES = np.array([[0, 2, 0]], np.int32)


def test_a_step_has_the_class_of_the_shortest_segment_over_it():
    labels = step_labels(jnp.asarray(SEGMENTS), jnp.asarray(CLASSES), 9, 3)
    np.testing.assert_array_equal(labels[0], [3, 0, 0, 0, 2, 2, 0, 3, 3])


def test_the_loss_counts_the_steps_of_the_video_only():
    logits = np.random.default_rng(0).normal(size=(1, 9, 4)).astype(np.float32)
    mask = np.arange(9)[None] < 6
    loss, sums = step_loss(None, StepOutputs(jnp.asarray(logits), jnp.asarray(mask)), SEGMENTS, CLASSES)
    labels = np.array([3, 0, 0, 0, 2, 2])
    wanted = optax.softmax_cross_entropy_with_integer_labels(logits[0, :6], labels).mean()
    assert float(loss) == pytest.approx(float(wanted), rel=1e-5) == float(sums["classes"])


def test_sure_steps_become_their_segments():
    logits = np.zeros((40, 3), np.float32)
    logits[:, 2] = 8
    logits[10:20] = [8, 0, 0]
    logits[20:26] = [0, 8, 0]
    mask = np.arange(40) < 36
    found = decode_steps(StepOutputs(logits, mask), LocaliseConfig())
    for label, (first, last) in enumerate([(9.5, 19.5), (19.5, 25.5)]):
        own = np.flatnonzero(found.labels == label)
        best = own[found.scores[own].argmax()]
        np.testing.assert_allclose(found.segments[best], [first, last], atol=0.51)
        assert found.scores[best] > 0.9 and found.places[best] == found.segments[best].mean()
