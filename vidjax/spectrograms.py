"""Spectrograms of sound by name: everything that decides their numbers. The arithmetic is in `sound_features.py`.

Names stand for published networks or libraries whose numbers they give: "ast" is the Kaldi filter bank of AST, "slaney"
librosa's default log-mel spectrogram, "htk" torchaudio's.
"""

import dataclasses
from dataclasses import dataclass

from vidjax.errors import UserError


@dataclass(frozen=True)
class Spectrogram:
    """Settings of a log-mel spectrogram, or of cepstral coefficients (MFCC) made from one.

    Attributes:
      rate: samples per second.
      window: samples of one spectrum.
      fft: points of the Fourier transform; samples beyond `window` are zeros.
      hop: samples from one spectrum to the next.
      taper: window function: "hann" (periodic), "hann_symmetric" or "povey" (the latter to the power of 0.85).
      edges: sound before its beginning and after its end. "snipped": spectra lie within the samples. "zeros" or
        "reflect": the first is centred on the first sample, with zeros or the reflected sound around. "end": the first
        begins with the first sample, and zeros follow the last one, so that there is a spectrum for every hop.
      centred: whether the mean of each window's samples is subtracted.
      emphasis: share of the sample before that is subtracted from each sample of a window; 0: none.
      power: exponent of magnitudes: 1 or 2.
      scale: mel scale: "htk", "slaney" or "kaldi" (that of HTK with a rounded constant).
      bands: number of mel bands.
      low, high: bounds of the bands, Hz; `high` 0: half the rate.
      triangles: unit in which filters rise and fall linearly: "hertz" or "mel".
      area: whether filters have an area of 1 (Slaney), instead of a height of 1.
      log: "db" (10 · log10 of power, 20 · log10 of magnitude), "natural", or "offset" (natural, with `floor` added).
      floor: smallest value of a band before the logarithm, or the number added to it.
      range: decibels below the maximum of the whole spectrogram where it is cut off; 0: nowhere.
      cepstra: number of cepstral coefficients made from the bands; 0: none.
      lifter: length of the sinusoidal lifter of the coefficients (Kaldi); 0: none.
      energy: whether the first coefficient is the logarithm of the window's energy (Kaldi).
      mean, std: number subtracted, and number divided by afterwards.
      bounds: lowest and highest value afterwards; (): none.
      rms: root of the mean square that the sound is scaled to first; 0: it is not scaled.
      source: publication or code that defines the numbers.
    """

    rate: int = 16_000
    window: int = 400
    fft: int = 400
    hop: int = 160
    taper: str = "hann"
    edges: str = "zeros"
    centred: bool = False
    emphasis: float = 0.0
    power: int = 2
    scale: str = "htk"
    bands: int = 64
    low: float = 0.0
    high: float = 0.0
    triangles: str = "hertz"
    area: bool = False
    log: str = "db"
    floor: float = 1e-10
    range: float = 0.0
    cepstra: int = 0
    lifter: float = 0.0
    energy: bool = False
    mean: float = 0.0
    std: float = 1.0
    bounds: tuple[float, ...] = ()
    rms: float = 0.0
    source: str = ""

    @property
    def values(self) -> int:
        """Numbers of each spectrum: bands, or cepstral coefficients."""
        return self.cepstra or self.bands

    def count(self, samples: int) -> int:
        """Number of spectra of a sound of so many samples."""
        if self.edges == "snipped":
            return max(0, 1 + (samples - self.window) // self.hop)
        return -(-samples // self.hop) if self.edges == "end" else 1 + samples // self.hop

    def samples(self, count: int) -> int:
        """Fewest samples that give `count` spectra."""
        if self.edges == "snipped":
            return self.window + (count - 1) * self.hop
        return (count - 1) * self.hop + (self.edges == "end")


_LIBROSA = Spectrogram(scale="slaney", area=True, range=80.0, source="librosa 0.11, feature.melspectrogram")
_TORCHAUDIO = Spectrogram(edges="reflect", source="torchaudio 2.11, transforms.MelSpectrogram")
_KALDI = Spectrogram(
    fft=512, taper="povey", edges="snipped", centred=True, emphasis=0.97, scale="kaldi", bands=23, low=20.0,
    triangles="mel", log="natural", floor=2**-23, source="Kaldi, compute-fbank-feats",
)  # fmt: skip
_PANNS = Spectrogram(
    rate=32_000, window=1024, fft=1024, hop=320, edges="reflect", scale="slaney", area=True, low=50.0, high=14_000.0,
    source="Kong et al. 2020, arXiv 1912.10211",
)  # fmt: skip

SPECTROGRAMS: dict[str, Spectrogram] = {
    "slaney": _LIBROSA,
    "htk": _TORCHAUDIO,
    "kaldi": _KALDI,
    "ast": dataclasses.replace(
        _KALDI, taper="hann_symmetric", bands=128, mean=-4.2677393, std=2 * 4.5689974,
        source="Gong et al. 2021, arXiv 2104.01778",
    ),
    "panns": _PANNS,
    "panns_16k": dataclasses.replace(_PANNS, rate=16_000, window=512, fft=512, hop=160, high=8_000.0),
    "vggish": Spectrogram(
        fft=512, edges="snipped", power=1, low=125.0, high=7_500.0, triangles="mel", log="offset", floor=0.01,
        source="Hershey et al. 2017, arXiv 1609.09430",
    ),
    "mmaction2": Spectrogram(
        window=512, fft=512, hop=256, power=1, scale="slaney", area=True, bands=80, low=125.0, high=7_600.0, floor=1e-5,
        mean=-80.0, std=100.0, bounds=(0.0, 1.0), rms=0.1, source="mmaction2 1.2, tools/data/build_audio_features.py",
    ),
    "avslowfast": Spectrogram(
        window=512, fft=512, hop=256, bands=80, log="natural", floor=1e-6, source="Xiao et al. 2020, arXiv 2001.08740",
    ),
    "mbt": Spectrogram(
        fft=512, edges="end", power=1, bands=128, log="offset", floor=0.01, mean=1.102, std=2.762,
        source="Nagrani et al. 2021, arXiv 2107.00135",
    ),
    "slaney_mfcc": dataclasses.replace(_LIBROSA, cepstra=20, source="librosa 0.11, feature.mfcc"),
    "htk_mfcc": dataclasses.replace(_TORCHAUDIO, range=80.0, cepstra=20, source="torchaudio 2.11, transforms.MFCC"),
    "kaldi_mfcc": dataclasses.replace(
        _KALDI, cepstra=13, lifter=22.0, energy=True, source="Kaldi, compute-mfcc-feats"
    ),
}  # fmt: skip


def spectrogram(name: str) -> Spectrogram:
    """Look up a spectrogram in `SPECTROGRAMS`.

    Raises:
      UserError: if there is none of this name; it lists the known ones.
    """
    if name not in SPECTROGRAMS:
        raise UserError(f"spectrogram {name!r}: unknown; give one of {', '.join(SPECTROGRAMS)}")
    return SPECTROGRAMS[name]
