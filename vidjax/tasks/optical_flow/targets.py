"""Targets of optical flow: the true field of a view, and where it is known."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vidjax.config import ConfigError, Spec
from vidjax.data.records import Record, TrueFlow
from vidjax.data.views import Views
from vidjax.inputs import Field, PairInput

KINDS = frozenset({TrueFlow.kind})


def need_pairs(spec: Spec) -> PairInput:
    """Input of pairs of pictures of a network.

    Raises:
      ConfigError: if it takes none.
    """
    found = [value for value in spec.inputs.values() if isinstance(value, PairInput)]
    if len(found) != 1:
        raise ConfigError(f"config.model.name: {spec.name} takes no pairs of pictures, which optical flow needs")
    return found[0]


@dataclass(frozen=True)
class FlowTargets:
    """True field of flow, seen as the pictures are: cropped, resized and mirrored, places and vectors.

    Attributes:
      input: size of the views.
      mirrors: whether training pairs may be mirrored.
    """

    input: PairInput
    mirrors: bool = True

    kinds: ClassVar[frozenset[str]] = KINDS

    def fields(self) -> Mapping[str, Field]:
        """Fields `flow`, in pixels of the view, and `known`, whether it counts."""
        size = (self.input.height, self.input.width)
        return {"flow": Field((*size, 2), "float32"), "known": Field(size, "bool")}

    def of(self, record: Record, views: Views) -> Mapping[str, np.ndarray]:
        """Field of each view, float32 `(V, H, W, 2)`, and where it is known, bool `(V, H, W)`.

        Raises:
          VideoError: if the file of the field cannot be read.
        """
        from vidjax.data.reading.flow_field import field_through, read_true_flow

        size = (self.input.height, self.input.width)
        if not isinstance(record.annotation, TrueFlow):
            return {"flow": np.zeros((len(views), *size, 2), np.float32), "known": np.zeros((len(views), *size), bool)}
        field = read_true_flow(record.annotation)
        flows, known = zip(*(field_through(*field, affine, *size) for affine in views.affine), strict=True)
        return {"flow": np.stack(flows), "known": np.stack(known)}
