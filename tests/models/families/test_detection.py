"""Detection networks: what is built, with which strides, and what a call takes and gives."""

import types

import jax
import numpy as np
import pytest
from flax import nnx

import vidjax
from tests.models.abstract import abstract
from vidjax.errors import UserError
from vidjax.inputs import BoxInput
from vidjax.models.arguments import arguments_of
from vidjax.models.families.detection import BACKBONES, VARIANTS, with_boxes
from vidjax.models.families.videomae import VideoMAE
from vidjax.models.registry import get_spec, get_variant
from vidjax.models.state import merge, split
from vidjax.nn.conv import Conv3D
from vidjax.nn.dilated import DilatedConv3D
from vidjax.nn.positions import fixed_positions, resize_table, sinusoid_table


def call(model, inputs):
    graphdef, params, stats = split(model)
    run = lambda params, stats, inputs: merge(graphdef, params, stats)(inputs)  # noqa: E731
    return jax.eval_shape(run, params, stats, inputs)


def test_specs():
    assert BACKBONES.keys() == {name for name in VARIANTS if not name.endswith("_tiny")}
    for name in VARIANTS:
        spec = get_spec(name)
        assert spec.task == "detect" and isinstance(spec.inputs["boxes"], BoxInput)
        assert spec.num_classes == (6 if name.endswith("_tiny") else 80)
    clip = get_spec("slow_r50_ava").video
    assert (clip.num_frames, clip.stride, clip.resize, clip.mean) == (4, 16, (256,), (0.45,) * 3)
    assert get_spec("slowfast_r50_8x8_ava_mm").video.mean == (0.485, 0.456, 0.406)
    assert get_spec("slow_r50_ava_lfb_mm").inputs["bank"].shape == (300, 2048)


@pytest.mark.parametrize(
    ("name", "dilated", "places"),
    [
        ("slow_r50_ava", True, 14),
        ("slow_r50_ava_mm", False, 14),
        pytest.param("slowfast_r50_8x8_ava", True, 14, marks=pytest.mark.slow),
        ("swin3d_t_ava", None, 7),
    ],
)
def test_the_last_map(name, dilated, places):
    model, clip = abstract(name), get_spec(name).video
    assert max(model.widths.maps) == 224 // places == model.head.stride
    video = jax.ShapeDtypeStruct((1, clip.num_frames, 224, 224, 3), np.float32)
    graphdef, params, stats = split(model)
    maps = jax.eval_shape(lambda p, s, v: merge(graphdef, p, s).encode(v).maps, params, stats, video)
    assert maps[model.head.stride].shape[2:4] == (places, places)
    if dilated is not None:
        stages = model.slow.stages if "slowfast" in name else model.stages
        kinds = [{type(block.conv2) for block in stage} for stage in stages]
        assert kinds == [{Conv3D}] * 3 + [{DilatedConv3D if dilated else Conv3D}]


@pytest.mark.parametrize("backbone", ["videomae_tiny", "swin3d_tiny", "mvit_tiny", "slowfast_tiny", "i3d_nl_tiny"])
def test_any_network_with_maps_takes_boxes(backbone):
    """In pictures that are not square as well."""
    variant = get_variant(backbone)
    build, clip = with_boxes(variant.build), variant.spec.video
    assert {"roi_size", "roi_context", "in_channels", *variant.kwargs} <= set(arguments_of(build))
    key = jax.random.key(0)
    rngs = types.SimpleNamespace(params=lambda: key)
    model = nnx.eval_shape(lambda: build(5, rngs=rngs, **variant.kwargs))
    model.eval()
    for size in ((clip.size, clip.size), (clip.size, clip.size + 32)):
        shapes = {"video": (2, clip.num_frames, *size, 3), "boxes": (2, 4, 4)}
        assert call(model, {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}).shape == (
            2, 4, 5,
        )  # fmt: skip


def test_options_are_arguments():
    model = abstract("slow_detect_tiny", num_classes=3, roi_context="global", roi_hidden=8)
    assert model.head.hidden.kernel.shape == (2 * 256, 8) and dict(model.conventions) == {"roi_aligned": True}
    with pytest.raises(UserError, match="takes no argument 'aligned'"):
        vidjax.create_model("slow_detect_tiny", aligned=False)
    with pytest.raises(ValueError, match="probe = 'linear': slow_detect_tiny classifies boxes, not whole clips"):
        vidjax.create_model("slow_detect_tiny", probe="linear")
    with pytest.raises(ValueError, match=r"strides = \(1, 2, 2\): a dilated convolution has none"):
        abstract("slow_detect_tiny", strides=((1, 2, 2),) * 3)


def test_the_tokens_of_a_detector_are_normalised():
    settings = {"dim": 12, "depth": 1, "heads": 2, "num_frames": 2, "size": 16, "tubelet": (2, 4, 4)}
    model = VideoMAE(3, rngs=nnx.Rngs(0), normalised_tokens=True, **settings)
    found = jax.jit(lambda video: model.encode(video))(np.ones((1, 2, 16, 16, 3), np.float32))
    np.testing.assert_allclose(found.maps[4].mean(axis=-1), 0, atol=1e-5)
    np.testing.assert_allclose(found.tokens.mean(axis=1), found.pooled, atol=1e-6)
    table = sinusoid_table(2 * 4 * 4, 12)
    cubic = fixed_positions("index", "cubic")((2, 4, 6), 12, (2, 4, 4))
    np.testing.assert_array_equal(cubic, resize_table(table, (2, 4, 4), (2, 4, 6), "cubic"))
    with pytest.raises(ValueError, match=r"position_mode = 'cubic': must be one of .*, for positions = 'index'"):
        fixed_positions("axes", "cubic")
    assert np.abs(cubic - fixed_positions("index")((2, 4, 6), 12, (2, 4, 4))).max() > 1e-2
