"""Single-pathway bottleneck networks on shrunken forms: what enters the last layer, and that they learn.

Their kernels and widths are compared with the references' in tests/weights/test_slow.py.
"""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.small import draw, overfit
from vidjax.models import get_spec
from vidjax.models.families.slow import VARIANTS, TemporalFirstConv, VideoResNet, temporal_first_conv
from vidjax.nn.conv import conv_formulation

TINY = {"depths": (1,), "temporal_kernels": ((3,), (1,)), "width": 8, "nonlocal_blocks": ((), ())}
# The families shrunken that have no small network: every option that one of them has is in one of these.
SHRUNKEN = {
    "mmaction2": {
        "nonlocal_blocks": ((0,),),
        "nonlocal_mode": "dot_product",
        "nonlocal_options": {"pool_first": False, "out_bias": False},
        "stem_strides": (2, 2, 2),
        "window": 0,
    },
    "r2plus1d": {"conv": temporal_first_conv, "pool_strides": None, "strides": ((1, 2, 2),)},
}


@pytest.fixture(autouse=True)
def quick_to_compile():
    """Which formulation a convolution takes is tested elsewhere; XLA's own compiles ten times as fast."""
    with conv_formulation("native"):
        yield


def tiny(**kwargs):
    return VideoResNet(3, rngs=nnx.Rngs(0), **{**TINY, "dropout": 0.0, "zero_init": False, **kwargs})


def evaluated(**kwargs):
    model = tiny(**kwargs)
    model.eval()
    return model


@pytest.mark.parametrize(
    ("name", "frames"),
    [("c2d_r50", 4), ("c2d_r50_nopool", 8), ("slow_r50", 8), ("i3d_r50", 4), ("i3d_r50_mm", 4), ("r2plus1d_r50", 4)],
)
def test_frames_and_pixels_of_the_last_map(name, frames):
    variant, spec = VARIANTS[name], get_spec(name)
    small = {**variant.kwargs, "depths": (1, 1, 1, 1), "width": 8}

    def last_map():
        model = variant.build(num_classes=7, rngs=nnx.Rngs(0), **small)
        x = model.stem(jnp.zeros((1, spec.video.num_frames, spec.video.size, spec.video.size, 3)))
        for index in range(4):
            x = model.stage(index, x)
        return x

    assert jax.eval_shape(last_map).shape == (1, frames, 7, 7, 256)


def test_published_protocols():
    slow, mmaction2 = get_spec("slow_r50"), get_spec("i3d_r50_nl_mm")
    assert (slow.video.num_frames, slow.video.stride, slow.video.size, slow.video.resize) == (8, 8, 224, (256,))
    assert (slow.video.mean, slow.video.std) == ((0.45,) * 3, (0.225,) * 3)
    assert (mmaction2.video.num_frames, mmaction2.video.stride, mmaction2.video.mean[0]) == (32, 2, 0.485)
    assert VARIANTS["i3d_r50_nl_dot_mm"].kwargs["nonlocal_mode"] == "dot_product"
    for name in VARIANTS:
        assert name.endswith("_tiny") or "_flow" in name or get_spec(name).published.startswith("K400 ")


@pytest.mark.slow
@pytest.mark.parametrize("family", SHRUNKEN)
def test_it_overfits_three_clips(family):
    model = tiny(dropout=0.1, **SHRUNKEN[family])
    for behind in model.nonlocals:
        for block in behind:
            if block is not None:  # its branch starts as nothing, which gives most of it no gradient
                block.norm.scale[...] = jnp.ones_like(block.norm.scale[...])
    losses = overfit(model, draw((3, 4, 16, 16, 3)), steps=20, rate=0.2)
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.slow
def test_residual_branches_start_as_nothing():
    model = evaluated(zero_init=True, depths=(2,), nonlocal_blocks=((1,),))
    x = jnp.abs(draw((1, 2, 4, 4, 32)))
    chex.assert_trees_all_equal(model.stages[0][1](x), x)
    chex.assert_trees_all_equal(model.nonlocals[0][1](x), x)
    assert model.nonlocals[0][0] is None
    assert float(tiny().stages[0][0].norm3.scale[...].min()) == 1


@pytest.mark.parametrize(("window", "positions"), [(9, (8, 4)), (7, (10, 6)), (0, (1, 1)), (20, (1, 1))])
def test_the_classifier_sees_every_window(window, positions):
    """Of a map of 16×12 pixels; with one window it is a plain classifier."""
    model = evaluated(window=window)
    model.head.kernel[...] = draw(model.head.kernel.shape)
    x = draw((2, 2, 16, 12, 32))
    model.stem, model.stage, model.channels = (lambda video: video), (lambda index, x: x), 32
    windows = model.encode(x).windows
    chex.assert_shape(windows, (2, 1, *positions, 32))
    chex.assert_trees_all_close(model.features(x), windows.mean(axis=(1, 2, 3)), atol=1e-6)
    wanted = jax.nn.softmax(model.head.each(windows)).mean(axis=(1, 2, 3))
    chex.assert_trees_all_close(jax.nn.softmax(model(x)), wanted, atol=1e-5)
    if positions == (1, 1):
        chex.assert_trees_all_close(model.head(model.features(x)), model(x), atol=1e-5)


def test_only_c2d_is_blind_to_the_order_of_frames():
    video = draw((1, 4, 32, 32, 3))
    both = jnp.concatenate([video, video[:, jnp.array([2, 0, 3, 1])]])
    features = nnx.jit(lambda model, video: model.features(video))
    for kernel, blind in ((1, True), (3, False)):
        exact = features(evaluated(temporal_kernels=((kernel,),)), both)
        chex.assert_shape(exact, (2, 32))
        assert (np.abs(exact[0] - exact[1]).max() < 1e-4) == blind


def test_time_comes_before_space_in_r2plus1d_r50():
    layer = TemporalFirstConv(2, 3, (2, 2, 2), rngs=nnx.Rngs(0))
    layer.eval()
    x = draw((1, 4, 6, 6, 2))
    inner = nnx.relu(layer.norm(layer.temporal(x)))
    chex.assert_shape(inner, (1, 2, 6, 6, 3))
    chex.assert_shape(layer(x), (1, 2, 3, 3, 3))
    chex.assert_trees_all_close(layer(x), layer.spatial(inner))


def test_an_unknown_mode_is_named():
    with pytest.raises(ValueError, match="nonlocal_mode = 'gauss'"):
        nnx.eval_shape(partial(tiny, nonlocal_mode="gauss", nonlocal_blocks=((0,), ())))
