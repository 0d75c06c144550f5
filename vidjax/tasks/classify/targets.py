"""Class targets of clips that may be mirrored: class numbers, or zeros and ones."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vidjax.config import AugmentConfig, mirrors
from vidjax.data.records import LabelSpace, Record
from vidjax.data.views import Views
from vidjax.inputs import Field

logger = logging.getLogger("vidjax")

KINDS = frozenset({"labels"})


def make_targets(labels: LabelSpace, augment: AugmentConfig, flip_pairs: Sequence[str]) -> "ClassTargets":
    """Build class targets for the settings of a config. Logs if mirroring is off, or may make labels wrong.

    Args:
      labels: classes of the data set, with the pairs that mirroring swaps.
      augment, flip_pairs: settings of mirroring, as for `vidjax.config.mirrors`.
    """
    mirror = mirrors(augment, flip_pairs, labels.directional)
    if labels.directional and not mirror and augment.flip is None:
        logger.info("clips are not mirrored: the classes of this data set tell left from right")
    if labels.directional and mirror and not labels.mirrored:
        logger.warning(
            "clips are mirrored although the classes tell left from right, and it is not known which classes "
            "mirroring swaps; name them in config.task.classify.flip_pairs, or turn mirroring off with "
            "config.data.augment.flip=false"
        )
    return ClassTargets(labels, mirror)


@dataclass(frozen=True)
class ClassTargets:
    """Class targets of a video, for each of its views.

    Attributes:
      labels: classes of the data set.
      mirrors: whether training clips may be mirrored.
    """

    labels: LabelSpace
    mirrors: bool = True

    kinds: ClassVar[frozenset[str]] = KINDS

    def fields(self) -> Mapping[str, Field]:
        """Field `label`: a class number or, if a video may have several classes, zeros and ones over all classes."""
        count = len(self.labels.names)
        if self.labels.several:
            return {"label": Field((count,), "float32")}
        return {"label": Field((), "int32", below=count)}

    def of(self, record: Record, views: Views) -> Mapping[str, np.ndarray]:
        """Targets `label` of a video, int32 `(V,)` or float32 `(V, K)`; mirrored views get the mirrored classes."""
        swap = self.labels.mirrored if self.labels.directional and self.mirrors else {}
        plain, swapped = (self._row(record, classes) for classes in ({}, swap))
        return {"label": np.stack([swapped if mirrored else plain for mirrored in views.mirrored])}

    def _row(self, record: Record, swap: Mapping[int, int]) -> np.ndarray:
        classes = [swap.get(i, i) for i in record.labels]
        if not self.labels.several:
            return np.array(classes[0], np.int32)
        row = np.zeros(len(self.labels.names), np.float32)
        row[classes] = 1
        return row
