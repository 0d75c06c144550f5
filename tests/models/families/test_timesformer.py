"""Shapes of the named models against the reference's, and how tiny ones behave. Goldens: tests/weights."""

import collections
import csv
import functools
import math

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import drawn
from tests.models.small import draw, overfit
from vidjax.models.families.timesformer import VARIANTS, TimeSformer
from vidjax.models.state import split

REFERENCE = {
    "timesformer_base_divided": "timesformer_fb_divided_space_time",
    "timesformer_base_joint": "timesformer_fb_joint_space_time",
    "timesformer_base_space": "timesformer_fb_space_only",
}
KINDS = ("divided", "joint", "space", "sparse", "axial", "alternating")
TINY = {"dim": 16, "depth": 1, "heads": 2, "num_frames": 4, "size": 32, "patch": 8}


def tiny(attention="divided", num_classes=3, seed=0, **kwargs):
    model = TimeSformer(num_classes, attention=attention, **{**TINY, **kwargs}, rngs=nnx.Rngs(seed))
    model.eval()
    return model


def awake(model, seed=1):
    """The model with numbers where it starts with zeros."""
    rng = np.random.default_rng(seed)
    for path, variable in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        if not np.asarray(variable).any() and path[-1] != "bias":
            variable[...] = jnp.asarray(0.2 * rng.standard_normal(variable.shape), jnp.float32)
    return model


def features(model, video):
    return nnx.jit(lambda m, v: m.features(v))(model, video)


@functools.cache
def abstract(name, depth):
    variant = VARIANTS[name]
    return nnx.eval_shape(lambda: variant.build(400, rngs=nnx.Rngs(0), depth=depth, **variant.kwargs))


def count(name):
    """Parameters of a named model, from those of its first and its second block."""
    one, two = (sum(math.prod(p.shape) for p in split(abstract(name, depth))[1].values()) for depth in (1, 2))
    return one + 11 * (two - one)


@pytest.mark.parametrize("name", REFERENCE)
def test_named_models_have_the_references_parameters(shared, name):
    _, params, stats = split(abstract(name, 1))
    assert not stats
    with open(shared / "reference" / "models.tsv", newline="") as file:
        counts = {row["name"]: int(row["params"]) for row in csv.DictReader(file, delimiter="\t")}
    assert count(name) == counts[REFERENCE[name]]
    keys = (shared / "reference" / "checkpoint-keys" / f"{REFERENCE[name]}.tsv").read_text().splitlines()
    rows = (line.split("\t") for line in keys)
    theirs = (tuple(map(int, row[1].split("x"))) for row in rows if ".blocks." not in row[0] or ".0." in row[0])
    # Layouts differ in the order of axes and the patches' extent in time only.
    ours = collections.Counter(tuple(sorted(p.shape[-4:])) for p in params.values())
    assert ours == collections.Counter(tuple(sorted(shape)) for shape in theirs)
    assert all(p.dtype == jnp.float32 for p in params.values())


def test_variants_differ_from_the_base_as_published():
    counts = {name: count(name) for name in VARIANTS.keys() - {"timesformer_tiny"}}
    for name in counts:
        spec = VARIANTS[name].spec
        assert abstract(name, 1).base_grid == (spec.video.num_frames, spec.video.size // 16, spec.video.size // 16)
        assert spec.video.resize == (spec.video.size,)
        assert spec.video.mean in ((0.45,) * 3, (0.5,) * 3)
    base = counts["timesformer_base_divided"]
    assert counts["timesformer_base_divided_large"] - base == (96 - 8) * 768
    assert counts["timesformer_base_divided_hr"] - base == (28 * 28 - 14 * 14 + 16 - 8) * 768
    # Table 1 of the paper: 85.9, 121.4, 121.4 and 156.8 M, each 0.2 M below this count.
    millions = {name.rsplit("_", 1)[1]: count / 1e6 for name, count in counts.items()}
    expected = {"joint": 85.9, "divided": 121.4, "sparse": 121.4, "axial": 156.8}
    assert {name: round(millions[name] - 0.2, 1) for name in expected} == expected


@pytest.mark.slow(after=3)
@pytest.mark.parametrize("attention", KINDS)
def test_model_protocol(attention):
    model = awake(tiny(attention, depth=1 + (attention == "alternating")))
    video = draw((2, 4, 32, 32, 3))
    out = features(model, video)
    chex.assert_shape(out, (2, 16))
    # Layer norm with fresh weights: every sample has mean 0 and variance 1.
    np.testing.assert_allclose(out.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(out.var(axis=1), 1, atol=5e-3)
    assert isinstance(model.head, nnx.Linear)
    # Frames in another order are another clip, except where frames never meet.
    moved = float(jnp.abs(features(model, video[:, ::-1]) - out).max())
    assert moved < 1e-5 if attention == "space" else moved > 1e-3


@functools.partial(nnx.jit, static_argnums=2)
def divided_both_ways(block, x, grid):
    """The block's answer and the reference's: frames and places in the batch, the class token copied to each frame."""
    t, h, w = grid
    places = x[:, 1:].reshape(2, t, h * w, 16)
    over_time = jnp.moveaxis(places, 1, 2).reshape(2 * h * w, t, 16)
    step = block.earlier[0]
    change = step.fc(step.attn(step.norm(over_time)))
    places = places + jnp.moveaxis(change.reshape(2, h * w, t, 16), 2, 1)
    frames = jnp.concatenate([jnp.broadcast_to(x[:, None, :1], (2, t, 1, 16)), places], axis=2)
    change = block.attn(block.norm1(frames.reshape(2 * t, 1 + h * w, 16))).reshape(2, t, 1 + h * w, 16)
    first = x[:, 0] + change[:, :, 0].mean(axis=1)
    expected = jnp.concatenate([first[:, None], (places + change[:, :, 1:]).reshape(2, t * h * w, 16)], axis=1)
    expected = expected + block.mlp(block.norm2(expected))
    return block(x, grid), expected


def test_a_block_of_divided_attention_is_the_references():
    model = awake(tiny())
    out, expected = divided_both_ways(model.blocks[0], draw((2, 1 + 4 * 4 * 4, 16)), (4, 4, 4))
    np.testing.assert_allclose(out, expected, atol=2e-6)


def test_earlier_steps_start_as_nothing():
    video = draw((1, 4, 32, 32, 3))
    for attention, earlier in (("divided", 1), ("sparse", 1), ("axial", 2)):
        model = tiny(attention)
        assert all(len(block.earlier) == earlier for block in model.blocks)
        assert not any(np.asarray(step.fc.kernel).any() for block in model.blocks for step in block.earlier)
    # Then divided attention sees time in nothing but its table, which starts at 0 as well.
    model = tiny("divided")
    np.testing.assert_allclose(features(model, video[:, ::-1]), features(model, video), atol=1e-5)


def test_positions_of_the_nearest_place_and_frame():
    model = awake(tiny(depth=0))
    first, same = model._positions((4, 4, 4))
    assert first.shape == (1, 1, 16)
    table, time = np.asarray(model.pos_embed), np.asarray(model.time_embed)
    np.testing.assert_allclose(same.reshape(4, 4, 4, 16)[2, 1, 3], table[0, 1 + 4 + 3] + time[0, 2], atol=1e-6)
    _, other = model._positions((8, 2, 6))
    other = other.reshape(8, 2, 6, 16)
    for t, h, w in ((0, 0, 0), (5, 1, 4), (7, 1, 5)):
        expected = table[0, 1 + 4 * (h * 4 // 2) + w * 4 // 6] + time[0, t // 2]
        np.testing.assert_allclose(other[t, h, w], expected, atol=1e-6)
    with pytest.raises(ValueError, match="4×36×32 does not divide into tubelets of 1×8×8"):
        tiny().features(jnp.zeros((1, 4, 36, 32, 3)))


def test_another_length_and_size_runs():
    model = tiny()
    chex.assert_shape(features(model, draw((1, 6, 32, 48, 3))), (1, 16))
    # Each frame twice is the same clip to tables that repeat each frame's row.
    model = awake(model)
    video = draw((1, 4, 32, 32, 3))
    np.testing.assert_allclose(features(model, jnp.repeat(video, 2, axis=1)), features(model, video), atol=1e-5)


@pytest.mark.parametrize("attention", ["axial", "space"])
def test_it_trains(attention):
    model = tiny(attention, num_frames=2, size=16)
    losses = overfit(model, draw((4, 2, 16, 16, 3)), steps=45, rate=0.3)
    assert min(losses[-5:]) < 0.5 * losses[0]


def test_drop_path_and_wrong_arguments():
    model = nnx.eval_shape(lambda: TimeSformer(3, dim=8, depth=5, heads=2, drop_path=0.2, rngs=nnx.Rngs(0)))
    np.testing.assert_allclose([block.drop_path.rate for block in model.blocks], [0, 0.05, 0.1, 0.15, 0.2])
    with pytest.raises(ValueError, match="attention = 'dense': must be one of"):
        tiny("dense")
    with pytest.raises(ValueError, match="heads = 5 does not divide dim = 16"):
        tiny(heads=5)


@pytest.mark.parametrize("attention", ["divided", "space"])
def test_tokens_are_class_tokens_and_then_the_places_of_the_map(attention):
    model = drawn(lambda rngs: TimeSformer(3, attention=attention, **TINY, in_channels=2, rngs=rngs))
    encode = nnx.jit(lambda model, video: model.encode(video))
    parts = encode(model, draw((2, 4, 32, 24, 2)))
    assert parts.grid == (4, 4, 3) and list(parts.maps) == [8]
    np.testing.assert_array_equal(parts.maps[8].reshape(2, 48, 16), parts.tokens[:, -48:])
    assert parts.tokens.shape[1] == 48 + (4 if attention == "space" else 1)
    if attention == "space":
        # Each frame by itself gives the same.
        alone = encode(model, draw((2, 4, 32, 24, 2))[:, 2:3])
        np.testing.assert_allclose(parts.tokens[:, 2], alone.tokens[:, 0], atol=1e-5)
        np.testing.assert_allclose(parts.maps[8][:, 2], alone.maps[8][:, 0], atol=1e-5)
