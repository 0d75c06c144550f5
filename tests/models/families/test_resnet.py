"""The ResNet itself, on nets small enough to train: it learns, and what remat and bfloat16 change and do not."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from vidjax.models.families.resnet import Bottleneck, ResNet, Stage, Stem, factorised_conv, frame_conv, joint_conv
from vidjax.models.state import merge, split

LABEL = jnp.arange(4) % 3


def make(conv=factorised_conv, seed=0, **kwargs):
    rngs = nnx.Rngs(seed)
    dtype = kwargs.get("dtype")
    stem = Stem(4, (3, 3, 3), mid_features=4, dtype=dtype, rngs=rngs)
    stages = (Stage(1, 4, (1, 1, 1), conv), Stage(1, 8, (2, 2, 2), conv))
    return ResNet(3, stem=stem, stem_features=4, stages=stages, rngs=rngs, **kwargs)


def clips(batch=4, frames=4, size=8):
    return jnp.asarray(np.random.default_rng(0).standard_normal((batch, frames, size, size, 3)), jnp.float32)


def gradient_step(model):
    """`(loss, logits, new statistics), gradients` of one training step, compiled."""
    model.train()
    graphdef, params, stats = split(model)

    @jax.jit
    def step(params, stats, video):
        def loss(params):
            model = merge(graphdef, params, stats)
            logits = model(video, rngs=nnx.Rngs(dropout=0))
            value = optax.softmax_cross_entropy_with_integer_labels(logits, LABEL).mean()
            return value, (value, logits, split(model)[2])

        gradients, out = jax.grad(loss, has_aux=True)(params)
        return out, gradients

    return step, params, stats


def test_it_overfits_four_clips():
    step, params, stats = gradient_step(make())
    before = stats
    losses = []
    for _ in range(30):
        (value, _, stats), gradients = step(params, stats, clips())
        assert all(np.isfinite(gradient).all() for gradient in gradients.values())
        params = {path: array - np.float32(0.2) * gradients[path] for path, array in params.items()}
        losses.append(float(value))
    assert losses[-1] < 0.3 * losses[0]
    assert all((np.asarray(stats[path]) != before[path]).any() for path in stats)
    assert all(np.asarray(gradient).any() for gradient in gradients.values())


def test_evaluation_leaves_the_statistics_alone_and_clips_apart():
    model = make()
    model.eval()
    _, _, before = split(model)
    video = clips()
    logits = nnx.jit(lambda model, video: (model(video), model.features(video)))
    together, features = logits(model, video)
    chex.assert_trees_all_equal(split(model)[2], before)
    chex.assert_trees_all_close(logits(model, video[:1])[0], together[:1], atol=1e-5)
    chex.assert_shape((together, features), [(4, 3), (4, 8)])
    chex.assert_trees_all_close(model.head(features), together, atol=1e-6)


def test_recomputing_activations_changes_no_gradient():
    expected, gradients = {}, {}
    for remat in ("", "full"):
        step, params, stats = gradient_step(make(remat=remat))
        (_, _, expected[remat]), gradients[remat] = step(params, stats, clips())
    chex.assert_trees_all_close(gradients["full"], gradients[""], atol=1e-5)
    chex.assert_trees_all_close(expected["full"], expected[""], atol=1e-5)
    graphdef, params, stats = split(make(remat="full"))
    assert "remat" in str(jax.make_jaxpr(lambda video: merge(graphdef, params, stats)(video))(clips()))


def test_bfloat16_compute_is_close_and_parameters_stay_float32():
    outputs = {}
    for dtype in (None, jnp.bfloat16):
        step, params, stats = gradient_step(make(dtype=dtype))
        (_, logits, new_stats), gradients = step(params, stats, clips())
        assert {array.dtype for array in (logits, *new_stats.values(), *gradients.values())} == {np.dtype("float32")}
        outputs[dtype] = np.asarray(logits)
    exact, rounded = outputs.values()
    assert 0 < np.linalg.norm(exact - rounded) < 0.1 * np.linalg.norm(exact)
    model = make(dtype=jnp.bfloat16)
    model.eval()
    assert jax.eval_shape(model.stem, clips()).dtype == jnp.bfloat16


def test_dropout_only_in_training_mode():
    model = make(dropout=0.5)
    model.eval()
    answer = nnx.jit(lambda model, seed: model(clips(), rngs=nnx.Rngs(dropout=jax.random.key(seed))))
    chex.assert_trees_all_equal(answer(model, 0), answer(model, 1))
    model.dropout.train()
    first, again, other = (np.asarray(answer(model, seed)) for seed in (0, 0, 1))
    chex.assert_trees_all_equal(first, again)
    assert (first != other).any()


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
