"""AST: sizes as published, patches and tokens in their order, and positions for sounds of other lengths."""

import chex
import jax
import numpy as np
import pytest
from flax import nnx

import vidjax
from tests.models.abstract import abstract, drawn
from tests.peers import needs
from vidjax.errors import UserError
from vidjax.models.families.audio_transformer import AST
from vidjax.models.state import split

pytestmark = pytest.mark.usefixtures("plain_convolutions")

SIZES = {"dim": 16, "depth": 1, "heads": 2, "frames": 24, "mels": 16, "patch": 8, "strides": (4, 8)}


def make(**kwargs):
    return drawn(lambda rngs: AST(3, **{**SIZES, **kwargs}, rngs=rngs))


def sound(frames, seed=0):
    return np.random.default_rng(seed).standard_normal((2, frames, 16)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "times", "bands"),
    [("ast_base", 101, 12), ("ast_base_12x12", 85, 10), ("ast_base_14x14", 73, 9), ("ast_base_16x16", 64, 8),
     ("ast_base_speech_commands", 12, 12)],
)  # fmt: skip
def test_grids_as_published(name, times, bands):
    model = abstract(name, vidjax.get_spec(name).num_classes)
    assert model.base_grid == (times, 1, bands)
    assert model.pos_embed.shape == (1, 2 + times * bands, 768)


def test_spectrograms_are_normalised_as_published():
    (audio,), (words,) = (vidjax.get_spec(name).inputs.values() for name in ("ast_base", "ast_base_speech_commands"))
    assert audio.shape == (1024, 128) and words.shape == (128, 128)
    assert (audio.spectrogram.mean, audio.spectrogram.std) == (-4.2677393, 2 * 4.5689974)
    assert (words.spectrogram.mean, words.spectrogram.std) == (-6.845978, 2 * 5.5654526)


def test_patches_and_tokens_are_where_they_are_heard():
    """What changes in one patch alone changes its token most; tokens go by time, then band."""
    model = make(depth=0, strides=(8, 8))
    quiet = np.zeros((1, 24, 16), np.float32)
    for time in range(3):
        for band in range(2):
            loud = quiet.copy()
            loud[:, 8 * time : 8 * time + 8, 8 * band : 8 * band + 8] = 1
            before, after = model.encode(quiet), model.encode(loud)
            change = np.abs(after.tokens - before.tokens).max(axis=(0, 2))
            assert np.flatnonzero(change > 1e-6).tolist() == [2 + 2 * time + band]
            moved = np.abs(after.maps[8] - before.maps[8]).max(axis=(0, 2, 4))
            assert np.argwhere(moved > 1e-6).tolist() == [[time, band]]


def test_the_mean_of_both_tokens_is_normalised_and_classified():
    model, audio = make(), sound(24)
    found = model.encode(audio)
    mean = np.asarray(found.tokens[:, :2]).mean(axis=1)
    mean = (mean - mean.mean(axis=1, keepdims=True)) / mean.std(axis=1, keepdims=True)
    expected = mean * np.asarray(model.fc_norm.scale) + np.asarray(model.fc_norm.bias)
    np.testing.assert_allclose(found.pooled, expected, atol=1e-5)
    chex.assert_trees_all_close(model(audio), model.head(found.pooled), atol=1e-6)


@pytest.mark.parametrize(("frames", "times"), [(16, 3), (8, 1), (40, 9)])
def test_other_lengths_take_the_middle_of_the_positions_or_interpolate(frames, times):
    torch = needs("torch")
    model = make()
    assert model.base_grid == (5, 1, 2)
    table = np.asarray(model.pos_embed[...])
    places = torch.tensor(table[0, 2:].reshape(1, 2, 5, -1)).permute(0, 3, 1, 2)
    if times <= 5:
        first = 5 // 2 - times // 2
        places = places[:, :, :, first : first + times]
    else:
        places = torch.nn.functional.interpolate(places, size=(2, times), mode="bilinear")
    places = places.permute(0, 2, 3, 1).reshape(1, 2 * times, -1).numpy()
    fitted = make(frames=frames)
    assert fitted.base_grid[0] == times
    for path, array in split(model)[1].items():
        if path != "pos_embed":
            np.testing.assert_array_equal(array, split(fitted)[1][path])
    fitted.pos_embed.set_value(jax.numpy.asarray(np.concatenate([table[:, :2], places], axis=1)))
    audio = sound(frames)
    chex.assert_trees_all_close(nnx.jit(lambda m, a: m(a))(model, audio), fitted(audio), atol=1e-5)


def test_sounds_and_networks_that_are_too_small_are_refused():
    with pytest.raises(UserError, match="a sound of 7 frames is too short for patches of 8"):
        make()(sound(7))
    with pytest.raises(ValueError, match="frames = 4, mels = 16: a patch of 8×8"):
        make(frames=4)
