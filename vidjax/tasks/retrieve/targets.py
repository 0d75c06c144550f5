"""Target of retrieval: which clips are of one video, so that the captions of one do not count as another's."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vidjax.data.records import Record
from vidjax.data.views import Views
from vidjax.inputs import Field

KINDS = frozenset({"caption"})
_NUMBERS = 2**31


@dataclass(frozen=True)
class VideoNumbers:
    """Number of the video that a clip is of, from its path and times.

    Attributes:
      mirrors: whether training clips may be mirrored.
    """

    mirrors: bool = False

    kinds: ClassVar[frozenset[str]] = KINDS

    def fields(self) -> Mapping[str, Field]:
        """Field `video`: a number, equal for clips of one video."""
        return {"video": Field((), "int32")}

    def of(self, record: Record, views: Views) -> Mapping[str, np.ndarray]:
        """Number of the video for each view, int32 `(V,)`."""
        number = zlib.crc32(repr((record.path, record.start, record.end)).encode()) % _NUMBERS
        return {"video": np.full(len(views), number, np.int32)}
