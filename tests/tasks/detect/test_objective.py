"""The loss of boxes: its value, focal weights, and padding that changes nothing; boxes moved by a given overlap."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.evaluation.boxes import box_iou
from vidjax.models import create_model, get_spec
from vidjax.models.state import merge, split
from vidjax.tasks.detect.jitter import moved
from vidjax.tasks.detect.objective import BoxObjective, box_loss

SPEC = get_spec("slow_detect_tiny").with_video(num_frames=4, size=32, resize=(32,))


def draw(seed=0, boxes=5, count=8):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 32, (2, boxes, 4)).astype(np.float32)
    low, high = np.minimum(corners[..., :2], corners[..., 2:]), np.maximum(corners[..., :2], corners[..., 2:])
    given = np.zeros((2, count, 4), np.float32)
    given[:, :boxes] = np.concatenate([low, high + 1], axis=-1)
    label, counted = np.zeros((2, count, 3), np.float32), np.zeros((2, count), np.float32)
    label[:, :boxes] = rng.random((2, boxes, 3)) < 0.4
    counted[:, :boxes] = 1
    counted[1, 0] = 0
    video = rng.integers(0, 256, (2, 4, 32, 32, 3), np.uint8)
    return {
        "inputs": {"video": jnp.asarray(video), "boxes": jnp.asarray(given)},
        "targets": {"label": jnp.asarray(label), "counted": jnp.asarray(counted)},
    }


@pytest.mark.parametrize(("alpha", "gamma"), [(1.0, 0.0), (3.0, 1.0), (2.0, 0.5)])
def test_the_loss_is_the_sum_over_boxes_of_the_mean_over_classes(alpha, gamma):
    rng = np.random.default_rng(3)
    logits, label = rng.normal(0, 3, (2, 5, 4)), (rng.random((2, 5, 4)) < 0.4).astype(np.float64)
    counted = (rng.random((2, 5)) < 0.7).astype(np.float64)
    share = 1 / (1 + np.exp(-logits))
    each = -(label * np.log(share) + (1 - label) * np.log(1 - share))
    if gamma:
        each = alpha * (1 - np.exp(-each)) ** gamma * each
    expected = (each.mean(axis=-1) * counted).sum()
    arrays = (jnp.asarray(x, jnp.float32) for x in (logits, label, counted))
    np.testing.assert_allclose(box_loss(*arrays, alpha, gamma), expected, rtol=1e-5)


def test_gradients_of_focal_weights_are_finite_where_the_loss_is_nothing():
    grad = jax.grad(lambda x: box_loss(x, jnp.ones((1, 1, 1)), jnp.ones((1, 1)), 3.0, 0.5))
    chex.assert_tree_all_finite([grad(jnp.full((1, 1, 1), x)) for x in (-200.0, 0.0, 200.0)])


@pytest.mark.slow
def test_padding_changes_neither_loss_nor_gradient():
    network = create_model("slow_detect_tiny", num_classes=3)
    graphdef, params, stats = split(network)
    objective = BoxObjective(SPEC, 3.0, 1.0)

    def loss(params, examples):
        value, sums = objective(merge(graphdef, params, stats), examples, jax.random.key(0))
        return value / objective.weight(examples), sums["correct"]

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    few, many = draw(boxes=5, count=5), draw(boxes=5, count=8)
    chex.assert_trees_all_close(run(params, few), run(params, many), rtol=1e-4, atol=1e-6)
    assert objective.weight(few) == 9


def test_moved_boxes_overlap_with_themselves_as_much_as_asked():
    rng = np.random.default_rng(1)
    boxes = np.sort(rng.uniform(0, 50, (200, 2, 2)), axis=1).reshape(200, 4) + [0, 0, 2, 2]
    wanted = rng.uniform(0.3, 1, 200)
    for found in (moved(boxes, rng.normal(size=boxes.shape), wanted),
                  moved(*map(jnp.asarray, (boxes, rng.normal(size=boxes.shape), wanted)), jnp)):  # fmt: skip
        np.testing.assert_allclose(box_iou(np.asarray(found, np.float64), boxes), wanted, atol=2e-3)
    nothing = np.zeros((3, 4))
    np.testing.assert_array_equal(moved(nothing, rng.normal(size=(3, 4)), np.full(3, 0.5)), nothing)


def test_jitter_is_drawn_anew_within_its_bound_and_leaves_padding():
    examples, objective = draw(), BoxObjective(SPEC, jitter=0.6)
    one, other = (objective.prepare(examples, jax.random.key(i))["inputs"]["boxes"] for i in (0, 1))
    given = np.asarray(examples["inputs"]["boxes"], np.float64)
    assert not np.allclose(one, other) and (np.asarray(one)[:, 5:] == 0).all()
    assert np.asarray(one).min() >= 0 and np.asarray(one).max() <= SPEC.video.size
    inside = given[:, :5].clip(0, SPEC.video.size)
    overlaps = box_iou(np.asarray(one, np.float64)[:, :5], inside)
    assert overlaps.min() > 0.45 and overlaps.max() < 1  # cutting at the border changes the overlap a little
    same = dataclasses.replace(objective, jitter=1.0).prepare(examples, jax.random.key(0))
    chex.assert_trees_all_equal(same["inputs"], examples["inputs"])
