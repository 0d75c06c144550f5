"""The gradient of a depthwise convolution's input is that of XLA's convolution."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidjax.nn.formulations import native, padded
from vidjax.nn.input_gradient import depthwise_input_gradient


def draw(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def check(clip, kernel, strides, pads, channels=4):
    x, kernel = draw((2, *clip, channels)), draw((*kernel, 1, channels), 1)
    y, transpose = jax.vjp(lambda x: native(x, kernel, strides, pads, channels), x)
    dy = draw(y.shape, 2)
    found = depthwise_input_gradient(dy, kernel, clip, strides, pads)
    chex.assert_trees_all_close(found, transpose(dy)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "strides", "pads"),
    [
        ((3, 3, 3), (1, 1, 1), ((1, 1),) * 3),
        ((1, 3, 3), (1, 2, 2), ((0, 0), (1, 1), (0, 1))),
        ((3, 5, 5), (2, 2, 1), ((2, 0), (2, 2), (2, 2))),
        ((2, 1, 3), (3, 2, 1), ((0, 1), (0, 0), (3, 4))),  # places beyond the taps, and taps beyond the kernel
    ],
)
def test_strides_and_borders(kernel, strides, pads):
    check((5, 6, 7), kernel, strides, pads)


@pytest.mark.slow
@given(st.data())
def test_any_shape(data):
    kernel = [data.draw(st.integers(1, 3)) for _ in range(3)]
    strides = tuple(data.draw(st.integers(1, 3)) for _ in range(3))
    pads = tuple((data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))) for _ in range(3))
    check([k + data.draw(st.integers(0, 3)) for k in kernel], kernel, strides, pads, data.draw(st.sampled_from([1, 5])))


@pytest.mark.parametrize("pads", [((1, 1), (0, 0), (0, 0)), ((2, 0), (1, 3), (0, 1))])
@pytest.mark.parametrize("clip", [(1, 2, 3), (4, 3, 2)])
def test_the_gradient_of_repeated_borders_is_that_of_numpys_rule(pads, clip):
    x = draw((2, *clip, 3))
    dy = draw(padded(x, pads, "edge").shape, 1)
    expected = jax.vjp(lambda x: jnp.pad(x, ((0, 0), *pads, (0, 0)), mode="edge"), x)
    found = jax.vjp(lambda x: padded(x, pads, "edge"), x)
    chex.assert_trees_all_equal(found[0], expected[0])
    chex.assert_trees_all_close(found[1](dy), expected[1](dy), atol=1e-6)
