"""Reading the inputs of an example from a record, with the same views for every input.

Training, evaluation and prediction share `ExampleReader`, so that all three see the same data. A new kind of input is a
line in `READERS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from vidjax.batch import BatchLayout, layout_of
from vidjax.config import ConfigError, DataConfig, Spec
from vidjax.data.reading.clips import ClipReader
from vidjax.data.reading.features import FeatureReader, SequenceReader
from vidjax.data.records import Record
from vidjax.data.views import Views
from vidjax.inputs import FeatureInput, Field, Input, SequenceInput, VideoInput


class Reader(Protocol):
    """Reader of one kind of input, which also draws the views of an example."""

    def train(self, record: Record, rng: np.random.Generator, *, mirror: bool) -> tuple[np.ndarray, Views]:
        """Read a training example, `(V, …)`, and its views.

        Args:
          record: record to read.
          rng: generator of views and augmentation.
          mirror: whether views may be mirrored.

        Raises:
          VideoError: if the file cannot be read.
        """
        ...

    def evaluate(self, record: Record, num_clips: int, num_crops: int) -> tuple[np.ndarray, Views]:
        """Read all views of an evaluation example, clip by clip.

        Args:
          record: record to read.
          num_clips: clips spread over time.
          num_crops: crops per clip.

        Raises:
          VideoError: if the file cannot be read.
        """
        ...


# Kind of input → constructor of its reader from the input, its spec and the config.
READERS: dict[type[Input], Callable[[Any, Spec, DataConfig], Reader]] = {
    VideoInput: lambda input, spec, config: ClipReader(spec, config),
    FeatureInput: lambda input, spec, config: FeatureReader(input, config),
    SequenceInput: lambda input, spec, config: SequenceReader(input, config),
}


@dataclass(frozen=True)
class ExampleReader:
    """Reader of a network's examples from files.

    Attributes:
      spec: spec of the network, with its inputs.
      config: settings of sampling, augmentation and reading.

    Raises:
      ConfigError: if the network takes several inputs, or an input of a kind that cannot be read from files.
      UserError: if the network takes video other than colour.
    """

    spec: Spec
    config: DataConfig

    def __post_init__(self):
        kinds = [type(value) for value in self.spec.inputs.values()]
        if len(kinds) != 1 or kinds[0] not in READERS:
            given = ", ".join(f"{name} ({value.kind})" for name, value in self.spec.inputs.items()) or "nothing"
            known = " or ".join(kind.kind for kind in READERS)
            raise ConfigError(f"{self.spec.name} takes {given}; files can be read only for one input of kind {known}")
        object.__setattr__(self, "_reader", READERS[kinds[0]](self._input, self.spec, self.config))

    @property
    def _input(self) -> Input:
        return next(iter(self.spec.inputs.values()))

    @property
    def reader(self) -> Reader:
        """Reader of the network's input."""
        return self._reader  # type: ignore[attr-defined]

    def layout(self, targets: Mapping[str, Field] | None = None) -> BatchLayout:
        """Layout of batches of these examples, with `targets` in training."""
        return layout_of(self.spec.inputs, targets)

    def train(
        self, record: Record, rng: np.random.Generator, *, mirror: bool = True
    ) -> tuple[dict[str, np.ndarray], Views]:
        """Read the inputs of a training example by name, `(V, …)` each, and its views; see `Reader.train`."""
        array, views = self.reader.train(record, rng, mirror=mirror)
        return {next(iter(self.spec.inputs)): array}, views

    def evaluate(self, record: Record, num_clips: int, num_crops: int) -> tuple[dict[str, np.ndarray], Views]:
        """Read the inputs of an evaluation example by name, `(V, …)` each, and its views; see `Reader.evaluate`."""
        array, views = self.reader.evaluate(record, num_clips, num_crops)
        return {next(iter(self.spec.inputs)): array}, views
