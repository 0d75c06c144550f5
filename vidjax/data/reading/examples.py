"""Reading the inputs of an example from a record, with the same views for every input.

Training, evaluation and prediction share `ExampleReader`, so that all three see the same data. A new kind of input is a
line in `READERS` if it draws the views, or in `FOLLOWERS` if it follows those of another input.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from vidjax.batch import BatchLayout, layout_of
from vidjax.config import ConfigError, DataConfig, Spec
from vidjax.data.reading.bank import BankReader
from vidjax.data.reading.boxes import BoxReader
from vidjax.data.reading.clips import ClipReader
from vidjax.data.reading.features import FeatureReader, SequenceReader
from vidjax.data.reading.pairs import PairReader
from vidjax.data.reading.prompts import PromptReader
from vidjax.data.reading.sound import SoundClips, SoundFollower
from vidjax.data.reading.text import TextReader
from vidjax.data.records import Record
from vidjax.data.views import Views
from vidjax.inputs import (
    AudioInput,
    BankInput,
    BoxInput,
    FeatureInput,
    Field,
    Input,
    PairInput,
    PromptInput,
    SequenceInput,
    TextInput,
    VideoInput,
)
from vidjax.video import VideoError


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


class Follower(Protocol):
    """Reader of one kind of input for the views that another input has drawn.

    If it has a method `blank`, from a number of views to their arrays, an input that cannot be read is that, and the
    example is used nevertheless.
    """

    def of(self, record: Record, views: Views, rng: np.random.Generator | None = None) -> np.ndarray:
        """Read the views of an example, `(V, …)`.

        Args:
          record: record to read.
          views: views that the reader of the other input has drawn.
          rng: generator of augmentation, for training; None: there is none.

        Raises:
          VideoError: if the file cannot be read.
        """
        ...


# Kind of input → constructor of its reader from the input, its spec and the config.
READERS: dict[type[Input], Callable[[Any, Spec, DataConfig], Reader]] = {
    VideoInput: lambda input, spec, config: ClipReader(spec, config),
    FeatureInput: lambda input, spec, config: FeatureReader(input, config),
    SequenceInput: lambda input, spec, config: SequenceReader(input, config),
    AudioInput: lambda input, spec, config: SoundClips(input, config),
    PairInput: lambda input, spec, config: PairReader(input, config),
}
FOLLOWERS: dict[type[Input], Callable[[Any, Spec, DataConfig], Follower]] = {
    BoxInput: lambda input, spec, config: BoxReader(input, spec.video.size),
    BankInput: lambda input, spec, config: BankReader(input, config.clip.bank),
    AudioInput: lambda input, spec, config: SoundFollower(input, config),
    TextInput: lambda input, spec, config: TextReader(input, config.text.cut),
    PromptInput: lambda input, spec, config: PromptReader(input, config.text.cut),
}


@dataclass(frozen=True)
class ExampleReader:
    """Reader of a network's examples from files.

    Attributes:
      spec: spec of the network, with its inputs.
      config: settings of sampling, augmentation and reading.

    Raises:
      ConfigError: if not exactly one input draws views, or an input is of a kind that cannot be read from files.
      UserError: if the network takes video other than colour.
    """

    spec: Spec
    config: DataConfig

    def __post_init__(self):
        inputs = self.spec.inputs
        leading = [name for name, value in inputs.items() if type(value) in READERS]
        if len(leading) > 1:  # kinds that can do both follow
            leading = [name for name in leading if type(inputs[name]) not in FOLLOWERS]
        if len(leading) != 1 or not all(type(value) in READERS | FOLLOWERS for value in inputs.values()):
            given = ", ".join(f"{name} ({value.kind})" for name, value in inputs.items()) or "nothing"
            known, beside = (" or ".join(kind.kind for kind in table) for table in (READERS, FOLLOWERS))
            raise ConfigError(
                f"{self.spec.name} takes {given}; files can be read only for one input of kind {known}, and {beside} "
                "beside it"
            )
        (name,) = leading
        followers = {
            other: FOLLOWERS[type(value)](value, self.spec, self.config)
            for other, value in inputs.items()
            if other != name
        }
        object.__setattr__(self, "_leading", name)
        object.__setattr__(self, "_reader", READERS[type(inputs[name])](inputs[name], self.spec, self.config))
        object.__setattr__(self, "_followers", followers)

    @property
    def reader(self) -> Reader:
        """Reader of the input that draws the views."""
        return self._reader  # type: ignore[attr-defined]

    def _together(
        self, record: Record, array: np.ndarray, views: Views, rng: np.random.Generator | None = None
    ) -> tuple[dict[str, np.ndarray], Views]:
        """All inputs by name, in the order of the spec, and the views."""
        followers: Mapping[str, Follower] = self._followers  # type: ignore[attr-defined]
        arrays = {self._leading: array}  # type: ignore[attr-defined]
        for name, follower in followers.items():
            try:
                arrays[name] = follower.of(record, views, rng)
            except VideoError as error:
                blank = getattr(follower, "blank", None)
                if blank is None:
                    raise
                arrays[name], views = blank(len(views)), replace(views, unheard=error.reason)
        return {name: arrays[name] for name in self.spec.inputs}, views

    def layout(self, targets: Mapping[str, Field] | None = None) -> BatchLayout:
        """Layout of batches of these examples, with `targets` in training."""
        return layout_of(self.spec.inputs, targets)

    def train(
        self, record: Record, rng: np.random.Generator, *, mirror: bool = True
    ) -> tuple[dict[str, np.ndarray], Views]:
        """Read the inputs of a training example by name, `(V, …)` each, and its views; see `Reader.train`."""
        array, views = self.reader.train(record, rng, mirror=mirror)
        return self._together(record, array, views, rng)

    def evaluate(self, record: Record, num_clips: int, num_crops: int) -> tuple[dict[str, np.ndarray], Views]:
        """Read the inputs of an evaluation example by name, `(V, …)` each, and its views; see `Reader.evaluate`."""
        array, views = self.reader.evaluate(record, num_clips, num_crops)
        return self._together(record, array, views)
