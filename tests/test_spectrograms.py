"""Spectrograms by name: how many spectra a sound gives, and names that there are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidjax.errors import UserError
from vidjax.sound_features import features
from vidjax.spectrograms import SPECTROGRAMS, spectrogram


@pytest.mark.parametrize("name", SPECTROGRAMS)
def test_counts_are_those_of_the_arithmetic(name):
    settings = SPECTROGRAMS[name]
    for samples in (settings.window, settings.window + 1, 3 * settings.window + 7):
        made = features(np.zeros(samples, np.float32), settings)
        assert made.shape == (settings.count(samples), settings.values)


@given(st.sampled_from(sorted(SPECTROGRAMS)), st.integers(1, 2000))
def test_fewest_samples_for_a_number_of_spectra(name, count):
    settings = SPECTROGRAMS[name]
    samples = settings.samples(count)
    assert settings.count(samples) == count
    assert samples == 0 or settings.count(samples - 1) < count


def test_published_sizes():
    ast, vggish = SPECTROGRAMS["ast"], SPECTROGRAMS["vggish"]
    assert ast.count(160_000) == 998 and ast.values == 128  # 10 s
    assert vggish.samples(96) == 15_600 and vggish.values == 64
    assert SPECTROGRAMS["mbt"].count(128_000) == 800  # 8 s
    assert SPECTROGRAMS["panns"].count(320_000) == 1001


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match="spectrogram 'mels': unknown; give one of slaney, htk"):
        spectrogram("mels")
