"""EfficientNets: their published sizes, their blocks, and what shifts and inflation do with them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import abstract, drawn, params_of
from tests.models.small import draw
from vidjax.models.families.efficientnet import (
    SCALES,
    DepthwiseKind,
    InvertedResidual,
    Layers,
    efficientnet,
    inflated,
)
from vidjax.models.families.shift import TemporalShiftResNet
from vidjax.models.registry import create_model, get_spec, list_models

# Parameters with 1000 classes, as lukemelas/EfficientNet-PyTorch counts them.
PARAMETERS = {
    "lite0": 4_652_008, "lite1": 5_416_680, "lite2": 6_092_072, "lite3": 8_197_096, "lite4": 13_006_568,
    "b0": 5_288_548, "b1": 7_794_184, "b2": 9_109_994, "b3": 12_233_232, "b4": 19_341_616, "b5": 30_389_784,
    "b6": 43_040_704, "b7": 66_347_960,
}  # fmt: skip


@pytest.mark.slow(after=3)
@pytest.mark.parametrize("scale", SCALES)
def test_parameters_are_the_references(scale):
    shapes = params_of(f"frame_pool_effnet_{scale}", num_classes=1000)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == PARAMETERS[scale]
    assert abstract(f"frame_pool_effnet_{scale}", num_classes=1000).widths.pooled == SCALES[scale].last


@pytest.mark.slow
def test_maps_have_the_strides_of_the_picture():
    model = abstract("frame_pool_effnet_lite0")
    features = nnx.eval_shape(lambda m, x: m.encode(x), model, jax.ShapeDtypeStruct((1, 2, 64, 64, 3), jnp.float32))
    assert {stride: m.shape[2:] for stride, m in features.maps.items()} == {
        2: (32, 32, 16), 4: (16, 16, 24), 8: (8, 8, 40), 16: (4, 4, 112), 32: (2, 2, 1280)
    }  # fmt: skip
    assert {stride: m.shape[-1] for stride, m in features.maps.items()} == model.widths.maps


def test_mobile_forms_have_another_range_of_pixels():
    for name in list_models("*_effnet_lite*"):
        video = get_spec(name).video
        scaled = (np.array([0, 127, 255]) / 255 - video.mean[0]) / video.std[0]
        np.testing.assert_allclose(scaled, [-127 / 128, 0, 1], atol=1e-12)
    assert get_spec("frame_pool_effnet_b0").video.mean == (0.485, 0.456, 0.406)
    assert [get_spec(f"frame_pool_effnet_{scale}").video.size for scale in SCALES] == [s.size for s in SCALES.values()]


def block(strides=(1, 1, 1), features=8, frames=1, squeeze=False, padding="same", expand=2):
    layers = Layers(nnx.silu, squeeze, padding=padding, frames=frames)
    return drawn(lambda rngs: InvertedResidual(8, features, strides, DepthwiseKind(3, expand, layers), rngs=rngs))


def test_the_input_is_added_only_where_nothing_changes():
    x = draw((1, 2, 8, 8, 8))
    for options, adds in (({}, True), ({"features": 12}, False), ({"strides": (1, 2, 2)}, False)):
        one = block(**options)
        assert one.shifts is adds
        one.norm3.scale.set_value(0 * one.norm3.scale[...])
        one.norm3.bias.set_value(0 * one.norm3.bias[...])
        chex.assert_trees_all_equal(one(x), x if adds else jnp.zeros_like(one(x)))
    plain = block(expand=1)
    assert plain.expand is None and plain.norm1 is None and plain(x).shape == x.shape


@pytest.mark.parametrize("squeeze", [False, True])
def test_frames_are_seen_one_by_one(squeeze):
    one, x = block(squeeze=squeeze), draw((1, 3, 6, 6, 8))
    apart = jnp.concatenate([one(x[:, t : t + 1]) for t in range(3)], axis=1)
    chex.assert_trees_all_close(one(x), apart, rtol=1e-5, atol=1e-5)
    spanning = block(squeeze=squeeze, frames=3)
    changed = spanning(x.at[:, 2].add(1.0))[:, 1]
    assert not np.allclose(changed, spanning(x)[:, 1])


def test_paddings_differ_with_a_stride_only():
    x = draw((1, 1, 8, 8, 8))
    for strides, differ in (((1, 1, 1), False), ((1, 2, 2), True)):
        same, half = (block(strides, features=12, padding=padding)(x) for padding in ("same", "half"))
        assert np.allclose(same, half, atol=1e-5) is not differ
    with pytest.raises(ValueError, match="'valid': must be one of 'same', 'half'"):
        create_model("frame_pool_effnet_tiny", encoder_options={"padding": "valid"})
    with pytest.raises(ValueError, match="'r19': must be one of"):
        create_model("frame_pool_tiny", encoder="r19")


@pytest.mark.slow
def test_only_blocks_that_add_their_input_shift_it():
    network = drawn(lambda rngs: TemporalShiftResNet(3, **efficientnet("tiny", rngs=rngs)))
    assert [[b.shifts for b in blocks] for blocks in network.stages] == [[False], [False, True], [False]]
    video = draw((1, 3, 16, 16, 3))
    maps, changed = network.maps(video), network.maps(video.at[:, 2].add(1.0))
    # The first frame's maps see the second frame's, and these the third one's, behind the only block that shifts.
    assert [np.array_equal(a[:, 1], b[:, 1]) for a, b in zip(maps, changed, strict=True)] == [True, False, False]


@pytest.mark.slow
def test_a_still_clip_is_its_picture_once_inflated():
    model = drawn(lambda rngs: inflated(3, scale="tiny", rngs=rngs))
    answer, x = nnx.jit(lambda m, v: m(v)), draw((2, 1, 32, 32, 3))
    one, many = (answer(model, jnp.repeat(x, frames, axis=1)) for frames in (1, 4))
    chex.assert_trees_all_close(one, many, rtol=1e-4, atol=1e-5)
