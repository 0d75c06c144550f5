"""Empty targets, for a task whose targets are its inputs."""

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
    """Targets without any fields: the inputs are enough.

    Attributes:
      mirrors: whether training clips may be mirrored.
    """

    mirrors: bool = True

    kinds: ClassVar[frozenset[str]] = KINDS

    def fields(self) -> Mapping[str, Field]:
        """Empty: there are no target arrays."""
        return {}

    def of(self, record: Record, views: Views) -> Mapping[str, np.ndarray]:
        """Empty: there are no target arrays."""
        return {}
