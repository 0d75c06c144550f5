"""Targets of a task that finds them in its input: none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vidjax.data.records import Record
from vidjax.data.views import Views
from vidjax.inputs import Field

KINDS: frozenset[str] = frozenset()


@dataclass(frozen=True)
class NoTargets:
    """Nothing beside the inputs.

    Attributes:
      mirrors: whether training clips may be mirrored.
    """

    mirrors: bool = True

    kinds: ClassVar[frozenset[str]] = KINDS

    def fields(self) -> Mapping[str, Field]:
        """Nothing."""
        return {}

    def of(self, record: Record, views: Views) -> Mapping[str, np.ndarray]:
        """Nothing."""
        return {}
