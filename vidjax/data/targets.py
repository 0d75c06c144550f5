"""What data asks of a task: the targets of an example, seen through its views."""

from collections.abc import Mapping
from typing import ClassVar, Protocol

import numpy as np

from vidjax.data.records import Record
from vidjax.data.views import Views
from vidjax.inputs import Field


class Targets(Protocol):
    """Makes the targets of a task. Data workers get a copy, so it is picklable and needs no JAX.

    Attributes:
      kinds: kinds of annotation that it needs, such as {"labels"}; empty: none.
    """

    kinds: ClassVar[frozenset[str]]

    @property
    def mirrors(self) -> bool:
        """Whether training clips may be mirrored."""
        ...

    def fields(self) -> Mapping[str, Field]:
        """What `of` gives, for one view."""
        ...

    def of(self, record: Record, views: Views) -> Mapping[str, np.ndarray]:
        """The targets of one example, each array leading with its V views."""
        ...
