"""mmaction2's networks of sound: convolutions along time and bands, and their sums and joints."""

import jax
import numpy as np
import pytest
from flax import nnx

import vidjax
from tests.models.abstract import abstract, drawn
from tests.models.tiny import clips, tiny
from tests.weights.listing import num_params
from vidjax.models.families.audio_resnet import AudioBottleneck, Parallel, ParallelStem

pytestmark = pytest.mark.usefixtures("plain_convolutions")


def test_sizes_as_published():
    # 11.4 M with the padding of the table of mmaction2's README, which counts a classifier of 400 classes.
    assert num_params("audio_r50_mm", 400) == 6_315_728
    assert round(num_params("audio_r18_mm", 400) / 1e5) == 114
    for name in ("audio_r18_mm", "audio_r50_mm"):
        (input,) = vidjax.get_spec(name).inputs.values()
        assert input.shape == (64, 80)
        found = jax.eval_shape(abstract(name, 400).encode, jax.ShapeDtypeStruct((1, 64, 80), np.float32))
        assert found.grid == ((2, 1, 3) if name == "audio_r18_mm" else (8, 1, 10))


def test_one_convolution_sees_time_and_the_other_bands():
    layer = drawn(lambda rngs: Parallel(1, 2, 3, dtype=None, rngs=rngs))
    impulse = np.zeros((1, 1, 9, 9, 1), np.float32)
    before = layer(impulse)
    impulse[:, :, 4, 4] = 5
    time, bands = (np.abs(np.asarray(a) - np.asarray(b)).max(axis=(0, 1, 4)) for a, b in
                   zip(layer(impulse), before, strict=True))  # fmt: skip
    assert {tuple(place) for place in np.argwhere(time > 1e-6)} <= {(t, 4) for t in (3, 4, 5)}
    assert {tuple(place) for place in np.argwhere(bands > 1e-6)} <= {(4, m) for m in (3, 4, 5)}
    assert (time > 1e-6).any() and (bands > 1e-6).any()


def test_the_stem_normalises_the_sum():
    stem = drawn(lambda rngs: ParallelStem(4, rngs=rngs))
    x = np.random.default_rng(0).standard_normal((1, 1, 12, 10, 1)).astype(np.float32)
    time, bands = stem.conv(x)
    np.testing.assert_allclose(stem(x), nnx.relu(stem.norm(time + bands)), atol=1e-6)


@pytest.mark.parametrize("parallel", [True, False])
def test_a_bottleneck_joins_both_and_strides_once(parallel):
    block = drawn(lambda rngs: AudioBottleneck(6, 4, (1, 2, 2), parallel, rngs=rngs))
    assert block.conv3.kernel.shape == (1, 1, 1, 8 if parallel else 4, 16)
    x = np.random.default_rng(0).standard_normal((1, 1, 7, 5, 6)).astype(np.float32)
    assert block(x).shape == (1, 1, 4, 3, 16)


def test_pooling_over_time_can_be_learned():
    model = tiny("audio_resnet_tiny")
    found = model.encode(clips("audio_resnet_tiny"))
    np.testing.assert_allclose(found.pooled, np.asarray(found.tokens).mean(axis=1), rtol=1e-4, atol=1e-5)
    assert "attention" in abstract("audio_resnet_tiny", 3, temporal_pooling="attention").pooling.name
    with pytest.raises(TypeError, match="takes no argument 'grid'"):
        abstract("audio_resnet_tiny", 3, grid=2)
