"""The settings under `task.optical_flow`."""

from dataclasses import dataclass

from vidjax.config.fields import above_zero, positive
from vidjax.config.section import Section


@dataclass
class OpticalFlowConfig(Section, path="task.optical_flow"):
    """Estimating the motion of every pixel from a picture to the next."""

    gamma: float = above_zero(
        0.8, "Weight of the loss of each update of the flow, relative to the next one's.", whole="equal weights"
    )
    fastest: float = positive(400.0, "Motion from which on a pixel is left out of the loss.", unit="pixels")
