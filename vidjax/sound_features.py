"""Log-mel spectrograms and cepstral coefficients of sound, the same code for the host and for devices.

`features(wave, SPECTROGRAMS["ast"])` computes with NumPy; with `xp=jax.numpy` it can be compiled into a step.
"""

import functools
import math
from types import ModuleType
from typing import Any

import numpy as np

from vidjax.errors import UserError
from vidjax.spectrograms import Spectrogram


def features(wave: Any, settings: Spectrogram, frames: int = 0, xp: ModuleType = np) -> Any:
    """Compute the spectrogram, or the cepstral coefficients, of sound.

    Args:
      wave: samples from -1 to 1, float `(…, N)`, at `settings.rate`.
      settings: what to compute, as in `vidjax.spectrograms.SPECTROGRAMS`.
      frames: T, spectra of the result. Missing ones are added at the end, as zeros before normalisation, and further
        ones are left out; 0: as many as the sound gives.
      xp: module of array functions: numpy or jax.numpy.

    Returns:
      `(…, T, settings.values)`, of the type of `wave`.

    Raises:
      UserError: if the sound is too short for one spectrum.
    """
    count = settings.count(wave.shape[-1])
    if count < 1:
        raise UserError(f"{wave.shape[-1]} samples are fewer than the {settings.window} of one spectrum")
    if settings.rms:
        square = xp.mean(wave * wave, axis=-1, keepdims=True)
        wave = wave * xp.where(square > 0, settings.rms / xp.sqrt(xp.where(square > 0, square, 1)), 0)
    pieces = _windows(_extended(wave, settings, count, xp), settings, count, xp)
    if settings.centred:
        pieces = pieces - xp.mean(pieces, axis=-1, keepdims=True)
    energy = _natural(xp.sum(pieces * pieces, axis=-1), settings.floor, xp) if settings.energy else None
    if settings.emphasis:
        before = xp.concatenate([pieces[..., :1], pieces[..., :-1]], axis=-1)
        pieces = pieces - settings.emphasis * before
    spectrum = xp.fft.rfft(pieces * _constant(taper(settings), pieces, xp), settings.fft)
    power = spectrum.real**2 + spectrum.imag**2
    bands = xp.matmul(power if settings.power == 2 else xp.sqrt(power), _constant(filters(settings), wave, xp))
    values = _logarithm(bands, settings, xp)
    if settings.cepstra:
        values = xp.matmul(values, _constant(cosines(settings), wave, xp))
        if energy is not None:
            values = xp.concatenate([energy[..., None], values[..., 1:]], axis=-1)
    if frames > count:
        values = xp.pad(values, [(0, 0)] * (values.ndim - 2) + [(0, frames - count), (0, 0)])
    values = (values[..., : frames or count, :] - settings.mean) / settings.std
    return xp.clip(values, *settings.bounds) if settings.bounds else values


def _constant(values: np.ndarray, like: Any, xp: ModuleType) -> Any:
    return xp.asarray(values, like.dtype)


def _extended(wave: Any, settings: Spectrogram, count: int, xp: ModuleType) -> Any:
    """The sound with what comes before and after it, long enough for `count` windows and not longer."""
    before = settings.window // 2 if settings.edges in ("zeros", "reflect") else 0
    axes = [(0, 0)] * (wave.ndim - 1)
    if settings.edges == "reflect":
        wave = xp.pad(wave, [*axes, (before, before)], mode="reflect")
        before = 0
    # The windows are cut out of whole hops.
    total = (count + -(-settings.window // settings.hop) - 1) * settings.hop
    wave = xp.pad(wave, [*axes, (before, max(0, total - before - wave.shape[-1]))])
    return wave[..., :total]


def _windows(wave: Any, settings: Spectrogram, count: int, xp: ModuleType) -> Any:
    """The windows `(…, count, window)` of a sound of whole hops, which overlap."""
    hops = wave.reshape(*wave.shape[:-1], -1, settings.hop)
    parts = [hops[..., first : first + count, :] for first in range(hops.shape[-2] - count + 1)]
    return xp.concatenate(parts, axis=-1)[..., : settings.window]


def _natural(values: Any, floor: float, xp: ModuleType) -> Any:
    return xp.log(xp.maximum(values, floor))


def _logarithm(bands: Any, settings: Spectrogram, xp: ModuleType) -> Any:
    if settings.log == "offset":
        return xp.log(bands + settings.floor)
    values = _natural(bands, settings.floor, xp)
    if settings.log == "db":
        values = values * (20 / settings.power / math.log(10))
    if settings.range:
        values = xp.maximum(values, xp.max(values, axis=(-2, -1), keepdims=True) - settings.range)
    return values


@functools.lru_cache(maxsize=64)
def taper(settings: Spectrogram) -> np.ndarray:
    """Window function, float64 `(window,)`."""
    periodic = settings.taper == "hann"
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(settings.window) / (settings.window - (not periodic)))
    return hann**0.85 if settings.taper == "povey" else hann


def hertz_to_mel(hertz: np.ndarray, scale: str) -> np.ndarray:
    """Frequencies in Hz on the mel scale "htk", "slaney" or "kaldi".

    "slaney" is linear below 1 kHz, 3 mel per 200 Hz, and logarithmic above.
    """
    hertz = np.asarray(hertz, np.float64)
    if scale == "slaney":
        above = 15 + np.log(np.maximum(hertz, 1000) / 1000) * (27 / np.log(6.4))
        return np.where(hertz < 1000, hertz * (3 / 200), above)
    factor = 1127.0 if scale == "kaldi" else 2595 / np.log(10)
    return factor * np.log1p(hertz / 700)


def mel_to_hertz(mel: np.ndarray, scale: str) -> np.ndarray:
    """Inverse of `hertz_to_mel`."""
    mel = np.asarray(mel, np.float64)
    if scale == "slaney":
        return np.where(mel < 15, mel * (200 / 3), 1000 * np.exp((np.maximum(mel, 15) - 15) * (np.log(6.4) / 27)))
    factor = 1127.0 if scale == "kaldi" else 2595 / np.log(10)
    return 700 * np.expm1(mel / factor)


@functools.lru_cache(maxsize=64)
def filters(settings: Spectrogram) -> np.ndarray:
    """Weights of the frequencies in each mel band, float64 `(fft // 2 + 1, bands)`."""
    high = settings.high or settings.rate / 2
    low, high = hertz_to_mel(np.array([settings.low, high]), settings.scale)
    edges = np.linspace(low, high, settings.bands + 2)
    places = np.arange(settings.fft // 2 + 1) * (settings.rate / settings.fft)
    hertz = mel_to_hertz(edges, settings.scale)
    if settings.triangles == "mel":
        places = hertz_to_mel(places, settings.scale)
    else:
        edges = hertz
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (places[:, None] - left) / (centre - left)
    falling = (right - places[:, None]) / (right - centre)
    weights = np.maximum(0, np.minimum(rising, falling))
    return weights * (2 / (hertz[2:] - hertz[:-2])) if settings.area else weights


@functools.lru_cache(maxsize=64)
def cosines(settings: Spectrogram) -> np.ndarray:
    """Orthonormal discrete cosine transform (II) from bands to coefficients, with the lifter, float64 `(bands,
    cepstra)`."""
    number, band = np.arange(settings.cepstra), np.arange(settings.bands)[:, None]
    matrix = np.cos(np.pi / settings.bands * (band + 0.5) * number) * np.sqrt(2 / settings.bands)
    matrix[:, 0] *= np.sqrt(0.5)
    if settings.lifter:
        matrix = matrix * (1 + 0.5 * settings.lifter * np.sin(np.pi * number / settings.lifter))
    return matrix
