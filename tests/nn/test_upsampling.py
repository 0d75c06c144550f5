"""Enlargement of maps: PyTorch's bilinear one with aligned corners, and means of neighbours by their definition."""

import jax
import numpy as np

from tests.peers import needs
from vidjax.nn.upsampling import convex_upsampled, upsampled

torch = needs("torch")


def test_corners_stay_corners():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 2)).astype(np.float32)
    theirs = torch.nn.functional.interpolate(
        torch.tensor(x).permute(0, 3, 1, 2), size=(24, 40), mode="bilinear", align_corners=True
    )
    np.testing.assert_allclose(jax.jit(upsampled, static_argnums=1)(x, 8), theirs.permute(0, 2, 3, 1), atol=1e-5)


def test_means_of_neighbours():
    rng = np.random.default_rng(1)
    x, scores = rng.normal(size=(1, 3, 4, 2)).astype(np.float32), rng.normal(size=(1, 3, 4, 36)).astype(np.float32)
    fine = jax.jit(convex_upsampled, static_argnums=2)(x, scores, 2)
    assert fine.shape == (1, 6, 8, 2)
    weights = np.exp(scores.reshape(3, 4, 9, 2, 2))
    weights /= weights.sum(2, keepdims=True)
    wide = np.pad(x[0], ((1, 1), (1, 1), (0, 0)))
    for row, column in np.ndindex(6, 8):
        near = wide[row // 2 : row // 2 + 3, column // 2 : column // 2 + 3].reshape(9, 2)
        mean = weights[row // 2, column // 2, :, row % 2, column % 2] @ near
        np.testing.assert_allclose(fine[0, row, column], mean, atol=1e-5)
    np.testing.assert_allclose(convex_upsampled(np.ones_like(x), 0 * scores, 2)[0, 2:4, 2:6], 1, atol=1e-6)
