"""Features of sound against librosa, torchaudio, Kaldi, VGGish and AST, on the host and compiled."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.peers import needs
from tests.sounds import YARDSTICKS, chirp
from vidjax.errors import UserError
from vidjax.sound_features import features, filters, hertz_to_mel, mel_to_hertz, taper
from vidjax.spectrograms import SPECTROGRAMS

CHANGED = dataclasses.replace
# Array of the yardsticks → settings, spectra, and the largest difference in decibels or nats.
CASES = {
    "librosa_logmel": (SPECTROGRAMS["slaney"], 0, 1e-3),
    "librosa_mfcc": (SPECTROGRAMS["slaney_mfcc"], 0, 1e-3),
    "torchaudio_logmel": (CHANGED(SPECTROGRAMS["htk"], range=80.0), 0, 1e-3),
    "torchaudio_mfcc": (SPECTROGRAMS["htk_mfcc"], 0, 1e-3),
    # Its quietest bands are four orders of magnitude below the loudest: float32 leaves 2e-3 there.
    "kaldi_fbank128": (CHANGED(SPECTROGRAMS["ast"], mean=0.0, std=1.0), 0, 3e-3),
    "kaldi_mfcc13": (CHANGED(SPECTROGRAMS["kaldi_mfcc"], energy=False), 0, 3e-3),
    "ast_input": (SPECTROGRAMS["ast"], 112, 1e-3),
    "vggish_logmel": (SPECTROGRAMS["vggish"], 0, 1e-3),
}


@pytest.mark.parametrize("name", CASES)
def test_yardsticks(name):
    settings, frames, most = CASES[name]
    expected, wave = np.load(YARDSTICKS)[f"chirp_{name}"], chirp()
    host = features(wave, settings, frames)
    device = jax.jit(lambda wave: features(wave, settings, frames, jnp))(wave)
    assert host.dtype == device.dtype == np.float32
    for made in (host, np.asarray(device)):
        assert np.abs(made - expected).max() < most
    if settings.log == "natural":  # exact arithmetic is nearer than that
        assert np.abs(features(wave.astype(np.float64), settings, frames) - expected).max() < 1e-3


def test_energy_is_the_first_coefficient_of_kaldi():
    wave, settings = chirp(), SPECTROGRAMS["kaldi_mfcc"]
    made = features(wave, settings)
    window = wave[160:560].astype(np.float64)
    assert made[1, 0] == pytest.approx(np.log(((window - window.mean()) ** 2).sum()), abs=1e-4)
    np.testing.assert_array_equal(made[:, 1:], features(wave, CHANGED(settings, energy=False))[:, 1:])


@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")  # so it is published
@pytest.mark.parametrize("name", ["slaney", "htk", "kaldi", "ast", "panns", "panns_16k", "vggish", "mbt"])
def test_transformers(name):
    """A second implementation of all mel scales, window functions and edges, in float64."""
    needs("transformers")
    from transformers import audio_utils

    s, wave = SPECTROGRAMS[name], chirp(SPECTROGRAMS[name].rate, 0.3).astype(np.float64)
    scale = {"htk": "htk", "slaney": "slaney", "kaldi": "kaldi"}[s.scale]
    bank = audio_utils.mel_filter_bank(
        s.fft // 2 + 1, s.bands, s.low, s.high or s.rate / 2, s.rate, norm="slaney" if s.area else None,
        mel_scale=scale, triangularize_in_mel_space=s.triangles == "mel",
    )  # fmt: skip
    np.testing.assert_allclose(filters(s), bank, atol=2e-5)
    padded = np.pad(wave, (0, s.window)) if s.edges == "end" else wave
    expected = audio_utils.spectrogram(
        padded, taper(s), s.window, s.hop, s.fft, power=float(s.power), center=s.edges in ("zeros", "reflect"),
        pad_mode="reflect" if s.edges == "reflect" else "constant", preemphasis=s.emphasis or None, mel_filters=bank,
        mel_floor=s.floor if s.log != "offset" else 0.0, remove_dc_offset=s.centred,
    ).T  # fmt: skip
    if s.log == "offset":
        expected = np.log(expected + s.floor)
    else:
        expected = np.log(expected) * (10 / np.log(10) if s.log == "db" else 1)
    if s.range:
        expected = np.maximum(expected, expected.max() - s.range)
    made = features(wave, CHANGED(s, mean=0.0, std=1.0))
    # transformers computes in complex64 inside.
    assert np.abs(made - expected[: len(made)]).max() < 2e-3


@pytest.mark.parametrize("name", SPECTROGRAMS)
def test_silence_is_finite_and_the_same_everywhere(name):
    settings = SPECTROGRAMS[name]
    wave = np.zeros(settings.rate // 2, np.float32)
    made = features(wave, settings)
    assert np.isfinite(made).all() and np.ptp(made, axis=0).max() < 1e-4


def test_silence_is_at_the_floor():
    wave = np.zeros(16_000, np.float32)
    np.testing.assert_allclose(features(wave, SPECTROGRAMS["slaney"]), -100, rtol=1e-6)
    on_device = features(
        jnp.asarray(wave), SPECTROGRAMS["mmaction2"], xp=jnp
    )  # also of the loudness that is divided by
    assert (np.asarray(on_device) == 0).all()
    np.testing.assert_allclose(features(wave, SPECTROGRAMS["kaldi"]), np.log(2.0**-23), rtol=1e-6)
    np.testing.assert_allclose(features(wave, SPECTROGRAMS["vggish"]), np.log(0.01), rtol=1e-6)
    assert (features(wave, SPECTROGRAMS["mmaction2"]) == 0).all()


def test_missing_spectra_are_zeros_before_normalisation():
    made = features(chirp(), SPECTROGRAMS["ast"], 112)
    np.testing.assert_allclose(made[98:], 0.467, atol=1e-3)
    np.testing.assert_array_equal(made[:98], features(chirp(), SPECTROGRAMS["ast"]))
    np.testing.assert_array_equal(made[:50], features(chirp(), SPECTROGRAMS["ast"], 50))


def test_loudness_that_is_made_equal_first_does_not_matter():
    wave = chirp()
    np.testing.assert_allclose(
        features(wave, SPECTROGRAMS["mmaction2"]), features(0.01 * wave, SPECTROGRAMS["mmaction2"]), atol=1e-5
    )


def test_axes_before_that_of_samples_are_kept():
    waves = np.stack([chirp(), -chirp()])[None]
    made = features(waves, SPECTROGRAMS["htk"])
    assert made.shape == (1, 2, 101, 64)
    np.testing.assert_allclose(made[0, 1], features(waves[0, 1], SPECTROGRAMS["htk"]), atol=1e-4)


@pytest.mark.parametrize("scale", ["htk", "slaney", "kaldi"])
def test_mel_scales_are_inverted(scale):
    hertz = np.array([0.0, 55.0, 999.0, 1000.0, 1001.0, 8000.0])
    np.testing.assert_allclose(mel_to_hertz(hertz_to_mel(hertz, scale), scale), hertz, rtol=1e-12, atol=1e-9)


def test_too_little_sound():
    with pytest.raises(UserError, match="399 samples are fewer than the 400 of one spectrum"):
        features(np.zeros(399, np.float32), SPECTROGRAMS["ast"])
