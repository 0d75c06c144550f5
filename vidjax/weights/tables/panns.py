"""Weights of PANNs, as named by qiuqiangkong/audioset_tagging_cnn.

Its networks compute the spectrogram by themselves, with convolutions whose kernels are constants: its files hold these
too. They are left out, compared with the model's spectrogram where there are any, and written back as the reference
computes them.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np

from vidjax.sound_features import filters, taper
from vidjax.spectrograms import SPECTROGRAMS
from vidjax.weights.layer_rules import batch_norm, dense
from vidjax.weights.layouts import CONV2D
from vidjax.weights.table import Rule, Source

_REAL, _IMAGINARY = (f"spectrogram_extractor.stft.conv_{part}.weight" for part in ("real", "imag"))
_MEL = "logmel_extractor.melW"


def constants(preset: str, state: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """Kernels of the Fourier transform and mel filters with which the reference computes a spectrogram.

    Args:
      preset: name of the spectrogram.
      state: unused; the arrays do not depend on the weights.
    """
    del state
    settings = SPECTROGRAMS[preset]
    times, frequencies = np.arange(settings.fft), np.arange(settings.fft // 2 + 1)
    angles = 2 * np.pi / settings.fft * (np.outer(frequencies, times) % settings.fft)
    window = taper(settings)
    return {
        _REAL: (np.cos(angles) * window)[:, None].astype(np.float32),
        _IMAGINARY: (-np.sin(angles) * window)[:, None].astype(np.float32),
        _MEL: filters(settings).astype(np.float32),
    }


def _other_spectrogram(preset: str, state: Mapping[str, np.ndarray]) -> str:
    """Difference between a checkpoint's mel filters, if it has any, and those of a preset; empty: none."""
    if _MEL not in state:
        return ""
    there, here = np.asarray(state[_MEL], np.float32), filters(SPECTROGRAMS[preset])
    if there.shape == here.shape and np.allclose(there, here, atol=1e-3 * np.abs(here).max()):
        return ""
    sizes = " × ".join(map(str, there.shape))
    return f"its mel filters ({sizes}) are not those of the spectrogram {preset!r}, which is for another rate or range"


def _source(models: tuple[str, ...], preset: str) -> Source:
    return Source(
        name="panns",
        models=models,
        signature=("bn0.weight", "conv_block1.conv1.weight", "fc1.weight", "fc_audioset.weight"),
        rules=(
            *batch_norm("bn0", "norm"),
            Rule("conv_block{s}.conv{c}.weight", "blocks.{s-1}.convs.{c-1}.kernel", CONV2D),
            *batch_norm("conv_block{s}.bn{c}", "blocks.{s-1}.norms.{c-1}"),
            *dense("fc1", "fc"),
            *dense("fc_audioset", "head"),
        ),
        ignore=("*.num_batches_tracked", _REAL, _IMAGINARY, _MEL),
        buffers=partial(constants, preset),
        problem=partial(_other_spectrogram, preset),
    )


SOURCES = (
    _source(("panns_cnn14", "panns_cnn10", "panns_cnn6"), "panns"),
    _source(("panns_cnn14_16k",), "panns_16k"),
)
