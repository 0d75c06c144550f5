"""Interface of a task to data: the targets of an example for each of its views."""

from collections.abc import Mapping
from typing import ClassVar, Protocol

import numpy as np

from vidjax.data.records import Record
from vidjax.data.views import Views
from vidjax.inputs import Field


class Targets(Protocol):
    """Maker of a task's targets. Data workers get a copy, so it is picklable and needs no JAX.

    Attributes:
      kinds: kinds of annotation needed, such as {"labels"}; empty: none.
    """

    kinds: ClassVar[frozenset[str]]

    @property
    def mirrors(self) -> bool:
        """Whether training clips may be mirrored."""
        ...

    def fields(self) -> Mapping[str, Field]:
        """Shapes and types of the targets of one view, by name."""
        ...

    def of(self, record: Record, views: Views) -> Mapping[str, np.ndarray]:
        """Make the targets of one example; the first axis of each array is its V views.

        Raises:
          VideoError: if the annotation is a file that cannot be read.
        """
        ...
