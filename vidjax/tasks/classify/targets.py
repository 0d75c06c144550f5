"""Class targets of clips that may be mirrored: class numbers, or zeros and ones.

Labels with times are those of the frames inside the clip, from its first to its last, as SlowFast trains on Charades;
in evaluation all of a video's classes count, see `VideoSet.targets`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vidjax.config import AugmentConfig, mirrors
from vidjax.data.records import UNKNOWN, Labels, LabelSpace, Record
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
        """Targets `label` of a video, int32 `(V,)` or float32 `(V, K)`; mirrored views get the mirrored classes.

        Classes of categories in which the video is not annotated are `UNKNOWN`.
        """
        swap = self.labels.mirrored if self.labels.directional and self.mirrors else {}
        rows = [
            self._row(record, shown, swap if mirrored else {})
            for shown, mirrored in zip(_shown(record, views), views.mirrored, strict=True)
        ]
        return {"label": np.stack(rows)}

    def _row(self, record: Record, shown: Sequence[int], swap: Mapping[int, int]) -> np.ndarray:
        classes = [swap.get(i, i) for i in shown]
        if not self.labels.several:
            return np.array(classes[0], np.int32)
        row = np.zeros(len(self.labels.names), np.float32)
        if isinstance(record.annotation, Labels) and record.annotation.categories:
            row[~self.labels.known(record.annotation.categories)] = UNKNOWN
        row[classes] = 1
        return row


def _shown(record: Record, views: Views) -> list[tuple[int, ...]]:
    """Classes of each view: those of the whole video or, if their times are known, of its frames."""
    spans = record.annotation.spans if isinstance(record.annotation, Labels) else None
    if spans is None:
        return [record.labels] * len(views)
    bounds = [(times.min(), times.max()) for times in views.times]
    return [tuple({i for start, end, i in spans if start <= last and end >= first}) for first, last in bounds]
