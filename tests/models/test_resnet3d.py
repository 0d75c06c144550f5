"""The named video ResNets: what sets each apart, their preprocessing, and that time matters to them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vidjax.models import create_model, get_spec
from vidjax.models.resnet3d import VARIANTS
from vidjax.models.state import split


def shapes_of(name):
    variant = VARIANTS[name]
    model = nnx.eval_shape(lambda: variant.build(num_classes=7, rngs=nnx.Rngs(0), **variant.kwargs))
    return {path: array.shape for path, array in split(model)[1].items()}


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


@pytest.mark.parametrize("name", ["r3d_18", "mc3_18", "r2plus1d_18"])
def test_published_preprocessing(name):
    spec = get_spec(name)
    assert (spec.num_frames, spec.fps, spec.size, spec.resize) == (16, 15, 112, (128, 171))
    assert spec.mean == (0.43216, 0.394666, 0.37645)
    assert spec.std == (0.22803, 0.22145, 0.216989)


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
