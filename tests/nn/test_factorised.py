"""R(2+1)D's convolution: its width, its shapes for any strides, and what it computes."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from vidjax.nn.conv import Conv3D, conv3d
from vidjax.nn.factorised import Conv2Plus1D, mid_width

KERNELS = st.tuples(*3 * [st.sampled_from([1, 2, 3, 5, 7])])
STRIDES = st.tuples(*3 * [st.integers(1, 3)])


def test_the_papers_widths():
    # R(2+1)D-18's, and mmaction2's stem, from their published checkpoints.
    assert [mid_width(64, 64), mid_width(64, 128), mid_width(128, 128), mid_width(256, 512)] == [144, 230, 288, 921]
    assert mid_width(3, 64, (3, 7, 7)) == 83
    assert mid_width(1, 1, 1) == 1  # a layer without channels would be none


@settings(deadline=None, max_examples=200)
@given(inside=st.integers(1, 70), outside=st.integers(1, 70), kernel=KERNELS)
def test_the_width_is_the_most_that_costs_no_more_than_the_full_kernel(inside, outside, kernel):
    kt, kh, kw = kernel
    full = math.prod(kernel) * inside * outside

    def cost(width):
        return width * (kh * kw * inside + kt * outside)

    width = mid_width(inside, outside, kernel)
    assert cost(width + 1) > full
    assert cost(width) <= full or width == 1


@settings(deadline=None, max_examples=25)
@given(inside=st.integers(1, 6), outside=st.integers(1, 6), kernel=KERNELS, strides=STRIDES)
def test_it_has_the_shape_and_at_most_the_parameters_of_the_full_convolution(inside, outside, kernel, strides):
    padding = tuple(k // 2 for k in kernel)

    def answers():
        rngs = nnx.Rngs(0)
        x = jnp.zeros((1, 6, 9, 8, inside))
        full = Conv3D(inside, outside, kernel, strides, padding, rngs=rngs)
        parts = Conv2Plus1D(inside, outside, kernel, strides, rngs=rngs)
        return full(x), parts(x), full.kernel[...], parts.spatial.kernel[...], parts.temporal.kernel[...]

    full, parts, kernel_full, spatial, temporal = jax.eval_shape(answers)
    assert parts.shape == full.shape
    width = spatial.shape[-1]
    assert spatial.size + temporal.size <= kernel_full.size or width == 1
    assert spatial.shape == (1, *kernel[1:], inside, width)
    assert temporal.shape == (kernel[0], 1, 1, width, outside)


def test_space_then_norm_and_relu_then_time():
    layer = Conv2Plus1D(2, 3, (3, 3, 3), (2, 1, 2), mid_features=4, epsilon=0.5, rngs=nnx.Rngs(0))
    layer.eval()
    layer.norm.mean.set_value(jnp.array([0.1, -0.1, 0.0, 0.2]))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 6, 6, 2)), jnp.float32)
    y = conv3d(x, layer.spatial.kernel[...], strides=(1, 1, 2), padding=(0, 1, 1))
    y = jnp.maximum((y - layer.norm.mean[...].reshape(1, 1, 1, 1, 4)) / jnp.sqrt(1.5), 0)
    y = conv3d(y, layer.temporal.kernel[...], strides=(2, 1, 1), padding=(1, 0, 0))
    chex.assert_shape(y, (2, 3, 6, 3, 3))
    chex.assert_trees_all_close(layer(x), y, atol=1e-5)
