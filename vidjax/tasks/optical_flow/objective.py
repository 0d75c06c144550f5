"""Training objective of optical flow: the distance to the true field after every update of the estimate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.nn.enter import enter
from vidjax.tasks.task import Examples, Sum


@dataclass(frozen=True)
class FlowObjective:
    """Distance (L1) between the flow after every update and the true one, later updates weighing more.

    It is a mean over all pixels and both directions; pixels that do not count have a loss of 0. Source: Teed & Deng,
    RAFT (2003.12039), equation 7, and princeton-vl/RAFT `train.py`.

    Attributes:
      spec: spec of the network, with its inputs and their normalisation.
      gamma: weight of an update's loss, relative to the next one's.
      fastest: motion from which on a pixel does not count, pixels.
      dtype: type of the network's inputs; None: float32.
    """

    spec: Spec
    gamma: float = 0.8
    fastest: float = 400.0
    dtype: Any = None

    sums: ClassVar[Mapping[str, Sum]] = {"epe": Sum("epe", "EPE", share=False)}
    whole_batch: ClassVar[bool] = False
    teacher: ClassVar[bool] = False

    def prepare(self, examples: Examples, key: jax.Array) -> Examples:
        """Return the pairs unchanged: nothing is drawn for the whole batch."""
        del key
        return examples

    def weight(self, examples: Examples) -> jax.Array:
        """Number of pairs."""
        return jnp.float32(len(examples["targets"]["flow"]))

    def __call__(
        self, network: Any, examples: Examples, key: jax.Array, teacher: nnx.Module | None = None
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """Compute the summed loss, and `epe`, the mean end-point error of each pair's last flow over pixels that count.

        A pair of which no pixel counts adds 0 to both.
        """
        del key, teacher  # nothing is random
        pair = enter(examples["inputs"], self.spec.inputs, self.dtype)["pair"]
        true, known = examples["targets"]["flow"], examples["targets"]["known"]
        flows = network.all_flows(pair[:, 0], pair[:, 1])
        counts = (known & (jnp.linalg.norm(true, axis=-1) < self.fastest)).astype(jnp.float32)
        weights = self.gamma ** jnp.arange(len(flows) - 1, -1, -1, dtype=jnp.float32)
        errors = jnp.abs(flows - true[None]) * counts[None, ..., None]
        loss = (weights[:, None] * errors.mean(axis=(2, 3, 4))).sum()
        ends = jnp.linalg.norm(jax.lax.stop_gradient(flows[-1]) - true, axis=-1) * counts
        return loss, {"epe": (ends.sum(axis=(1, 2)) / jnp.maximum(counts.sum(axis=(1, 2)), 1)).sum()}
