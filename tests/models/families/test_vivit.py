"""Sizes of the named models against the paper's, and how tiny ones of the four kinds behave. Goldens: tests/weights."""

import math

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.ndimage import zoom

from tests.models.abstract import drawn
from tests.models.small import draw, overfit
from vidjax.models.families.vivit import VARIANTS, FactorisedEncoder, ViViT, with_positions
from vidjax.models.registry import list_models
from vidjax.models.state import split

TINY = {"dim": 16, "depth": 1, "heads": 2, "num_frames": 4, "size": 16, "tubelet": (2, 8, 8)}
KINDS = ("joint", "fe", "fsa", "fdp")


def tiny(kind, num_classes=3, **kwargs):
    kwargs = {**TINY, **kwargs}
    if kind == "fe":
        model = FactorisedEncoder(num_classes, **kwargs, temporal_depth=1, rngs=nnx.Rngs(0))
    else:
        model = ViViT(num_classes, attention=kind, **kwargs, rngs=nnx.Rngs(0))
    model.eval()
    return model


def features(model, video):
    return nnx.jit(lambda m, v: m.features(v))(model, video)


def encode(model, video):
    return nnx.jit(lambda m, v: m.encode(v))(model, video)


def count(name):
    """Parameters of a named model, from those of its first and its second block."""
    variant = VARIANTS[name]

    def with_blocks(depth):
        kwargs = {**variant.kwargs, "depth": depth}
        model = nnx.eval_shape(lambda: variant.build(400, rngs=nnx.Rngs(0), **kwargs))
        return sum(math.prod(array.shape) for array in split(model)[1].values())

    one, two = with_blocks(1), with_blocks(2)
    return one + (variant.kwargs["depth"] - 1) * (two - one)


def test_named_models_have_the_published_sizes(shared):
    # Table 2 of the paper, in millions.
    published = {"vivit_base_16x2": 88.9, "vivit_base_16x2_fe": 115.1, "vivit_base_16x2_fsa": 117.3}
    counts = {name: count(name) for name in (*published, "vivit_base_16x2_fdp")}
    for name, millions in published.items():
        assert abs(counts[name] / 1e6 - millions) < 0.06
    joint = counts["vivit_base_16x2"]
    assert joint - counts["vivit_base_16x2_fdp"] == 2 * 768  # the class token and its position
    rows = (line.split("\t") for line in (shared / "reference" / "models.tsv").read_text().splitlines())
    assert joint == int({row[0]: row[1] for row in rows}["hf5_vivit"])
    # ViT-L, and in the published configuration as deep over time as over space.
    large = {"dim": 1024, "depth": 24, "heads": 16}
    assert VARIANTS["vivit_large_16x2_fe"].kwargs == {**large, "temporal_depth": 24}
    assert VARIANTS["vivit_large_16x2_fsa"].kwargs == {**large, "attention": "fsa"}


def test_specs_are_the_published_protocol():
    for name in VARIANTS.keys() - set(list_models("*_tiny")):
        spec = VARIANTS[name].spec
        assert (spec.video.num_frames, spec.video.stride, spec.video.size, spec.video.resize) == (32, 2, 224, (256,))
        assert spec.video.mean == spec.video.std == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_model_protocol(kind):
    model = tiny(kind)
    video = draw((2, 4, 16, 16, 3))
    out = features(model, video)
    chex.assert_shape(out, (2, 16))
    assert out.dtype == jnp.float32
    assert isinstance(model.head, nnx.Linear)
    assert not np.asarray(model.head.kernel).any()
    assert float(jnp.abs(features(model, video[:, ::-1]) - out).max()) > 1e-3


@pytest.mark.parametrize("kind", ["joint", "fe"])
def test_positions_follow_the_input(kind):
    model = tiny(kind, depth=0)
    tables = {name: np.asarray(value) for name, value in split(model)[1].items() if name.endswith("pos_embed")}
    tokens, base = (1, 2, 2) if kind == "fe" else (2, 2, 2), np.asarray(tables["pos_embed"])
    x = jnp.zeros((1, 3 * 2 * 3, 16)) if kind == "joint" else jnp.zeros((1, 2 * 3, 16))
    grid = (3, 2, 3) if kind == "joint" else (1, 2, 3)
    out = with_positions(x, model.cls_token, jnp.asarray(base), tokens, grid)
    np.testing.assert_array_equal(out[0, 0], base[0, 0])
    # Linear between the table's, whose ends stay: scenic's rule.
    expected = zoom(base[0, 1:].reshape(*tokens, 16), [n / o for n, o in zip(grid, tokens, strict=True)] + [1], order=1)
    np.testing.assert_allclose(out[0, 1:], expected.reshape(-1, 16), atol=1e-6)
    chex.assert_shape(features(tiny(kind), draw((1, 8, 16, 24, 3))), (1, 16))


def without_positions(model):
    for path, variable in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        if "pos_embed" in path[-1]:
            variable[...] = jnp.zeros(variable.shape)
    return model


@pytest.mark.slow
def test_what_each_kind_can_and_cannot_see():
    """Without positions, models 2 to 4 tell which tubelets share a frame, and model 1 cannot."""
    video = draw((1, 4, 16, 16, 3))
    # The right half of the picture is shown in the other order of tubelets.
    swapped = video.at[:, :2, :, 8:].set(video[:, 2:, :, 8:]).at[:, 2:, :, 8:].set(video[:, :2, :, 8:])
    for kind in KINDS:
        model = without_positions(tiny(kind))
        moved = float(jnp.abs(features(model, swapped) - features(model, video)).max())
        assert moved < 1e-5 if kind == "joint" else moved > 1e-4, kind


def test_attention_over_time_starts_as_nothing():
    model = tiny("fsa")
    assert not np.asarray(model.blocks[0].temporal_attn.proj.kernel).any()
    assert np.asarray(model.blocks[0].temporal_attn.qkv.kernel).any()


def test_embeddings():
    kernels = {name: np.asarray(tiny("joint", embedding=name).patch_embed.kernel) for name in ("central", "average")}
    assert not kernels["central"][0].any()
    assert kernels["central"][1].any()
    np.testing.assert_array_equal(kernels["average"][0], kernels["average"][1])
    model = tiny("joint", embedding="uniform", num_frames=8)
    assert model.patch_embed.kernel.shape == (1, 8, 8, 3, 16)
    assert model.base_grid == (4, 2, 2)
    # Of 8 frames 4, evenly spread with half a step or so at both ends: round(8/5·i).
    video = jnp.arange(8.0)[None, :, None, None, None]
    np.testing.assert_array_equal(model.sample(video)[0, :, 0, 0, 0], [2, 3, 5, 6])
    assert tiny("joint").sample(video) is video
    with pytest.raises(ValueError, match="video of 7 frames: choose num_frames as a multiple of 2"):
        model.sample(video[:, :7])
    with pytest.raises(ValueError, match="embedding = 'middle': must be one of 'central', 'average', 'uniform'"):
        tiny("joint", embedding="middle")


@pytest.mark.parametrize("kind", ["fe", "fsa"])
def test_it_trains(kind):
    model = tiny(kind, dropout=0.1)
    losses = overfit(model, draw((4, 4, 16, 16, 3)), steps=25, rate=0.1)
    assert min(losses[-5:]) < 0.5 * losses[0]


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="attention = 'fe': must be one of 'joint', 'fsa', 'fdp'"):
        ViViT(3, attention="fe", **TINY, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="does not divide into tubelets of 2×8×8"):
        tiny("joint", num_frames=5)


@pytest.mark.parametrize("kind", ["joint", "fsa"])
def test_tokens_have_their_grid_and_are_the_map_but_for_the_class_token(kind):
    model = drawn(lambda rngs: ViViT(3, attention=kind, **TINY, in_channels=2, rngs=rngs))
    parts = encode(model, draw((2, 4, 16, 24, 2)))
    assert parts.grid == (2, 2, 3) and list(parts.maps) == [8]
    np.testing.assert_array_equal(parts.maps[8].reshape(2, 12, 16), parts.tokens[:, -12:])
    assert parts.tokens.shape[1] == 12 + (kind == "joint")


def test_a_factorised_encoder_has_tokens_over_time_and_a_map_of_places():
    """A place of the map sees nothing of other frames."""
    model = drawn(lambda rngs: FactorisedEncoder(3, **TINY, temporal_depth=1, rngs=rngs))
    video = draw((1, 4, 16, 16, 3))
    parts, other = encode(model, video), encode(model, video.at[:, 2:].set(0))
    assert parts.grid == (2, 1, 1) and parts.tokens.shape == (1, 3, 16) and parts.maps[8].shape == (1, 2, 2, 2, 16)
    moved = np.abs(np.asarray(parts.maps[8] - other.maps[8])).max(axis=(0, 2, 3, 4))
    assert moved[0] == 0 and moved[1] > 1e-2
    assert float(jnp.abs(parts.tokens[:, 1] - other.tokens[:, 1]).max()) > 1e-4
