"""Shapes of the named Video Swins against the reference's, and how a tiny one behaves. Goldens: tests/weights."""

import csv
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import abstract, drawn
from tests.models.small import draw
from vidjax.models.families.swin import VARIANTS, PatchMerging, VideoSwin
from vidjax.models.state import merge, split
from vidjax.nn.mlp import gelu

# mmaction2's README gives the large one as 197 M.
COUNTS = {"swin3d_t": 28_158_070, "swin3d_s": 49_816_678, "swin3d_b": 88_048_984, "swin3d_l": 196_953_916}
TINY = {"dim": 8, "depths": (2, 1), "heads": (2, 4), "window": (2, 3, 3)}
SHAPE = (4, 24, 24)  # 2×6×6 tokens, windows shifted in space


def tiny(num_classes=3, **kwargs):
    return drawn(lambda rngs: VideoSwin(num_classes, **{**TINY, **kwargs}, rngs=rngs))


def apply(method, *arguments):
    """A bound method of a model, compiled."""
    graphdef, params, stats = split(method.__self__)
    run = jax.jit(lambda params, *a: getattr(merge(graphdef, params, stats), method.__name__)(*a))
    return run(params, *arguments)


@pytest.mark.parametrize("name", COUNTS)
def test_named_models_have_the_references_parameters(shared, name):
    _, params, stats = split(abstract(name))
    assert not stats
    count = sum(math.prod(p.shape) for p in params.values())
    assert count == COUNTS[name]
    assert all(p.dtype == jnp.float32 for p in params.values())
    with open(shared / "reference" / "models.tsv", newline="") as file:
        counts = {row["name"]: int(row["params"]) for row in csv.DictReader(file, delimiter="\t")}
    if name != "swin3d_l":
        assert count == counts[f"torchvision_{name}"]


def test_specs_are_the_published_protocol():
    assert VARIANTS.keys() == {*COUNTS, "swin3d_tiny"}
    for name in COUNTS:
        spec = VARIANTS[name].spec
        assert (spec.video.num_frames, spec.video.stride, spec.video.size, spec.video.resize, spec.num_classes) == (
            32,
            2,
            224,
            (224,),
            400,
        )
        assert spec.video.mean == (0.485, 0.456, 0.406)
        assert spec.video.std == (0.229, 0.224, 0.225)
        assert ("torchvision" in spec.sources) == (name != "swin3d_l")
        assert "4×3 views" in spec.published


@pytest.mark.slow
def test_model_protocol():
    model = tiny()
    video = draw((2, *SHAPE, 3))
    features = apply(model.features, video)
    chex.assert_shape(features, (2, 16))
    assert features.dtype == jnp.float32
    assert isinstance(model.head, nnx.Linear)
    np.testing.assert_allclose(apply(model.__call__, video), model.head(features), atol=1e-5)
    assert isinstance(hash(split(model)[0]), int)
    assert float(jnp.abs(features - apply(model.features, video[:, ::-1])).max()) > 1e-3


def test_windows_shift_in_every_second_block_of_a_stage():
    model = tiny(depths=(3, 2))
    shifts = [[block.attn.shift for block in stage.blocks] for stage in model.stages]
    assert shifts == [[(0, 0, 0), (1, 1, 1), (0, 0, 0)], [(0, 0, 0), (1, 1, 1)]]


def test_videos_that_tubelets_do_not_divide_are_filled_up_with_zeros():
    model = tiny()
    video = draw((1, 3, 22, 17, 3))
    filled = jnp.pad(video, ((0, 0), (0, 1), (0, 2), (0, 3), (0, 0)))
    np.testing.assert_allclose(apply(model.features, video), apply(model.features, filled), atol=1e-6)


def test_merging_takes_columns_of_a_two_by_two_field():
    merging = PatchMerging(1, dtype=None, rngs=nnx.Rngs(0))
    x = draw((1, 2, 3, 4, 1))
    y = merging(x)
    chex.assert_shape(y, (1, 2, 2, 2, 2))
    field = np.asarray([x[0, 1, 2, 2, 0], 0, x[0, 1, 2, 3, 0], 0])  # the row below is filled up
    normal = (field - field.mean()) / np.sqrt(field.var() + 1e-5)
    np.testing.assert_allclose(y[0, 1, 1, 1], normal @ np.asarray(merging.reduction.kernel[...]), atol=1e-6)


def test_mlp_has_the_exact_gelu():
    block = tiny().stages[0].blocks[0]
    assert block.mlp.activation is gelu


def test_drop_path_rises_linearly_over_all_blocks():
    model = tiny(depths=(2, 3), drop_path=0.2)
    rates = [block.drop_path.rate for stage in model.stages for block in stage.blocks]
    np.testing.assert_allclose(rates, [0, 0.05, 0.1, 0.15, 0.2])


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="must have the same length"):
        tiny(heads=(2,))
    with pytest.raises(ValueError, match="heads = 3 does not divide dim = 8"):
        tiny(heads=(3, 3))
    with pytest.raises(ValueError, match="expected"):
        tiny().features(jnp.zeros((1, 4, 24, 24, 1)))


def test_maps_are_what_the_stages_end_with():
    model, video = tiny(in_channels=2), draw((2, *SHAPE, 2))
    parts = apply(model.encode, video)
    ends = jax.jit(lambda video: model.intermediates(video, "stages.*"))(video)
    assert list(parts.maps) == [4, 8] and parts.grid == (2, 3, 3)
    np.testing.assert_allclose(parts.maps[4], ends["stages.0"], atol=1e-5)
    np.testing.assert_allclose(parts.maps[8], model.norm(ends["stages.1"]), atol=1e-5)
    np.testing.assert_array_equal(parts.maps[8].reshape(2, 18, 16), parts.tokens)
