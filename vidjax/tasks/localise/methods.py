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
from vidjax.tasks.localise.nms import Suppression
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
      kind: kind of suppression of the source, see `nms.Suppression`.
      by_score: whether the source's votes count by score alone, by the outputs.
    """

    loss: Loss
    decode: Decode
    kind: str = "gaussian"
    by_score: Callable[[Any], bool] = lambda outputs: False


METHODS: dict[type, Method] = {
    StepOutputs: Method(step_loss, decode_steps),
    SegmentOutputs: Method(pyramid_loss, decode_pyramid, by_score=lambda outputs: outputs.start is not None),  # TriDet
    BoundaryOutputs: Method(boundary_loss, decode_boundaries, kind="width"),
}
_SIGMAS = {"gaussian": 0.5, "width": 0.4, "hard": 0.0}  # of the sources, most often


def method_of(outputs: Any) -> Method:
    """Return the method for a network's outputs.

    Raises:
      TypeError: if there is none for their type.
    """
    if type(outputs) not in METHODS:
        raise TypeError(f"{type(outputs).__name__}: no loss and decoding for such outputs; add a line to METHODS")
    return METHODS[type(outputs)]


def suppression_of(outputs: Any, settings: LocaliseConfig) -> Suppression:
    """Rule of suppression by the settings; what they leave open is as in the source of networks with such outputs.

    Raises:
      TypeError: see `method_of`.
    """
    method = method_of(outputs)
    kind = method.kind if settings.suppression == "auto" else settings.suppression
    return Suppression(
        kind=kind,
        sigma=settings.sigma or _SIGMAS[kind],
        iou=settings.iou,
        min_score=settings.min_score,
        per_class=settings.per_class,
        detections=settings.detections,
        voting=settings.voting,
        by_score=method.by_score(outputs) if settings.votes == "auto" else settings.votes == "score",
    )
