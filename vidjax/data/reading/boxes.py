"""Boxes of a clip's key frame, in pixels of each view that the network sees."""

from dataclasses import dataclass

import numpy as np

from vidjax.data.records import Boxes, Record
from vidjax.data.views import Views, boxes_through
from vidjax.inputs import BoxInput


@dataclass(frozen=True)
class BoxReader:
    """Reader of the boxes that a network is asked about: those of the record's annotation, see `Boxes.asked`.

    Row r of a view is box r of the annotation, or zeros if the view does not show it.

    Attributes:
      input: number of boxes per clip; further boxes of the annotation are left out.
      side: height and width of a view, pixels.
    """

    input: BoxInput
    side: int

    def of(self, record: Record, views: Views, rng: np.random.Generator | None = None) -> np.ndarray:
        """Map a record's boxes into its views, float32 `(V, R, 4)`; without annotated boxes, R is 0."""
        del rng
        annotation = record.annotation
        corners = annotation.asked[: self.input.count] if isinstance(annotation, Boxes) else ()
        given = np.array(corners, np.float64).reshape(-1, 4)
        return np.stack([boxes_through(given, affine, self.side) for affine in views.affine])
