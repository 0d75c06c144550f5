"""What all small networks do with numbers: in batches, in half precision, in training, recomputed, and that they learn.

What they give by what names, and what they refuse: tests/models/test_base.py.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.small import overfit
from tests.models.tiny import FAMILIES, TINY, clips, graph, takes, tiny
from vidjax.models.registry import family_of, get_spec, list_models
from vidjax.models.state import merge, split

pytestmark = pytest.mark.usefixtures("plain_convolutions")

# As many as the family takes, half of it dropped.
DRAWS = {"dropout": 0.5, "drop_path": 0.5}


def with_draws(name, **kwargs):
    return graph(name, **kwargs, **{argument: rate for argument, rate in DRAWS.items() if takes(name, argument)})


@functools.cache
def program(name):
    """Of clips and a random key: logits, those of bfloat16 activations, and those in training mode, all compiled."""
    graphdefs = [graph(name), graph(name, dtype=jnp.bfloat16), with_draws(name)]
    arrays = split(tiny(name))[1:]

    @jax.jit
    def run(arrays, video, key):
        exact, rounded, training = (merge(graphdef, *arrays) for graphdef in graphdefs)
        training.train()
        return [model(video, rngs=nnx.Rngs(dropout=key)) for model in (exact, rounded, training)]

    return lambda video, seed: [np.asarray(logits) for logits in run(arrays, video, jax.random.key(seed))]


@functools.cache
def computed(name):
    return program(name)(clips(name), 0)


# Some with every run of the tests, the first of each other family with the slow ones, others with the exhaustive ones.
FIRST = FAMILIES.values()
FAST = ("conv3d_tiny", "r2plus1d_tiny", "slowfast_tiny", "videomae_tiny", "ast_tiny")
every = pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            n, marks=() if n in FAST else pytest.mark.slow if n in FAMILIES.values() else pytest.mark.exhaustive
        )
        for n in TINY
    ],
)
family = pytest.mark.parametrize("name", FAMILIES.values(), ids=FAMILIES)

# Run operation by operation only where that takes no time.
QUICK = ("conv3d_tiny", "feature_linear_tiny", "frame_pool_tiny", "tsm_tiny", "videomae_tiny", "vivit_tiny")


def test_every_family_that_classifies_is_here():
    classify = {family_of(name)[1] for name in list_models() if get_spec(name).task == "classify"}
    # V-JEPA 2 has no small network.
    assert classify - set(FAMILIES) == {"vjepa2"}


@every
def test_logits_are_float32_and_those_of_bfloat16_activations_are_close(name):
    exact, rounded, _ = computed(name)
    chex.assert_shape((exact, rounded), (2, 3))
    assert exact.dtype == rounded.dtype == np.float32
    error = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
    assert error < 0.05
    assert (error > 0) == (name != "feature_linear_tiny")  # one layer, always float32


@pytest.mark.parametrize(
    "name",
    [
        n
        if n in QUICK
        else pytest.param(n, marks=pytest.mark.slow if n in FAMILIES.values() else pytest.mark.exhaustive)
        for n in TINY
    ],
)
def test_parts_agree_with_each_other_compiled_or_not(name):
    model, video = tiny(name), clips(name)

    def run(model, video):
        parts = model.encode(video)
        return parts, model.features(video), model.tokens(video), model(video), model.apply_head(parts)

    compiled = nnx.jit(run)(model, video)
    parts, features, tokens, logits, classified = compiled
    chex.assert_trees_all_close((parts.pooled, parts.tokens, logits), (features, tokens, classified), atol=1e-5)
    if parts.windows is not None:
        mean = parts.windows.reshape(2, -1, parts.windows.shape[-1]).mean(axis=1)
        chex.assert_trees_all_close(parts.pooled, mean, atol=1e-5)
    if name in QUICK:
        chex.assert_trees_all_close(compiled, run(model, video), atol=1e-4, rtol=1e-4)


@every
def test_clips_of_a_batch_do_not_know_of_each_other(name):
    before, *_ = computed(name)
    mixed = jax.tree.map(lambda one, other: np.stack([one[0], other[1]]), clips(name), clips(name, seed=1))
    after, *_ = program(name)(mixed, 0)
    np.testing.assert_array_equal(after[0], before[0])
    # Squeeze-and-excitation with drawn weights damps what it passes on, and here the clip's whole difference with it.
    assert np.abs(after[1] - before[1]).max() > (1e-4 if name == "frame_pool_effnet_tiny" else 1e-3)


@every
def test_training_draws_and_evaluation_does_not(name):
    (exact, _, drawn), (again, other) = computed(name), (program(name)(clips(name), seed) for seed in (0, 1))
    np.testing.assert_array_equal(again[2], drawn)
    assert np.abs(other[2] - drawn).max() > 1e-3
    np.testing.assert_array_equal(other[0], exact)


def ways(name):
    """The arguments that change how a network of the family is computed, and not what."""
    return [
        {argument: value} for argument, value in (("remat", "full"), ("scan_blocks", True)) if takes(name, argument)
    ]


def loss_of(name, **kwargs):
    """Of the arrays: of one training step, with everything that draws."""
    graphdef, video = with_draws(name, **kwargs), clips(name, 3)

    def loss(params, stats):
        model = merge(graphdef, params, stats)
        model.train()
        logits = model(video, rngs=nnx.Rngs(dropout=1))
        return jnp.square(logits - 1).mean()

    return loss


@every
def test_activations_are_recomputed_if_asked_for(name):
    programs = [str(jax.make_jaxpr(loss_of(name, **way))(*split(tiny(name))[1:])) for way in ({}, *ways(name)[:1])]
    assert ["remat" in program for program in programs] == [False, True][: len(programs)]
    # Two networks of one convolution and one layer have nothing to recompute.
    assert len(programs) == 2 or name in ("conv3d_tiny", "feature_linear_tiny")


# Loops need blocks that are alike, or are so in pairs.
DEEPER = {"mbt_tiny": {"depth": 3, "fusion_layer": 2}, "mvit_tiny": {"depth": 4}, "swin3d_tiny": {"depths": (4, 1)}}


@pytest.mark.slow(first=10)
@pytest.mark.parametrize("name", [*FAMILIES.values(), "vivit_fe_tiny"], ids=[*FAMILIES, "vivit, factorised encoder"])
def test_gradients_are_the_same_whatever_recomputes_or_loops(name):
    deeper = DEEPER.get(name, {})
    arrays, losses = split(tiny(name, **deeper))[1:], [loss_of(name, **deeper, **way) for way in ({}, *ways(name))]
    if takes(name, "scan_blocks"):
        assert ["scan[" in str(jax.make_jaxpr(loss)(*arrays)) for loss in losses] == [False, False, True]
    (value, expected), *others = jax.jit(lambda *arrays: [jax.value_and_grad(loss)(*arrays) for loss in losses])(
        *arrays
    )
    chex.assert_tree_all_finite(expected)
    for other, gradients in others:
        np.testing.assert_allclose(other, value, rtol=1e-5)
        for path, gradient in gradients.items():
            scale = max(1e-2, np.abs(expected[path]).max())
            np.testing.assert_allclose(gradient, expected[path], rtol=0, atol=1e-4 * scale, err_msg=path)


# Where nothing but a class token is classified, the last block's queries of the grid are of no consequence.
IDLE = {"mvit_tiny": [f"blocks.1.attn.{path}" for path in ("pool_q.kernel", "relative_t", "relative_h", "relative_w")]}


@pytest.mark.slow(first=10)
@family
def test_it_overfits_three_clips(name):
    """And every parameter learns, and every statistic moves."""
    losses = overfit(tiny(name), clips(name, 3), steps=20, rate=0.1, idle=IDLE.get(name, ()))
    assert losses[-1] < 0.5 * losses[0]
