"""How the outputs of each kind of network become a loss and detections: a line per kind of output."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax

from vidjax.config import LocaliseConfig
from vidjax.models.families.bmn import BoundaryOutputs
from vidjax.models.pyramid import SegmentOutputs
from vidjax.models.sequences import StepOutputs
from vidjax.tasks.localise.boundaries import boundary_loss, decode_boundaries
from vidjax.tasks.localise.decode import Candidates, decode_pyramid
from vidjax.tasks.localise.pyramid import pyramid_loss
from vidjax.tasks.localise.steps import decode_steps, step_loss

# (network, outputs, segments (B, N, 2) in steps, classes (B, N); segments without length are padding)
# → the loss summed over clips, and sums by the names of `SegmentObjective.sums`
Loss = Callable[[Any, Any, jax.Array, jax.Array], tuple[jax.Array, Mapping[str, jax.Array]]]
# (outputs of one clip, NumPy without the batch axis; settings) → candidates
Decode = Callable[[Any, LocaliseConfig], Candidates]


@dataclass(frozen=True)
class Method:
    """Loss and decoding of one kind of output.

    Attributes:
      loss: loss of a batch.
      decode: candidates of one clip.
    """

    loss: Loss
    decode: Decode


METHODS: dict[type, Method] = {
    StepOutputs: Method(step_loss, decode_steps),
    SegmentOutputs: Method(pyramid_loss, decode_pyramid),
    BoundaryOutputs: Method(boundary_loss, decode_boundaries),
}


def method_of(outputs: Any) -> Method:
    """Return the method for a network's outputs.

    Raises:
      TypeError: if there is none for their type.
    """
    if type(outputs) not in METHODS:
        raise TypeError(f"{type(outputs).__name__}: no loss and decoding for such outputs; add a line to METHODS")
    return METHODS[type(outputs)]
