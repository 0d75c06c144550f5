"""Features of other networks: vectors of clips, of whole videos and of boxes."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from vidjax.inputs.field import Field
from vidjax.wording import things


@dataclass(frozen=True)
class FeatureInput:
    """Features that another network computed beforehand, one `.npy` file of shape (N, D) per video.

    Attributes:
      steps: vectors per clip, spaced evenly over those of the file.
      width: D, length of a vector.
    """

    steps: int
    width: int

    kind: ClassVar[str] = "features"

    @property
    def field(self) -> Field:
        """Shape and type of one view in a batch."""
        return Field((self.steps, self.width), "float32")

    @property
    def brief(self) -> str:
        """Short form of a clip's length and size."""
        return f"{self.steps}×{self.width}"

    @property
    def preparation(self) -> str:
        """Empty: this input needs no preparation."""
        return ""

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the clips that an evaluation reports."""
        return {"steps": self.steps, "width": self.width}

    @property
    def phrase(self) -> str:
        """Description of a clip, in words."""
        return f"clips of {things(self.steps, 'vector')} of {self.width} features"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one view as it enters the network: (steps, D)."""
        return (self.steps, self.width)


@dataclass(frozen=True)
class SequenceInput:
    """All features of a long video in the order of time, computed beforehand, one file per video.

    In a batch, steps after the end of the video are NaN; the network gets zeros there, and a mask as a second array.

    Attributes:
      steps: T, most steps of a clip. Longer videos are cut at random in training, and into overlapping parts in
        evaluation.
      width: D, length of a step's vector.
      resized: whether the features of every video are resized linearly to `steps`, instead of being cut or padded.
    """

    steps: int
    width: int
    resized: bool = False

    kind: ClassVar[str] = "sequence"

    @property
    def field(self) -> Field:
        """Shape and type of one view in a batch; NaN is padding."""
        return Field((self.steps, self.width), "float32", ragged=True, fill=math.nan)

    @property
    def brief(self) -> str:
        """Short form of a clip's length and size."""
        return f"{'' if self.resized else '≤ '}{self.steps}×{self.width}"

    @property
    def preparation(self) -> str:
        """Treatment of the features in words; empty: they are taken as they are."""
        return f"resize to {things(self.steps, 'step')}" if self.resized else ""

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the clips that an evaluation reports."""
        return {"steps": self.steps, "width": self.width}

    @property
    def phrase(self) -> str:
        """Description of a clip, in words."""
        most = "" if self.resized else "up to "
        return f"clips of {most}{things(self.steps, 'vector')} of {self.width} features"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one view as it enters the network: (T, D)."""
        return (self.steps, self.width)


@dataclass(frozen=True)
class BankInput(FeatureInput):
    """Vectors of boxes long before and after a clip, from a feature bank: as many for each second, padded with zeros.

    Attributes:
      seconds: length of the part of the video around the clip, a divisor of `steps`.
    """

    seconds: int = 60

    kind: ClassVar[str] = "bank"

    @property
    def phrase(self) -> str:
        """Description of a clip's part of the bank, in words."""
        return f"{things(self.steps, 'vector')} of {self.width} features of the {self.seconds} s around a clip"
