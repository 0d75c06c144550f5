"""Distillation: a classifier that learns from the labels and from another network's answers."""

from dataclasses import dataclass
from typing import Any

import jax

from vidjax.config import TrainConfig
from vidjax.models.base import Features
from vidjax.nn.distil import likeness_difference, softened_divergence
from vidjax.nn.grids import Grid


@dataclass(frozen=True)
class Distillation:
    """Loss against a teacher's answers for the same clips.

    Attributes:
      weight: share of the loss; that of the labels has the rest.
      temperature: divisor of both networks' logits.
      tokens: weight of the difference in how alike the tokens are, see `vidjax.nn.distil`; 0: not compared.
    """

    weight: float
    temperature: float
    tokens: float = 0.0

    @classmethod
    def of(cls, config: TrainConfig) -> "Distillation | None":
        """By the settings of training; None: there is no teacher."""
        if not config.teacher:
            return None
        return cls(config.teacher_weight, config.teacher_temperature, config.teacher_tokens)

    def answers(self, network: Any, inputs: Any, rngs: Any = None) -> tuple[jax.Array, Features | None]:
        """Logits of a network, and its features if the tokens are compared.

        Raises:
          NoSuchPartError: if tokens are compared, and the network has none.
        """
        if not self.tokens:
            return network(inputs, rngs=rngs), None
        network.width_of("tokens", "config.train.teacher_tokens")
        features = network.encode(inputs, rngs=rngs)
        return network.apply_head(features, rngs=rngs), features

    def added(
        self,
        loss: jax.Array,
        own: tuple[jax.Array, Features | None],
        teacher: tuple[jax.Array, Features | None],
        *,
        several: bool,
    ) -> jax.Array:
        """Loss of labels and teacher together, summed over the clips.

        Args:
          loss: loss of the labels, summed over the clips.
          own: the network's `answers`.
          teacher: the teacher's.
          several: whether clips may have several classes.
        """
        apart = softened_divergence(own[0], teacher[0], self.temperature, several).sum()
        loss = (1 - self.weight) * loss + self.weight * apart
        if own[1] is not None and teacher[1] is not None:
            loss += self.tokens * likeness_difference(*_places(own[1]), *_places(teacher[1])).sum()
        return loss


def _places(features: Features) -> tuple[jax.Array, Grid]:
    assert features.tokens is not None and features.grid is not None  # checked by `answers`
    return features.tokens, features.grid
