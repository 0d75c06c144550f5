"""The named video ResNets: what sets each apart, their preprocessing, and that time matters to them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import abstract
from tests.models.small import draw, overfit
from vidjax.models import create_model, get_spec
from vidjax.models.families.resnet import ResNet, Stage, Stem, factorised_conv
from vidjax.models.families.resnet3d import VARIANTS, MMBlock
from vidjax.models.state import split


def shapes_of(name):
    return {path: array.shape for path, array in split(abstract(name, 7))[1].items()}


def test_kernels_of_the_three_networks():
    r3d, mc3, r2plus1d = (shapes_of(name) for name in ("r3d_18", "mc3_18", "r2plus1d_18"))
    assert r3d["stages.3.1.conv2.kernel"] == (3, 3, 3, 512, 512)
    assert mc3["stages.0.1.conv2.kernel"] == (3, 3, 3, 64, 64)
    assert mc3["stages.1.0.conv1.kernel"] == (1, 3, 3, 64, 128)
    assert r2plus1d["stem.conv.spatial.kernel"] == (1, 7, 7, 3, 45)
    # The first block's input sets the width inside both of its convolutions: 230, then 288 in the second block.
    widths = [r2plus1d[f"stages.1.{block}.conv{c}.spatial.kernel"][-1] for block in (0, 1) for c in (1, 2)]
    assert widths == [230, 230, 288, 288]
    assert r2plus1d["head.kernel"] == (512, 7)


def test_deeper_networks_have_the_same_blocks():
    short, deep = shapes_of("r3d_18"), shapes_of("r3d_34")
    assert short.items() <= deep.items()
    blocks = {path.rsplit(".", 2)[0] for path in deep if path.endswith("conv1.kernel")}
    assert [sum(block.startswith(f"stages.{s}.") for block in blocks) for s in range(4)] == [3, 4, 6, 3]


def test_mmaction2s_widths_and_epsilons():
    shapes = shapes_of("r2plus1d_34")
    assert shapes["stem.conv.spatial.kernel"] == (1, 7, 7, 3, 83)
    # Every convolution has the width of its own channels, 230 and 288, and so have the shortcuts.
    widths = [shapes[f"stages.1.{block}.conv{c}.spatial.kernel"][-1] for block in (0, 1) for c in (1, 2)]
    assert widths == [230, 288, 288, 288]
    assert shapes["stages.1.0.shortcut.conv.spatial.kernel"] == (1, 1, 1, 64, 54)
    assert shapes["stages.1.0.shortcut.conv.temporal.kernel"] == (1, 1, 1, 54, 128)
    epsilons = {
        ("inside" if isinstance(path[-2], str) and path[-2].startswith("conv") else "behind", module.epsilon)
        for path, module in nnx.iter_modules(abstract("r2plus1d_34", 7))
        if isinstance(module, nnx.BatchNorm)
    }
    assert epsilons == {("inside", 1e-5), ("behind", 1e-3)}


@pytest.mark.slow
@pytest.mark.usefixtures("plain_convolutions")
def test_mmaction2s_blocks_learn():
    rngs = nnx.Rngs(0)
    stem = Stem(4, (1, 3, 3), rngs=rngs)
    stages = (Stage(1, 4, (1, 1, 1), factorised_conv), Stage(1, 6, (2, 2, 2), factorised_conv))
    model = ResNet(3, stem=stem, stem_features=4, stages=stages, block=MMBlock, rngs=rngs)
    losses = overfit(model, draw((3, 4, 8, 8, 3)), steps=20)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", ["r3d_18", "r3d_34", "mc3_18", "r2plus1d_18"])
def test_published_preprocessing(name):
    spec = get_spec(name)
    assert (spec.video.num_frames, spec.video.fps, spec.video.size, spec.video.resize) == (16, 15, 112, (128, 171))
    assert spec.video.mean == (0.43216, 0.394666, 0.37645)
    assert spec.video.std == (0.22803, 0.22145, 0.216989)


@pytest.mark.parametrize(("name", "frames"), [("r3d_18", 2), ("mc3_18", 16), ("r2plus1d_18", 2)])
def test_which_stages_halve_time(name, frames):
    variant = VARIANTS[name]

    def last_stage():
        model = variant.build(num_classes=7, rngs=nnx.Rngs(0), **variant.kwargs)
        x = model.stem(jnp.zeros((1, 16, 112, 112, 3)))
        for blocks in model.stages:
            for block in blocks:
                x = block(x)
        return x

    assert jax.eval_shape(last_stage).shape == (1, frames, 7, 7, 512)


def test_the_tiny_network_sees_the_order_of_frames():
    model = create_model("r2plus1d_tiny", num_classes=3)
    video = jnp.asarray(np.random.default_rng(0).standard_normal((2, 8, 16, 16, 3)), jnp.float32)
    logits = nnx.jit(lambda model, video: model(video))
    forwards, backwards = logits(model, video), logits(model, video[:, ::-1])
    chex.assert_shape(forwards, (2, 3))
    chex.assert_shape(jax.eval_shape(model.features, video), (2, 64))
    assert float(jnp.abs(forwards - backwards).max()) > 1e-3 * float(jnp.abs(forwards).max())
