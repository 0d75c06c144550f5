"""PANNs' table: every key has its place, constants are known, and embedding and logits are the reference's."""

import numpy as np
import pytest
from flax import nnx

from tests.golden import golden, read_keys, relative_error
from tests.weights.listing import assert_complete, golden_keys, shapes
from vidjax.models.state import split
from vidjax.sound_features import features
from vidjax.spectrograms import SPECTROGRAMS
from vidjax.weights import load_pretrained
from vidjax.weights.mapping import convert
from vidjax.weights.read import CheckpointError
from vidjax.weights.table import recognise
from vidjax.weights.tables.panns import constants
from vidjax.weights.write import rule_of, to_state_dict

CONSTANTS = ("spectrogram_extractor.", "logmel_extractor.")


def waveforms(rate, seconds):
    """The reference's inputs: a chirp and clicks; noise and the chirp backwards."""
    n = round(rate * seconds)
    t = np.arange(n) / rate
    low, high = 100.0, 0.4 * rate
    chirp = 0.5 * np.sin(2 * np.pi * (low * t + (high - low) * t**2 / (2 * seconds)))
    chirp = chirp + 0.01 * np.random.default_rng(0).standard_normal(n)
    clicks = 0.3 * np.sin(2 * np.pi * 440.0 * t) * (np.floor(t / 0.15).astype(int) % 2 == 0)
    clicks = clicks + 0.05 * np.random.default_rng(1).standard_normal(n) * (t >= seconds / 2)
    noise = 0.1 * np.random.default_rng(2).standard_normal(n)
    return np.stack([chirp, clicks]).astype(np.float32), np.stack([noise, chirp[::-1]]).astype(np.float32)


def renamed(keys, blocks, convs=2, kernel=3):
    """The keys of CNN14 as those of a smaller one, `(name, shape)`."""
    out = {}
    for key, array in keys.items():
        if key.startswith("conv_block"):
            number, conv = int(key[10]), key.split(".")[1][-1]
            if number > blocks or int(conv) > convs:
                continue
        shape = tuple(512 if n == 2048 else n for n in array.shape)
        if array.ndim == 4:
            shape = (*shape[:2], kernel, kernel)
        out[key] = np.broadcast_to(np.float32(0), shape)
    return out


@pytest.mark.parametrize(
    ("name", "blocks", "convs", "kernel"), [("panns_cnn14", 6, 2, 3), ("panns_cnn10", 4, 2, 3), ("panns_cnn6", 4, 1, 5)]
)
def test_every_published_key_and_shape_has_its_place(name, blocks, convs, kernel):
    state = golden_keys("panns_cnn14")
    if name != "panns_cnn14":
        state = renamed(state, blocks, convs, kernel)
    learned = {key: array for key, array in state.items() if not key.startswith(CONSTANTS)}
    assert assert_complete(name, learned, 527).name == "panns"
    assert len(state) == len(learned) + 3
    wanted = shapes(name, 527)
    assert convert(state, recognise(state, name), wanted).keys() == wanted.keys()


def test_constants_are_those_of_the_transform_and_written_back():
    rng = np.random.default_rng(0)
    for preset, fft, high in (("panns", 1024, 14_000), ("panns_16k", 512, 8_000)):
        real, imaginary, mel = constants(preset).values()
        assert real.shape == imaginary.shape == (fft // 2 + 1, 1, fft) and mel.shape == (fft // 2 + 1, 64)
        wave = rng.standard_normal(fft)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(fft) / fft)
        spectrum = np.fft.rfft(wave * window)
        np.testing.assert_allclose(real[:, 0] @ wave, spectrum.real, atol=1e-3)
        np.testing.assert_allclose(imaginary[:, 0] @ wave, spectrum.imag, atol=1e-3)
        hertz = np.arange(fft // 2 + 1) * SPECTROGRAMS[preset].rate / fft
        assert not mel[(hertz < 50) | (hertz > high)].any() and (mel.max(axis=0) > 0).all()
    expected = {key: shape for key, shape, _ in read_keys("panns_cnn14") if key.startswith(CONSTANTS)}
    assert {key: array.shape for key, array in constants("panns").items()} == expected


def test_a_network_for_another_rate_is_refused():
    state = dict(golden_keys("panns_cnn14")) | constants("panns")
    table = recognise(state, "panns_cnn14")
    assert table.problem(state) == ""
    other = recognise(state, "panns_cnn14_16k")
    assert "mel filters (513 × 64) are not those of the spectrogram 'panns_16k'" in other.problem(state)
    assert other.problem({}) == ""
    eight = {**state, "logmel_extractor.melW": 2 * state["logmel_extractor.melW"]}
    assert "'panns'" in table.problem(eight)


@pytest.mark.slow
def test_a_file_of_the_reference_with_everything_is_read_and_written_whole():
    state = {**golden("panns_cnn14_32k").state, **constants("panns")}
    model = load_pretrained("panns_cnn14", state)
    written = to_state_dict(model, "panns_cnn14", "panns")
    assert {key: array.shape for key, array in written.items()} == {k: s for k, s, _ in read_keys("panns_cnn14")}
    for key, array in state.items():
        np.testing.assert_array_equal(written[key], array, err_msg=key)
    with pytest.raises(CheckpointError, match="is of another network: its mel filters"):
        load_pretrained("panns_cnn14_16k", state)


@pytest.mark.slow
def test_embedding_and_logits_are_the_references():
    expected = golden("panns_cnn14_32k")
    state = {key: array for key, array in expected.state.items() if not key.startswith(CONSTANTS)}
    model = load_pretrained("panns_cnn14", state)
    first, second = waveforms(32_000, 2.0)
    logmel = features(np.stack([first[0], second[1]]), SPECTROGRAMS["panns"])
    np.testing.assert_allclose(logmel[0, ::4, ::3], expected.others["logmel"][0], atol=0.02)
    parts, logits = nnx.jit(lambda m, a: (m.features(a), m(a)))(model, logmel)
    assert relative_error(parts[:1, ::8], expected.others["embedding"][:1]) < 1e-4
    for found, wanted in zip(logits, expected.of_both("logits64"), strict=True):
        assert relative_error(found, wanted) < 1e-4
    assert split(model)[2].keys() >= {"norm.mean", "blocks.5.norms.1.var"}
    assert rule_of(recognise(state, "panns_cnn14"), "fc.kernel")
