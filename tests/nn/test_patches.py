import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.peers import needs
from vidjax.nn.clips import ClipError
from vidjax.nn.patches import TubeletEmbedding


def test_equals_a_strided_convolution():
    torch = needs("torch")
    layer = TubeletEmbedding(3, 8, (2, 4, 3), rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    layer.bias[...] = jnp.asarray(rng.standard_normal(8), jnp.float32)
    video = rng.standard_normal((2, 4, 8, 9, 3)).astype(np.float32)
    kernel = torch.from_numpy(np.array(layer.kernel).transpose(4, 3, 0, 1, 2))
    bias = torch.from_numpy(np.array(layer.bias))
    clip = torch.from_numpy(video.transpose(0, 4, 1, 2, 3))
    peer = torch.nn.functional.conv3d(clip, kernel, bias, stride=(2, 4, 3))
    np.testing.assert_allclose(layer(jnp.asarray(video)), peer.flatten(2).transpose(1, 2).numpy(), atol=1e-5)


def test_tokens_come_in_order_of_time_height_width():
    layer = TubeletEmbedding(1, 1, (2, 4, 4), rngs=nnx.Rngs(0))
    layer.kernel[...] = jnp.full(layer.kernel.shape, 1 / 32)
    video = np.zeros((1, 4, 8, 12, 1), np.float32)
    for t in range(2):
        for h in range(2):
            for w in range(3):
                video[0, 2 * t : 2 * t + 2, 4 * h : 4 * h + 4, 4 * w : 4 * w + 4] = t * 100 + h * 10 + w
    expected = [0, 1, 2, 10, 11, 12, 100, 101, 102, 110, 111, 112]
    np.testing.assert_allclose(layer(jnp.asarray(video))[0, :, 0], expected, rtol=1e-6)
    assert layer.grid(video) == (2, 2, 3)


def test_initial_kernel_is_pytorchs():
    kernel = np.asarray(TubeletEmbedding(3, 64, (2, 4, 4), rngs=nnx.Rngs(0)).kernel)
    bound = 1 / np.sqrt(2 * 4 * 4 * 3)
    assert 0.95 * bound < np.abs(kernel).max() <= bound
    np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.05)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_integer_pixels_are_refused(dtype):
    layer = TubeletEmbedding(3, 4, (1, 2, 2), dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    with pytest.raises(ClipError, match=f"pixels are {dtype}: normalise them first"):
        layer(jnp.ones((1, 1, 2, 2, 3), dtype))
    with pytest.raises(ClipError, match=f"pixels are {dtype}"):
        layer.project(jnp.ones((1, 1, 12), dtype))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 32, 32, 3), "T×H×W = 3×32×32 does not divide into tubelets of 2×16×16"),
        ((1, 4, 30, 32, 3), "4×30×32 does not divide"),
        ((1, 4, 32, 20, 3), "width of 16"),
        ((1, 0, 32, 32, 3), "0×32×32"),
        ((1, 3, 4, 32, 32), "C = 3, channels last"),
        ((4, 32, 32, 3), r"expected \(B, T, H, W, C\)"),
    ],
)
def test_sizes_that_do_not_divide_are_named(shape, message):
    layer = TubeletEmbedding(3, 4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(layer, jax.ShapeDtypeStruct(shape, jnp.float32))
