"""Targets and losses of pyramids against the references' own, and what they promise for any segments."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests import localisation
from vidjax.config import LocaliseConfig
from vidjax.models.pyramid import DOUBLING, SegmentOutputs, SegmentTraining
from vidjax.models.registry import create_model
from vidjax.models.state import merge, split
from vidjax.nn.conv import conv_formulation
from vidjax.tasks.localise.assign import assign_by_cost, assign_points, points_of
from vidjax.tasks.localise.decode import decode_pyramid
from vidjax.tasks.localise.losses import diou_loss, running_positives
from vidjax.tasks.localise.nms import Suppression, overlaps, suppress
from vidjax.tasks.localise.pyramid import pyramid_loss, segment_losses


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


@pytest.mark.parametrize(("keep", "confused"), [(1.0, 0.0), (0.65, 0.1)])
def test_targets_by_cost_are_temporalmaxers(keep, confused):
    entry, arrays = localisation.INDEX["assign_temporalmaxer"], localisation.arrays("assign_temporalmaxer")
    levels = entry["levels"]
    points = points_of(levels, DOUBLING)
    mask = points.time < entry["valid"]
    assign = jax.jit(functools.partial(assign_by_cost, points, keep=keep, confused=confused))
    for seed in range(4):
        rng = np.random.default_rng(seed)
        logits = rng.standard_normal((sum(levels), 20)).astype(np.float32) - 2
        offsets = np.abs(rng.standard_normal((sum(levels), 2)) * 2).astype(np.float32)
        segments, labels = localisation.segments(7, entry["valid"], 20, seed=seed)
        found = assign(np.pad(segments, ((0, 2), (0, 0))), np.pad(labels, (0, 2)), logits, offsets, mask)
        hot, key = np.asarray(found.classes), f"{seed}_{keep}"
        np.testing.assert_array_equal(np.argwhere(hot), arrays[f"classes_{key}"])
        np.testing.assert_allclose(np.asarray(found.offsets)[hot.any(axis=1)], arrays[f"offsets_{key}"], atol=1e-5)
        weight = arrays[f"weight_{key}"].astype(np.float32) if keep < 1 else mask
        np.testing.assert_allclose(found.weight, weight, atol=1e-3)


LEVELS, RANGES = (16, 8, 4), ((0, 4), (4, 8), (8, 10000))


def drawn(clips=2, seed=0):
    """Outputs of clips of 16 vectors, of which the last has 11, and two segments of each, with one of padding."""
    rng = np.random.default_rng(seed)
    count = sum(LEVELS)
    mask = np.concatenate([np.arange(n)[None] * 2**level < np.array([[16], [11]]) for level, n in enumerate(LEVELS)], 1)
    logits, offsets = rng.standard_normal((clips, count, 3)), np.abs(rng.standard_normal((clips, count, 2)))
    outputs = SegmentOutputs(*(x.astype(np.float32) for x in (logits, offsets)), mask[:clips], levels=LEVELS)
    segments = np.array([[[1, 4], [2, 10], [0, 0]], [[0.5, 3], [4, 9], [0, 0]]], np.float32)[:clips]
    return outputs, segments, np.array([[0, 2, 1], [1, 1, 0]])[:clips]


@functools.cache
def sums_of(matching):
    training = SegmentTraining(matching=matching, label_smoothing=0.1)
    return jax.jit(functools.partial(segment_losses, training, RANGES))


@pytest.mark.parametrize("matching", ["places", "cost"])
def test_sums_are_those_of_clips_in_any_order_and_of_nothing_finite(matching):
    outputs, segments, labels = drawn()
    whole = np.array(sums_of(matching)(outputs, segments, labels))
    assert (whole > 0).all()
    order = [2, 1, 0]
    np.testing.assert_allclose(sums_of(matching)(outputs, segments[:, order], labels[:, order]), whole, rtol=1e-5)
    parts = [
        sums_of(matching)(jax.tree.map(lambda x, b=b: x[b : b + 1], outputs), segments[b : b + 1], labels[b : b + 1])
        for b in range(2)
    ]
    np.testing.assert_allclose(np.sum(parts, axis=0), whole, rtol=1e-5)

    def total(classes, offsets):
        changed = dataclasses.replace(outputs, classes=classes, offsets=offsets)
        sums = sums_of(matching)(changed, np.zeros_like(segments), labels)
        return sums.classes + sums.offsets, sums.positives

    (value, positives), gradients = jax.value_and_grad(total, (0, 1), has_aux=True)(outputs.classes, outputs.offsets)
    assert np.isfinite(value) and positives == 0 and all(np.isfinite(g).all() for g in gradients)


def test_the_distance_iou_loss_by_its_definition():
    found, wanted = np.array([[1.0, 2.0], [0.0, 0.5]]), np.array([[2.0, 1.0], [0.0, 0.5]])
    # Segments -1…2 and -2…1: they share 2 of 4, and their middles are 1 apart.
    np.testing.assert_allclose(diou_loss(jnp.asarray(found), jnp.asarray(wanted)), [1 - 2 / 4 + 1 / 16, 0], atol=1e-6)


@pytest.mark.slow(first=1)
@pytest.mark.parametrize("name", ["tridet_tiny", "temporalmaxer_tiny"])
def test_networks_learn_to_find_segments(name):
    """Of vectors that are noise outside of segments, and their class's direction inside; ActionFormer's turn comes with
    its recipe."""
    model = create_model(name, num_classes=3)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 64, 16)).astype(np.float32)
    mask = np.arange(64)[None] < np.array([[64], [60], [64], [62]])
    starts = rng.integers(2, 20, 4)[:, None] + np.array([[0, 25]])
    segments = np.stack([starts, starts + rng.integers(5, 18, (4, 2))], axis=-1).astype(np.float32)
    labels = rng.integers(0, 3, (4, 2))
    for clip, ((one, two), kinds) in enumerate(zip(segments.astype(int), labels, strict=True)):
        for (start, end), kind in zip((one, two), kinds, strict=True):
            x[clip, start : end + 1, kind] += 4
    inputs = {"features": x * mask[..., None], "mask": mask}
    model.train()
    graphdef, params, stats = split(model)
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(params, stats, state, key):
        def loss(params):
            network = merge(graphdef, params, stats)
            value, _ = pyramid_loss(network, network(inputs, rngs=nnx.Rngs(dropout=key)), segments, labels)
            return value / len(x), split(network)[2]

        (value, stats), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), stats, state, value

    state, losses = optimizer.init(params), []
    with conv_formulation("native"):  # compiles soonest
        for number in range(60):
            params, stats, state, value = step(params, stats, state, jax.random.key(number))
            losses.append(float(value))
    assert losses[-1] < 0.3 * losses[0] and 5 < float(stats["positives"]) < 40
    model = merge(graphdef, params, stats)
    model.eval()
    outputs = jax.tree.map(np.asarray, jax.jit(lambda x: model(x))(inputs))
    for clip in range(4):
        one = jax.tree.map(lambda x, clip=clip: x[clip], outputs)
        found = suppress(decode_pyramid(one, LocaliseConfig()).found, Suppression())
        for segment, label in zip(segments[clip], labels[clip], strict=True):
            same = found.take(np.flatnonzero((found.labels == label) & (found.scores > 0.2)))
            assert overlaps(segment, same.segments).max(initial=0) > 0.6
