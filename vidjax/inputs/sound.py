"""Sound as a spectrogram."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from vidjax.errors import UserError
from vidjax.inputs.field import Field
from vidjax.spectrograms import Spectrogram, spectrogram
from vidjax.wording import things

UNHEARD = -32768  # sample of a clip where a video has no sound


@dataclass(frozen=True)
class AudioInput:
    """Sound of a clip. In a batch it is samples, in a network a spectrogram and whether there is anything to hear.

    Attributes:
      preset: name of the spectrogram, in `vidjax.spectrograms.SPECTROGRAMS`.
      seconds: length of the sound, seconds.
      frames: T, spectra that enter the network. Missing ones are added at the end, as zeros before normalisation, and
        further ones are left out; 0: as many as the sound gives.
      place: place of the sound: "centre" (about the middle of a clip's frames) or "start" (from its first frame on).
      mean: number subtracted from the values of the spectrogram; None: the preset's.
      std: number that they are divided by afterwards; None: the preset's.
    """

    preset: str
    seconds: float
    frames: int = 0
    place: str = "centre"
    mean: float | None = None
    std: float | None = None

    kind: ClassVar[str] = "audio"

    def __post_init__(self):
        count = self.spectrogram.count(self.samples)
        if count < 1:
            raise UserError(f"seconds = {self.seconds:g}: too short for one spectrum of {self.preset!r}")
        if self.place not in ("centre", "start"):
            raise UserError(f"place = {self.place!r}: must be centre or start")

    @property
    def spectrogram(self) -> Spectrogram:
        """Settings of the spectrogram, with this input's normalisation."""
        own = {name: getattr(self, name) for name in ("mean", "std") if getattr(self, name) is not None}
        return dataclasses.replace(spectrogram(self.preset), **own)

    @property
    def rate(self) -> int:
        """Samples per second."""
        return self.spectrogram.rate

    @property
    def samples(self) -> int:
        """Number of samples."""
        return round(self.rate * self.seconds)

    @property
    def field(self) -> Field:
        """Shape and type of one view in a batch: samples from -32767 to 32767, or `UNHEARD` where there is no sound."""
        return Field((self.samples,), "int16")

    @property
    def brief(self) -> str:
        """Short form of a clip's length and size."""
        return f"{self.seconds:g} s, {self.shape[0]}×{self.shape[1]}"

    @property
    def preparation(self) -> str:
        """Rate and spectrogram, in words."""
        return f"one channel at {self.rate} Hz, spectrogram {self.preset}"

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the clips that an evaluation reports."""
        return {"seconds": self.seconds, "preset": self.preset}

    @property
    def phrase(self) -> str:
        """Description of a clip, in words."""
        return f"{self.seconds:g} s of sound ({things(self.shape[0], 'spectrum', 'spectra')} of {self.shape[1]} values)"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one view as it enters the network: (spectra, values)."""
        settings = self.spectrogram
        return (self.frames or settings.count(self.samples), settings.values)
