"""Kernel gradients by matrix products, and line by line, are those of XLA's convolution."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidjax.nn.formulations import native
from vidjax.nn.kernel_gradient import depthwise_kernel_gradient, kernel_gradient


def draw(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def check(x, kernel, strides, pads, groups=1):
    y, transpose = jax.vjp(lambda kernel: native(x, kernel, strides, pads, groups), kernel)
    dy = draw(y.shape, 2)
    of_kernel = kernel_gradient if groups == 1 else depthwise_kernel_gradient
    gradient = of_kernel(x, dy, kernel.shape, strides, pads)
    chex.assert_trees_all_close(gradient, transpose(dy)[0], atol=1e-4, rtol=1e-4)


@pytest.mark.slow(after=4)
@pytest.mark.parametrize("inputs", [2, 17], ids=["few inputs", "many inputs"])
@pytest.mark.parametrize("outputs", [3, 16], ids=["few outputs", "many outputs"])
@pytest.mark.parametrize("strides", [(1, 1, 1), (2, 1, 2), (1, 2, 1)])
def test_taps_are_shared_out(inputs, outputs, strides):
    """Time and height belong to either factor, by the strides and the channels; the padding is lopsided."""
    check(draw((2, 5, 6, 7, inputs)), draw((3, 3, 2, inputs, outputs), 1), strides, ((1, 0), (2, 1), (0, 1)))


@pytest.mark.parametrize("shape", [(2, 16, 17, 36, 2), (2, 2, 3, 3, 2)], ids=["long", "short"])
def test_single_taps(shape):
    check(draw(shape), draw((1, 1, 1, 2, 3), 1), (2, 1, 2), ((0, 0),) * 3)


@pytest.mark.parametrize(
    ("kernel", "strides"), [((1, 3, 3), (1, 2, 1)), ((3, 2, 3), (2, 1, 2)), ((2, 1, 1), (1, 1, 1))]
)
def test_depthwise(kernel, strides):
    check(draw((2, 5, 6, 7, 4)), draw((*kernel, 1, 4), 1), strides, ((1, 0), (2, 1), (0, 1)), groups=4)


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(st.data())
def test_any_shape(data):
    kernel = [data.draw(st.integers(1, 3)) for _ in range(3)]
    strides = tuple(data.draw(st.integers(1, 3)) for _ in range(3))
    pads = tuple((data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))) for _ in range(3))
    clip = [k + data.draw(st.integers(0, 3)) for k in kernel]
    inputs, outputs = data.draw(st.sampled_from([2, 20])), data.draw(st.sampled_from([1, 20]))
    check(draw((2, *clip, inputs)), draw((*kernel, inputs, outputs), 1), strides, pads)


def test_sums_of_16_bit_floats_are_32_bits_wide():
    x, dy = draw((1, 3, 4, 4, 2)).astype(jnp.bfloat16), draw((1, 3, 4, 4, 3), 1).astype(jnp.bfloat16)
    strides, pads = (1, 1, 1), ((0, 0),) * 3
    assert kernel_gradient(x, dy, (1, 1, 1, 2, 3), strides, pads).dtype == jnp.float32
    assert depthwise_kernel_gradient(x, dy[..., :2], (1, 1, 1, 1, 2), strides, pads).dtype == jnp.float32
