"""Shapes of the named MViTs against the references', and how tiny ones behave. Goldens: tests/weights."""

import csv
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import abstract, drawn
from tests.models.small import draw, overfit
from vidjax.models.families.mvit import VARIANTS, MViT
from vidjax.models.state import merge, split
from vidjax.nn.conv import conv_formulation

REFERENCES = {
    "mvit_v1_b_16x4": ("torchvision_mvit_v1_b", "pytorchvideo_mvit_base_16x4", "slowfast_MVIT_B_16x4_CONV"),
    "mvit_v1_b_32x3": ("pytorchvideo_mvit_base_32x3",),
    "mvit_v1_b24_32x3": ("slowfast_MVIT_B_32x3_CONV",),
    "mvit_v2_s": ("torchvision_mvit_v2_s", "slowfast_MVITv2_S_16x4", "mmaction2_mvit"),
    "mvit_v2_b": ("slowfast_MVITv2_B_32x3",),
}
TINY = {"version": 2, "dim": 4, "depth": 2, "stages": (1,), "kv_stride": 2, "num_frames": 4, "size": 32}
SHAPE = (4, 32, 32)  # 2×8×8 tokens


def tiny(num_classes=3, **kwargs):
    return drawn(lambda rngs: MViT(num_classes, **{**TINY, **kwargs}, rngs=rngs))


def apply(method, *arguments):
    """A bound method of a model, compiled."""
    graphdef, params, stats = split(method.__self__)
    run = jax.jit(lambda params, *a: getattr(merge(graphdef, params, stats), method.__name__)(*a))
    return run(params, *arguments)


@pytest.fixture(autouse=True)
def native_convolutions():
    """XLA's own convolution compiles soonest; the formulations are tested where they are made."""
    with conv_formulation("native"):
        yield


@pytest.mark.parametrize("name", REFERENCES)
def test_named_models_have_the_references_parameters(shared, name):
    _, params, stats = split(abstract(name))
    assert not stats
    assert all(p.dtype == jnp.float32 for p in params.values())
    with open(shared / "reference" / "models.tsv", newline="") as file:
        counts = {row["name"]: int(row["params"]) for row in csv.DictReader(file, delimiter="\t")}
    count = sum(math.prod(p.shape) for p in params.values())
    assert {counts[reference] for reference in REFERENCES[name]} == {count}


def test_the_large_model_has_the_papers_parameters():
    """213.1 M with the 174 classes of Something-Something V2, as SlowFast's table of models says."""
    model = abstract("mvit_v2_l")
    count = sum(math.prod(p.shape) for p in split(model)[1].values()) - (400 - 174) * (1152 + 1)
    assert round(count / 1e5) == 2131
    # 312² pixels are 78² tokens. Pooling halves them to 39², 20² and 10², the tables are for 39, 19 and 9.
    sides = [block.attn.relative_h.shape[0] for block in model.blocks]
    assert sides == [2 * 78 - 1] * 2 + [2 * 39 - 1] * 6 + [2 * 19 - 1] * 37 + [2 * 9 - 1] * 3


def test_specs_are_the_published_protocol():
    clips = {"16x4": (16, 4), "32x3": (32, 3), "v2_s": (16, 4), "v2_b": (32, 3), "v2_l": (40, 3)}
    for name in VARIANTS.keys() - {"mvit_tiny"}:
        variant = VARIANTS[name]
        spec = variant.spec
        assert (spec.video.num_frames, spec.video.stride) == next(
            clip for end, clip in clips.items() if name.endswith(end)
        )
        assert variant.kwargs["num_frames"] == spec.video.num_frames
        assert variant.kwargs["size"] == spec.video.size
        assert spec.num_classes == 400
        large = name == "mvit_v2_l"
        assert (spec.video.size, spec.video.resize) == ((312, (312,)) if large else (224, (256,)))
        assert spec.video.mean == ((0.485, 0.456, 0.406) if large else (0.45,) * 3)
        assert spec.video.std == ((0.229, 0.224, 0.225) if large else (0.225,) * 3)


def test_stages_of_the_small_second_version():
    model = abstract("mvit_v2_s")
    assert [block.attn.heads for block in model.blocks] == [1, 2, 2] + [4] * 11 + [8, 8]
    assert [block.attn.pool_k.strides[1] for block in model.blocks] == [8, 4, 4] + [2] * 11 + [1, 1]
    assert [i for i, block in enumerate(model.blocks) if block.stride_q == (1, 2, 2)] == [1, 3, 14]
    grid = (8, 56, 56)
    for block in model.blocks:
        grid = block.attn.grid(grid)
    assert grid == (8, 7, 7)


@pytest.mark.parametrize("version", [1, 2])
def test_model_protocol(version):
    model = tiny(version=version)
    video = draw((2, *SHAPE, 3))
    features = apply(model.features, video)
    chex.assert_shape(features, (2, 8))
    assert features.dtype == jnp.float32
    assert isinstance(model.head, nnx.Linear)
    np.testing.assert_allclose(apply(model.__call__, video), model.head(features), atol=1e-4)
    assert isinstance(hash(split(model)[0]), int)
    assert float(jnp.abs(features - apply(model.features, video[:, ::-1])).max()) > 1e-3


def test_positions_are_interpolated_linearly():
    model = tiny(version=1, depth=1, stages=())
    time, space = (np.asarray(p[...]) for p in (model.temporal_positions, model.spatial_positions))
    np.testing.assert_allclose(model._positions((2, 8, 8)).reshape(2, 64, 4), time[:, None] + space[None], atol=1e-6)

    def resized(table, axis, new):
        old = table.shape[axis]
        centres = (np.arange(new) + 0.5) * old / new - 0.5
        return np.apply_along_axis(lambda values: np.interp(centres, np.arange(old), values), axis, table)

    expected = resized(time, 0, 4)[:, None, None] + resized(resized(space.reshape(8, 8, 4), 0, 6), 1, 12)[None]
    np.testing.assert_allclose(model._positions((4, 6, 12)), expected, atol=1e-5)


@pytest.mark.parametrize("version", [1, 2])
def test_other_lengths_and_sizes_are_taken(version):
    chex.assert_shape(apply(tiny(version=version).features, draw((1, 6, 40, 28, 3))), (1, 8))


def test_drop_path_rises_linearly_with_depth():
    model = tiny(depth=5, drop_path=0.2)
    np.testing.assert_allclose([block.drop_path.rate for block in model.blocks], [0, 0.05, 0.1, 0.15, 0.2])


@pytest.mark.slow
def test_the_first_version_trains():
    model = tiny(version=1, remat="full", drop_path=0.1)
    # The last block's queries on the grid are of no consequence: the class token is classified.
    idle = ["blocks.1.attn.pool_q.kernel"]
    losses = overfit(model, draw((3, *SHAPE, 3)), steps=25, rate=0.05, idle=idle)
    assert losses[-1] < 0.5 * losses[0]


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="version = 3: must be 1 or 2"):
        tiny(version=3)
    with pytest.raises(ValueError, match="heads = 3 does not divide"):
        tiny(heads=3)
    with pytest.raises(ValueError, match="C = 3, channels last"):
        tiny().features(jnp.zeros((1, 4, 32, 32, 1)))


@pytest.mark.slow
def test_maps_are_what_the_stages_end_with():
    model, video = tiny(depth=3, stages=(1,), in_channels=2), draw((2, *SHAPE, 2))
    parts = apply(model.encode, video)
    ends = jax.jit(lambda video: model.intermediates(video, ["blocks.0", "blocks.2"]))(video)
    assert list(parts.maps) == [4, 8] and parts.grid == (2, 4, 4)
    np.testing.assert_allclose(parts.maps[4].reshape(2, 128, 4), ends["blocks.0"][:, 1:], atol=1e-5)
    np.testing.assert_allclose(parts.maps[8].reshape(2, 32, 8), model.norm(ends["blocks.2"])[:, 1:], atol=1e-5)
    np.testing.assert_array_equal(parts.maps[8].reshape(2, 32, 8), parts.tokens[:, 1:])
    assert dict(model.widths.maps) == {4: 4, 8: 8}
