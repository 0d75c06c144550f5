"""Contrastive losses of clips and their captions, over the whole batch of all devices and processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import ConfigError, Spec
from vidjax.nn.enter import enter
from vidjax.nn.fast_variables import dropout_stream
from vidjax.tasks.task import Examples, Sum

_MOST = 100.0  # factor of cosines, as in the training of CLIP


@dataclass(frozen=True)
class ContrastObjective:
    """Contrastive loss of each clip with its caption, against all others of the batch.

    Captions of one video are not negatives of each other's clips, nor are equal captions of two videos.

    - softmax: cross-entropy of a clip's caption among all, and of a caption's clip among all, averaged (CLIP,
      2103.00020).
    - sigmoid: each pair is right or wrong by itself; the sum over pairs, per clip (SigLIP, 2303.15343).

    Attributes:
      spec: spec of the network, with its inputs and their normalisation.
      loss: "softmax" or "sigmoid".
      dtype: type of the network's inputs; None: float32.
    """

    spec: Spec
    loss: str = "softmax"
    dtype: Any = None

    sums: ClassVar[Mapping[str, Sum]] = {"matched": Sum("matched", "matched")}
    whole_batch: ClassVar[bool] = True
    teacher: ClassVar[bool] = False

    def prepare(self, examples: Examples, key: jax.Array) -> Examples:
        """Return the clips unchanged: nothing is drawn for the whole batch."""
        del key
        return examples

    def weight(self, examples: Examples) -> jax.Array:
        """Number of clips."""
        return jnp.float32(len(examples["targets"]["video"]))

    def __call__(
        self, network: Any, examples: Examples, key: jax.Array, teacher: nnx.Module | None = None
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """Compute the summed loss, and the number of clips whose caption is the most similar one.

        Raises:
          ConfigError: if the sigmoid loss has a network without a bias.
        """
        del teacher
        entered = enter(examples["inputs"], self.spec.inputs, self.dtype, network=network)
        features = network.encode(entered["video"], rngs=dropout_stream(key))
        similar = network.scaled(network.compare(features, network.encode_text(entered["text"])), _MOST)
        other = ~_alike(examples["targets"]["video"], entered["text"])
        own = jnp.diagonal(similar)
        if self.loss == "sigmoid":
            if network.logit_bias is None:
                raise ConfigError(
                    "config.task.retrieve.loss = 'sigmoid': the network's similarities have no bias; give "
                    "--config.model.kwargs.biased=True"
                )
            loss = jax.nn.softplus(-own).sum() + jnp.where(other, jax.nn.softplus(similar), 0).sum()
        else:
            loss = 0.5 * (_cross_entropy(similar, own, other) + _cross_entropy(similar.T, own, other))
        matched = own >= jnp.where(other, similar, -jnp.inf).max(axis=1)
        return loss, {"matched": matched.sum(dtype=jnp.float32)}


def _alike(video: jax.Array, text: jax.Array) -> jax.Array:
    """Whether two examples are of one video or have the same caption, bool `(B, B)`."""
    return (video[:, None] == video[None]) | (text[:, None] == text[None]).all(axis=-1)


def _cross_entropy(similar: jax.Array, own: jax.Array, other: jax.Array) -> jax.Array:
    """Cross-entropy, summed over the rows, of each row's own partner among it and the `other` ones."""
    eye = jnp.eye(len(own), dtype=bool)
    among = jnp.where(other | eye, similar, -jnp.inf)
    return (jax.nn.logsumexp(among, axis=1) - own).sum()
