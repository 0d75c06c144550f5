"""Pairs of pictures, between which optical flow is estimated."""

from dataclasses import dataclass
from typing import Any, ClassVar

from vidjax.inputs.field import Field


@dataclass(frozen=True)
class PairInput:
    """Two pictures that follow each other.

    Attributes:
      height: H, rows of the part that is seen, pixels.
      width: W, its columns, pixels.
      mean: mean per colour, subtracted from pixel values in 0…1.
      std: standard deviation per colour, the divisor after `mean` is subtracted.
    """

    height: int
    width: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    kind: ClassVar[str] = "pair"

    @property
    def field(self) -> Field:
        """Shape and type of one view in a batch."""
        return Field((2, self.height, self.width, 3), "uint8", below=256)

    @property
    def brief(self) -> str:
        """Short form of the size."""
        return f"2, {self.height}×{self.width}"

    @property
    def preparation(self) -> str:
        """Cropping and normalisation of the pixels, in words."""
        return f"crop {self.height}×{self.width}, mean {self.mean}, std {self.std}"

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the pairs that an evaluation reports."""
        return {"height": self.height, "width": self.width}

    @property
    def phrase(self) -> str:
        """Description of a pair, in words."""
        return f"pairs of pictures of {self.height}×{self.width} pixels"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one view as it enters the network: (2, H, W, 3)."""
        return (2, self.height, self.width, 3)
