"""Training objective of captions: the cross-entropy of every word after the prompt, given the words before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from vidjax.config import Spec
from vidjax.nn.enter import enter
from vidjax.nn.fast_variables import dropout_stream
from vidjax.tasks.task import Examples, Sum
from vidjax.text.tokenizer import PADDING


def said(text: jax.Array, prompt: jax.Array) -> jax.Array:
    """Whether the word after each place is one that the network is to say, bool `(B, L - 1)`.

    Args:
      text: token numbers, int32 `(B, L)`.
      prompt: number of the prompt's tokens, int32 `(B,)`; at least 1 for a text.
    """
    places = jnp.arange(1, text.shape[1])[None]
    return (places >= prompt[:, None]) & (text[:, 1:] != PADDING)


@dataclass(frozen=True)
class CaptionObjective:
    """Cross-entropy of the words that follow the prompt.

    Attributes:
      spec: spec of the network, with its inputs and their normalisation.
      dtype: type of the network's inputs; None: float32.
    """

    spec: Spec
    dtype: Any = None

    sums: ClassVar[Mapping[str, Sum]] = {"correct": Sum("word_accuracy", "words")}
    whole_batch: ClassVar[bool] = False
    teacher: ClassVar[bool] = False

    def prepare(self, examples: Examples, key: jax.Array) -> Examples:
        """Return the clips unchanged: nothing is drawn for the whole batch."""
        del key
        return examples

    def weight(self, examples: Examples) -> jax.Array:
        """Number of words to say; 1 if there are none."""
        numbers = examples["inputs"]["text"]
        return jnp.maximum(said(numbers[:, 1:], numbers[:, 0]).sum(dtype=jnp.float32), 1)

    def __call__(
        self, network: nnx.Module, examples: Examples, key: jax.Array, teacher: nnx.Module | None = None
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """Compute the loss summed over words, and the number of words that are the most probable ones."""
        del teacher
        entered = enter(examples["inputs"], self.spec.inputs, self.dtype, network=network)
        logits = network(entered, rngs=dropout_stream(key))[:, :-1].astype(jnp.float32)
        words, asked = entered["text"][:, 1:], said(entered["text"], entered["prompt"])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, words)
        correct = (logits.argmax(axis=-1) == words) & asked
        return jnp.where(asked, losses, 0).sum(), {"correct": correct.sum(dtype=jnp.float32)}
