"""Targets of boxes: the classes of each, and whether it counts in the loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vidjax.config import AugmentConfig, DetectConfig, Spec, mirrors
from vidjax.data.records import Boxes, LabelSpace, Record
from vidjax.data.views import Views, boxes_through
from vidjax.inputs import BoxInput, Field

KINDS = frozenset({Boxes.kind})


def make_targets(labels: LabelSpace, augment: AugmentConfig, settings: DetectConfig, spec: Spec) -> "BoxTargets":
    """Build the targets for the settings of a config and a network that takes boxes."""
    (boxes,) = (value for value in spec.inputs.values() if isinstance(value, BoxInput))
    mirror = mirrors(augment, settings.flip_pairs, labels.directional)
    return BoxTargets(labels, boxes.count, mirror, settings.unlabelled == "negative")


@dataclass(frozen=True)
class BoxTargets:
    """Targets of the annotated boxes, for each view; row r belongs to row r of the network's boxes.

    Attributes:
      labels: classes of the data set.
      count: R, most boxes of a clip.
      mirrors: whether training clips may be mirrored.
      negatives: whether boxes without a class count as examples that show none.
    """

    labels: LabelSpace
    count: int
    mirrors: bool = True
    negatives: bool = True

    kinds: ClassVar[frozenset[str]] = KINDS

    def fields(self) -> Mapping[str, Field]:
        """Fields `label`, zeros and ones of the classes of R boxes, and `counted`, 1 for boxes in the loss."""
        return {
            "label": Field((self.count, len(self.labels.names)), "float32"),
            "counted": Field((self.count,), "float32"),
        }

    def of(self, record: Record, views: Views) -> Mapping[str, np.ndarray]:
        """Targets `label` float32 `(V, R, K)` and `counted` float32 `(V, R)`.

        Mirrored views get the mirrored classes. Rows that are padding, or that a view does not show, are zeros.
        """
        annotation, fields = record.annotation, self.fields()
        made = {name: np.zeros((len(views), *field.shape), field.dtype) for name, field in fields.items()}
        if not isinstance(annotation, Boxes):
            return made
        swap = self.labels.mirrored if self.labels.directional and self.mirrors else {}
        corners, classes = np.array(annotation.corners[: self.count]), annotation.classes[: self.count]
        for view, (mirrored, affine) in enumerate(zip(views.mirrored, views.affine, strict=True)):
            shown = boxes_through(corners, affine, 1).any(axis=-1)
            for row in np.flatnonzero(shown):
                own = [swap.get(i, i) for i in classes[row]] if mirrored else list(classes[row])
                made["label"][view, row, own] = 1
                made["counted"][view, row] = bool(own) or self.negatives
        return made
