"""The ResNet itself: its kinds of convolution and of blocks, and what bfloat16 does not change."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vidjax.models.families.resnet import Bottleneck, ResNet, Stage, Stem, factorised_conv, frame_conv, joint_conv
from vidjax.models.state import merge, split


def make(conv=factorised_conv, seed=0, **kwargs):
    rngs = nnx.Rngs(seed)
    dtype = kwargs.get("dtype")
    stem = Stem(4, (3, 3, 3), mid_features=4, dtype=dtype, rngs=rngs)
    stages = (Stage(1, 4, (1, 1, 1), conv), Stage(1, 8, (2, 2, 2), conv))
    return ResNet(3, stem=stem, stem_features=4, stages=stages, rngs=rngs, **kwargs)


def clips(batch=4, frames=4, size=8):
    return jnp.asarray(np.random.default_rng(0).standard_normal((batch, frames, size, size, 3)), jnp.float32)


@pytest.mark.slow
def test_parameters_statistics_and_gradients_stay_float32_in_half_precision():
    model = make(dtype=jnp.bfloat16)
    model.eval()
    assert jax.eval_shape(model.stem, clips()).dtype == jnp.bfloat16
    model.train()
    graphdef, params, stats = split(model)

    def loss(params, stats):
        model = merge(graphdef, params, stats)
        logits = model(clips())
        return logits.sum(), (logits, split(model)[2])

    gradients, (logits, new_stats) = jax.eval_shape(jax.grad(loss, has_aux=True), params, stats)
    assert {array.dtype for array in (logits, *new_stats.values(), *gradients.values())} == {np.dtype("float32")}


def test_kinds_of_convolution_differ_in_time_only():
    sizes = {}
    for conv in (frame_conv, joint_conv, factorised_conv):
        model = nnx.eval_shape(lambda conv=conv: make(conv))
        sizes[conv] = {path: array.shape for path, array in split(model)[1].items()}
    assert sizes[frame_conv]["stages.1.0.conv1.kernel"] == (1, 3, 3, 4, 8)
    assert sizes[joint_conv]["stages.1.0.conv1.kernel"] == (3, 3, 3, 4, 8)
    # As many parameters as the joint convolution has, up to rounding the width: 27·4·8 / (9·4 + 3·8) = 14.
    assert sizes[factorised_conv]["stages.1.0.conv1.spatial.kernel"] == (1, 3, 3, 4, 14)
    assert sizes[factorised_conv]["stages.1.0.conv2.temporal.kernel"] == (3, 1, 1, 14, 8)


def test_a_residual_branch_can_start_as_nothing():
    rngs = nnx.Rngs(0)
    block = Bottleneck(16, 4, (1, 1, 1), frame_conv, zero_init=True, rngs=rngs)
    x = jnp.abs(jnp.asarray(np.random.default_rng(0).standard_normal((1, 2, 4, 4, 16)), jnp.float32))
    chex.assert_trees_all_equal(block(x), x)


def test_unknown_pooling_is_named():
    with pytest.raises(ValueError, match="'median'"):
        make(temporal_pooling="median")
