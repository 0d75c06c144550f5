"""One record → what enters a network: every input read through the same views.

`ExampleReader` holds what training, evaluation and prediction have in common, so that all three see the same. A kind of
input is a line in `READERS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from vidjax.batch import BatchLayout, layout_of
from vidjax.config import ConfigError, DataConfig, Spec
from vidjax.data.reading.clips import ClipReader
from vidjax.data.reading.features import FeatureReader
from vidjax.data.records import Record
from vidjax.data.views import Views
from vidjax.inputs import FeatureInput, Field, Input, VideoInput


class Reader(Protocol):
    """Reads one kind of input of a record, and draws the views that it is seen through."""

    def train(self, record: Record, rng: np.random.Generator, *, mirror: bool) -> tuple[np.ndarray, Views]:
        """The views of a training example, `(V, …)`, and what they show.

        Args:
          record: what is read.
          rng: draws views and changes.
          mirror: whether views may be mirrored.

        Raises:
          VideoError: if the file cannot be read.
        """
        ...

    def evaluate(self, record: Record, num_clips: int, num_crops: int) -> tuple[np.ndarray, Views]:
        """All views of an example for evaluation, clip by clip.

        Args:
          record: what is read.
          num_clips: windows of time.
          num_crops: crops of each.

        Raises:
          VideoError: if the file cannot be read.
        """
        ...


# The kind of an input → what makes a reader of the input, the spec that has it, and the config.
READERS: dict[type[Input], Callable[[Any, Spec, DataConfig], Reader]] = {
    VideoInput: lambda input, spec, config: ClipReader(spec, config),
    FeatureInput: lambda input, spec, config: FeatureReader(input, config),
}


@dataclass(frozen=True)
class ExampleReader:
    """Reads the examples of a network from files.

    Attributes:
      spec: of the network: its inputs.
      config: sampling, augmentation, timeout.

    Raises:
      ConfigError: for a network that takes several inputs, or one of a kind that cannot be read from files.
      UserError: for a network that sees something else than colour.
    """

    spec: Spec
    config: DataConfig

    def __post_init__(self):
        kinds = [type(value) for value in self.spec.inputs.values()]
        if len(kinds) != 1 or kinds[0] not in READERS:
            given = ", ".join(f"{name} ({value.kind})" for name, value in self.spec.inputs.items())
            known = ", ".join(kind.kind for kind in READERS)
            raise ConfigError(f"{self.spec.name} takes {given}; files are read for networks of one input: {known}")
        object.__setattr__(self, "_reader", READERS[kinds[0]](self._input, self.spec, self.config))

    @property
    def _input(self) -> Input:
        return next(iter(self.spec.inputs.values()))

    @property
    def reader(self) -> Reader:
        """What reads the input."""
        return self._reader  # type: ignore[attr-defined]

    def layout(self, targets: Mapping[str, Field] | None = None) -> BatchLayout:
        """The layout of batches of these examples, with `targets` in training."""
        return layout_of(self.spec.inputs, targets)

    def train(
        self, record: Record, rng: np.random.Generator, *, mirror: bool = True
    ) -> tuple[dict[str, np.ndarray], Views]:
        """The inputs of a training example by name, `(V, …)` each, and the views; see `Reader.train`."""
        array, views = self.reader.train(record, rng, mirror=mirror)
        return {next(iter(self.spec.inputs)): array}, views

    def evaluate(self, record: Record, num_clips: int, num_crops: int) -> tuple[dict[str, np.ndarray], Views]:
        """The inputs of an example for evaluation by name, `(V, …)` each, and the views; see `Reader.evaluate`."""
        array, views = self.reader.evaluate(record, num_clips, num_crops)
        return {next(iter(self.spec.inputs)): array}, views
