"""InternVideo2: its pooling, first positions and temperature, against their definitions."""

import jax
import numpy as np
import pytest

from tests.models.abstract import drawn, params_of
from tests.models.small import draw
from vidjax.models.families.internvideo2 import MeanQueryPooling, sinusoids
from vidjax.models.registry import get_spec


def test_the_named_network_is_as_large_as_the_reference():
    """As its class in the repository counts, and the temperature."""
    assert sum(int(np.prod(shape)) for shape in params_of("internvideo2_clip_s14").values()) == 86867200 + 1


def test_the_pooling_asks_with_the_mean_of_all_tokens():
    pool, x = drawn(lambda rngs: MeanQueryPooling(8, 2, 5, rngs=rngs)), np.asarray(draw((2, 6, 8)), np.float64)

    def norm(layer, y):
        centred = y - y.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
        return scaled * np.asarray(layer.scale[...]) + np.asarray(layer.bias[...])

    def dense(layer, y):
        return y @ np.asarray(layer.kernel[...], np.float64) + np.asarray(layer.bias[...])

    q = dense(pool.q, norm(pool.q_norm, x.mean(axis=1, keepdims=True)))
    k, v = dense(pool.k, norm(pool.k_norm, x)), dense(pool.v, norm(pool.v_norm, x))
    parts = []
    for head in (slice(0, 4), slice(4, 8)):
        scores = q[..., head] @ k[..., head].swapaxes(1, 2) / 2
        weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        parts.append(weights @ v[..., head])
    wanted = dense(pool.proj, np.concatenate(parts, axis=-1))[:, 0]
    given = jax.jit(lambda x: pool(x))(x.astype(np.float32))
    np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-5)


def test_first_positions_tell_time_column_and_row():
    table = sinusoids((2, 3, 4), 32)
    assert table.shape == (1, 25, 32) and not table[0, 0].any()
    time, row, column = 1, 2, 3
    place = table[0, 1 + (time * 3 + row) * 4 + column]
    angles = [n / 10000 ** (np.arange(width) / width) for n, width in ((time, 4), (column, 6), (row, 6))]
    wanted = np.concatenate([f(angle) for angle in angles for f in (np.sin, np.cos)])
    np.testing.assert_allclose(place, wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="dim = 24: the positions need a multiple of 16"):
        sinusoids((1, 1, 1), 24)


def test_inputs():
    spec = get_spec("internvideo2_clip_b14")
    assert (spec.video.num_frames, spec.video.resize, spec.inputs["text"].rules) == (8, (224, 224), "clip")
