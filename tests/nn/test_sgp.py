"""The wider kernel's extent, and the block against its definition; the mean of the whole sequence sees padding."""

import numpy as np
import pytest

from tests.models.abstract import drawn
from vidjax.nn.noise import Noise
from vidjax.nn.sgp import SGPBlock, wide_kernel


@pytest.mark.parametrize(("size", "factor", "wide"), [(1, 5, 11), (15, 1.3, 21), (1, 1.3, 3), (3, 1.2, 5), (5, 2, 13)])
def test_the_wider_kernel_is_odd(size, factor, wide):
    assert wide_kernel(size, factor) == wide


@pytest.mark.slow
def test_padding_is_seen():
    block = drawn(lambda rngs: SGPBlock(4, 6, groups=2, scale=False, rngs=rngs))
    x, mask = np.random.default_rng(0).standard_normal((1, 8, 4)).astype(np.float32), np.ones((1, 8), bool)
    y, _ = block(x, mask)
    longer, more = block(np.pad(x, ((0, 0), (0, 8), (0, 0))), np.pad(mask, ((0, 0), (0, 8))))
    assert more.shape == (1, 16) and np.abs(longer[:, :8] - y).max() > 1e-2
    assert block.out_scale is None and block.mlp_scale is None


def test_noise_has_the_deviation_that_is_asked_for():
    noise = Noise(0.1)
    with pytest.raises(ValueError, match="random stream"):
        noise(np.zeros(3))
    noise.eval()
    np.testing.assert_array_equal(noise(np.ones(3)), np.ones(3))
    with pytest.raises(ValueError, match="deviation"):
        Noise(-1.0)
