"""The record of a task: targets for data, objective for training, evaluators for evaluation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import jax
import numpy as np
from flax import nnx

from vidjax.data.records import LabelSpace, VideoSet
from vidjax.data.targets import Targets
from vidjax.evaluation.evaluator import Evaluator
from vidjax.tasks.service import Service, ServiceLimits

# {"inputs": {name: (B, …)}, "targets": {name: (B, …)}} and additions of `prepare`; clips are every array's first axis.
Examples = dict[str, Any]


@dataclass(frozen=True)
class Sum:
    """Names under which a sum that an objective returns beside its loss is shown.

    Attributes:
      log: name in log files of its mean over the quantity that `Objective.weight` counts.
      short: short name of that mean on the console.
      share: whether it is a share, shown as a percentage.
    """

    log: str
    short: str
    share: bool = True


class Objective(Protocol):
    """Loss of a network on clips: a pure function, summed over the parts of a batch.

    Attributes:
      sums: quantities summed beside the loss, by name.
      whole_batch: whether the loss compares the clips of a batch with each other and so needs all of them at once.
      teacher: whether the loss also needs the network of the moving average.
    """

    sums: ClassVar[Mapping[str, Sum]]
    whole_batch: ClassVar[bool]
    teacher: ClassVar[bool]

    def prepare(self, examples: Examples, key: jax.Array) -> Examples:
        """Add the random draws for the whole batch, such as the pairs of clips to mix."""
        ...

    def weight(self, examples: Examples) -> jax.Array:
        """Divisor of the whole batch's loss, float32 `()`: number of clips, boxes, tokens or points; never 0."""
        ...

    def __call__(
        self, network: nnx.Module, examples: Examples, key: jax.Array, teacher: nnx.Module | None = None
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """Compute the loss summed over clips, float32 `()`, and `sums`, float32 `()` each.

        Args:
          network: network in training mode.
          examples: part of the batch returned by `prepare`; where only batch statistics are taken, clips as they are.
          key: random key for dropout and the other draws of this part.
          teacher: network of the moving average in evaluation mode, if the objective's `teacher` is set; or the
            `Teacher` of a run that has one (`config.train.teacher`).
        """
        ...


@dataclass(frozen=True)
class Task:
    """Everything specific to a task.

    Attributes:
      name: key of the task in `TASKS`.
      labels: classes of the data set, as a checkpoint keeps them.
      targets: maker of targets from annotations, used by data workers.
      objective: loss that training minimises.
      evaluators: constructors of evaluators by name, called anew for each evaluation of a set of videos.
      metrics: metrics that can rank checkpoints, as `level/name`; the first is the default.
      words: description of the labels for people, such as "of 6 classes".
      present: outputs of one video's views `(V, …)` → probabilities `(V, K)`; None: the task has no answer to show.
      answer: outputs of the network and the temperature of its probabilities → arrays with first axis B, by name, that
        a program exported for other runtimes gives; None: the network is not for use outside of training.
      service: maker of the answers about single files that a server offers, from what one file may take; None: those of
        classes and vectors.
      balance: rule that balances classes in training, see `vidjax.data.order`; empty: none.
      start: change of a new network's first weights, before any are loaded from elsewhere; None: none.
      head: `(network, rngs)` → the head that replaces the network's own; None: keep the network's own.
    """

    name: str
    labels: LabelSpace
    targets: Targets
    objective: Objective
    evaluators: Mapping[str, Callable[[VideoSet], Evaluator]]
    metrics: tuple[str, ...]
    words: str
    present: Callable[[np.ndarray], np.ndarray] | None = None
    answer: Callable[[Any, float], Any] | None = None
    service: Callable[[ServiceLimits], Service] | None = None
    balance: str = ""
    start: Callable[[nnx.Module], None] | None = None
    head: Callable[[nnx.Module, nnx.Rngs], nnx.Module] | None = None
