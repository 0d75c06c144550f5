"""Empty targets: what is to be said stands in the input, behind the prompt."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vidjax.data.records import Caption, Record
from vidjax.data.views import Views
from vidjax.inputs import Field

KINDS = frozenset({Caption.kind})


@dataclass(frozen=True)
class NoTargets:
    """Targets without any fields: the input has the text.

    Attributes:
      mirrors: whether training clips may be mirrored. Sentences can tell left from right.
    """

    mirrors: bool = False

    kinds: ClassVar[frozenset[str]] = KINDS

    def fields(self) -> Mapping[str, Field]:
        """Empty: there are no target arrays."""
        return {}

    def of(self, record: Record, views: Views) -> Mapping[str, np.ndarray]:
        """Empty: there are no target arrays."""
        return {}
