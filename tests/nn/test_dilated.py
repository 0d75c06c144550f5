"""Dilated convolutions against XLA's own."""

import jax
import numpy as np
import pytest
from flax import nnx
from jax import lax

from tests.models.abstract import drawn
from vidjax.nn.dilated import DilatedConv3D
from vidjax.nn.packed import pack, packed_maps


@pytest.mark.parametrize(("kernel", "dilation", "sizes"), [((1, 3, 3), 2, (2, 5, 8)), ((3, 3, 1), 3, (3, 7, 4))])
def test_equals_a_convolution_with_holes(kernel, dilation, sizes):
    layer = drawn(lambda rngs: DilatedConv3D(4, 3, kernel, dilation, use_bias=True, rngs=rngs))
    x = np.random.default_rng(0).standard_normal((2, *sizes, 4)).astype(np.float32)
    steps = (1, dilation, dilation)
    wanted = lax.conv_general_dilated(
        x,
        layer.kernel[...],
        (1, 1, 1),
        [(k // 2 * step,) * 2 for k, step in zip(kernel, steps, strict=True)],
        rhs_dilation=steps,
        dimension_numbers=("NTHWC", "THWIO", "NTHWC"),
    ) + np.asarray(layer.bias[...]).reshape(1, 1, 1, 1, -1)
    np.testing.assert_allclose(layer(x), wanted, atol=1e-5)


def test_packed_columns_are_unpacked_and_packed_again():
    layer = drawn(lambda rngs: DilatedConv3D(4, 3, (1, 3, 3), 2, rngs=rngs))
    x = np.random.default_rng(0).standard_normal((1, 1, 4, 8, 4)).astype(np.float32)

    @nnx.jit
    def run(layer, x):
        with packed_maps():
            return layer(x)

    np.testing.assert_allclose(run(layer, pack(jax.numpy.asarray(x), 2)), pack(layer(x), 2), atol=1e-5)
