"""Packed maps: the same numbers as the plain ones, for kernels, norms and whole networks."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import vidjax
from vidjax.models.state import merge, split
from vidjax.nn.conv import Conv3D, conv3d
from vidjax.nn.norm import BatchNorm, normalising
from vidjax.nn.packed import columns_for, pack, packed_kernel, packed_maps, packing, unpack
from vidjax.nn.target_backend import targeting


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.slow
@settings(deadline=None, max_examples=8)
@given(
    kernel=st.tuples(st.sampled_from([1, 3]), st.sampled_from([1, 3]), st.sampled_from([1, 3, 5])),
    strides=st.tuples(st.sampled_from([1, 2]), st.sampled_from([1, 2]), st.sampled_from([1, 2])),
    columns=st.sampled_from([2, 4, 8]),
    blocks=st.integers(1, 3),
)
def test_a_packed_convolution_is_the_plain_one(kernel, strides, columns, blocks):
    x, weights = draw(2, 4, 5, columns * blocks, 3), draw(*kernel, 3, 4, seed=1)
    padding = tuple(k // 2 for k in kernel)
    plain = conv3d(x, weights, strides=strides, padding=padding)
    with packed_maps():
        packed = conv3d(pack(jnp.asarray(x), columns), weights, strides=strides, padding=padding)
    assert packed.shape == (*plain.shape[:3], blocks, columns // strides[2] * 4)
    np.testing.assert_allclose(unpack(packed, 4), plain, atol=1e-4)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("affine", [True, False])
def test_packed_norms_have_the_statistics_of_channels(groups, affine):
    x, plain, packed = 2 + draw(4, 2, 3, 8, 5), *(BatchNorm(5, affine=affine, rngs=nnx.Rngs(0)) for _ in range(2))
    for norm in (plain, packed):
        if affine:
            norm.scale[...], norm.bias[...] = draw(5, seed=1), draw(5, seed=2)

    def close():
        with packed_maps():
            y = packed(pack(jnp.asarray(x), 4))
        np.testing.assert_allclose(unpack(y, 5), plain(jnp.asarray(x)), atol=1e-5)
        for name in ("mean", "var"):
            np.testing.assert_allclose(getattr(packed, name)[...], getattr(plain, name)[...], atol=1e-5)

    plain.train(), packed.train()
    with normalising(plain, groups=groups), normalising(packed, groups=groups):
        close()
    assert (plain.mean[...] > 0.1).all()
    plain.eval(), packed.eval()
    close()


@pytest.mark.slow
def test_a_packed_slowfast_computes_and_learns_the_same():
    """In float64: gradients through ReLUs and maxima would be those of other elements here and there."""
    model = vidjax.create_model("slowfast_tiny", num_classes=3)
    model.train()
    graphdef, params, stats = split(model)

    def update(params, stats, video):
        def loss(params):
            model = merge(graphdef, params, stats)
            features = model.encode(video)
            logits = model.apply_head(features)
            return jnp.square(logits - 1).sum(), (logits, features.maps, split(model)[2])

        return jax.grad(loss, has_aux=True)(params)

    answers = []
    with jax.enable_x64(True):
        inputs = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), (params, stats, draw(2, 8, 32, 32, 3)))
        for columns in (1, 4):
            with packing(columns):
                traced = jax.jit(update).trace(*inputs)
                answers.append(traced.lower().compile()(*inputs))
            assert ("f64[3,1,1,32,32]" in str(traced.jaxpr)) == (columns == 4)  # the Fast pathway's first kernel
    chex.assert_trees_all_close(*answers, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_inner_outputs_stay_as_they_are():
    graphdef, params, stats = split(vidjax.create_model("slowfast_tiny", num_classes=3))

    def inner(params, stats, video):
        return merge(graphdef, params, stats).intermediates(video, "fast.stages.0.0")

    with packing(4):
        (block,) = jax.eval_shape(inner, params, stats, draw(1, 8, 64, 64, 3)).values()
    assert block.shape == (1, 8, 16, 16, 32)


def test_registers_of_tpus_alone_are_filled():
    assert columns_for(56, 8) == 1
    with targeting("tpu"):
        assert [columns_for(*sizes) for sizes in ((56, 8), (64, 8), (64, 64), (7, 8), (64, 256))] == [8, 16, 2, 1, 1]
        with packing(4):
            assert columns_for(56, 8) == 4


def test_what_cannot_be_packed_is_refused():
    with pytest.raises(ValueError, match="3 columns with stride 2 and padding 0, 0 does not fit 8 columns"):
        packed_kernel(jnp.ones((1, 1, 3, 2, 2)), (1, 1, 2), ((0, 0), (0, 0), (0, 0)), 8, 4)
    with packed_maps(), pytest.raises(ValueError, match="groups"):
        conv3d(jnp.ones((1, 2, 2, 2, 8)), jnp.ones((1, 1, 1, 1, 4)), groups=4)


def test_a_bias_is_added_to_each_column():
    layer, x = Conv3D(3, 2, 1, use_bias=True, rngs=nnx.Rngs(0)), jnp.asarray(draw(1, 2, 2, 4, 3))
    layer.bias[...] = jnp.array([1.0, -1.0])
    with packed_maps():
        packed = layer(pack(x, 2))
    np.testing.assert_allclose(unpack(packed, 2), layer(x), atol=1e-5)
