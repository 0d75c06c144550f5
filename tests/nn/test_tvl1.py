"""TV-L1 on the device: OpenCV's flow of two real frames, and its parts by their definitions."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden import FOLDER
from vidjax.nn.tvl1 import TVL1, _divergence, _gradient, _median, _warped, tvl1_flow


def test_medians_and_cubic_interpolation_of_opencv():
    rng = np.random.default_rng(0)
    picture = rng.uniform(0, 255, (20, 23)).astype(np.float32)
    np.testing.assert_allclose(jax.jit(_median)(picture), cv2.medianBlur(picture, 5), atol=1e-4)
    flow = (rng.integers(-160, 160, (2, 20, 23)) / 32).astype(np.float32)  # OpenCV's steps of a place
    y, x = np.mgrid[:20, :23].astype(np.float32)
    theirs = cv2.remap(picture, x + flow[0], y + flow[1], cv2.INTER_CUBIC)
    np.testing.assert_allclose(jax.jit(_warped)(picture[None], flow)[0], theirs, atol=0.05)


def test_divergence_is_minus_the_transpose_of_the_gradient():
    rng = np.random.default_rng(1)
    x, dual = rng.normal(size=(2, 5, 6)).astype(np.float32), rng.normal(size=(2, 2, 5, 6)).astype(np.float32)
    dual[:, 0, :, -1] = dual[:, 1, -1] = 0  # as the gradient is there
    left, right = jnp.vdot(_gradient(jnp.asarray(x)), dual), -jnp.vdot(x, _divergence(jnp.asarray(dual)))
    np.testing.assert_allclose(left, right, rtol=1e-4)


@pytest.mark.slow
def test_flow_of_opencv():
    with np.load(FOLDER / "flow" / "opencv_arm_wrestling.npz") as stored:
        first, second = stored["gray"][:, 20:84, 30:110]
    theirs = cv2.optflow.DualTVL1OpticalFlow_create().calc(first, second, None)
    pair = [np.stack([a, b]) for a, b in ((first, first), (second, first))]  # the second pair is still
    flow, still = jax.jit(tvl1_flow)(*pair)
    distance = np.linalg.norm(flow - theirs, axis=-1)
    assert distance.mean() < 0.05 and np.percentile(distance, 95) < 0.2
    assert np.linalg.norm(theirs, axis=-1).mean() > 5 * distance.mean()
    assert not np.any(still)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"pictures \(1, 8, 20\) and \(1, 8, 20\): both must be \(B, H, W\) of 16"):
        tvl1_flow(jnp.zeros((1, 8, 20)), jnp.zeros((1, 8, 20)))
    assert TVL1().weight == 0.15
