"""A task: what data, training and evaluation ask of it, in one record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import jax
import numpy as np
from flax import nnx

from vidjax.data.records import LabelSpace, VideoSet
from vidjax.data.targets import Targets
from vidjax.evaluation.evaluator import Evaluator

# {"inputs": {name: (B, …)}, "targets": {name: (B, …)}}, and whatever `prepare` adds; every array leads with the clips.
Examples = dict[str, Any]


@dataclass(frozen=True)
class Sum:
    """How a sum that an objective gives beside its loss is shown.

    Attributes:
      log: name of its mean over what `Objective.weight` counts, in log files.
      short: the same in a line for people.
    """

    log: str
    short: str


class Objective(Protocol):
    """The loss of a network on clips: pure, and added up over the parts of a batch.

    Attributes:
      sums: quantities that are added up beside the loss, by name.
      whole_batch: whether the loss compares the clips of a batch with each other, so that it needs all of them at once.
      teacher: whether it needs the network of the moving average too.
    """

    sums: ClassVar[Mapping[str, Sum]]
    whole_batch: ClassVar[bool]
    teacher: ClassVar[bool]

    def prepare(self, examples: Examples, key: jax.Array) -> Examples:
        """What is drawn for the whole batch, such as which clips are mixed, added to it."""
        ...

    def weight(self, examples: Examples) -> jax.Array:
        """What the loss of the whole batch is divided by, float32 `()`: clips, boxes, tokens, points; never 0."""
        ...

    def __call__(
        self, network: nnx.Module, examples: Examples, key: jax.Array, teacher: nnx.Module | None = None
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """The loss summed over clips, float32 `()`, and `sums`, float32 `()` each.

        Args:
          network: in training mode.
          examples: a part of what `prepare` gave.
          key: of dropout and whatever is drawn for this part.
          teacher: the network of the moving average in evaluation mode, where `teacher` asks for it.
        """
        ...


@dataclass(frozen=True)
class Task:
    """Everything that is particular about a task.

    Attributes:
      name: in `TASKS`.
      labels: what a checkpoint must keep of the data set's labels.
      targets: what data workers make of annotations.
      objective: what training minimises.
      evaluators: by name, made anew for each evaluation of a set of videos.
      metrics: what checkpoints can be ranked by, `level/name`; the first is what they are ranked by unless the config
        says otherwise.
      words: what of the videos is learned, for people: "of 6 classes".
      present: outputs of one video's views `(V, …)` → its probabilities `(V, K)`; None: it has no answer to show.
      balance: how clips of different classes are balanced in training, see `vidjax.data.order`; empty: not.
      head: `(network, rngs)` → the head that takes the place of the network's own; None: the network's own.
    """

    name: str
    labels: LabelSpace
    targets: Targets
    objective: Objective
    evaluators: Mapping[str, Callable[[VideoSet], Evaluator]]
    metrics: tuple[str, ...]
    words: str
    present: Callable[[np.ndarray], np.ndarray] | None = None
    balance: str = ""
    head: Callable[[nnx.Module, nnx.Rngs], nnx.Module] | None = None
