"""Losses of classifiers: cross-entropy, focal and asymmetric loss, with weights of classes and of positives.

With one class per video the loss compares probabilities that add up to 1 (softmax). With several, each class is a
question of its own (sigmoid) and a clip's loss is the mean over the classes that are known of it.
"""

from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from vidjax.config import ClassifyConfig, ConfigError
from vidjax.data.records import LabelSpace


@dataclass(frozen=True, eq=False)
class ClassLoss:
    """Loss of logits against target probabilities.

    Attributes:
      kind: "cross_entropy", "focal" (Lin et al., arXiv 1708.02002) or "asymmetric" (Ridnik et al., arXiv 2009.14119).
      gamma: focal: exponent γ; a well classified example counts with (1 − p)^γ.
      alpha: focal with several classes: weight of positives, and 1 − α that of negatives; below 0: 1 for both.
      gamma_positive, gamma_negative: asymmetric: exponents of positives and negatives.
      margin: asymmetric: probability by which negatives are shifted down, so that easy ones count nothing.
      class_weights: float32 `(K,)`; None: 1 each.
      positive_weights: with several classes: float32 `(K,)`, weight of positives; None: 1 each.
    """

    kind: str = "cross_entropy"
    gamma: float = 2.0
    alpha: float = 0.25
    gamma_positive: float = 1.0
    gamma_negative: float = 4.0
    margin: float = 0.05
    class_weights: np.ndarray | None = None
    positive_weights: np.ndarray | None = None

    @classmethod
    def of(cls, config: ClassifyConfig, labels: LabelSpace) -> "ClassLoss":
        """Make the loss for the settings of a config and the classes of a data set, with their numbers of videos.

        Without these numbers, as after training, weights that follow from them are left out: only training has a loss.

        Raises:
          ConfigError: for a loss that is defined only for several classes, if each video has one.
        """
        _check(config, labels)
        return cls(
            kind=config.loss,
            gamma=config.focal_gamma,
            alpha=config.focal_alpha,
            gamma_positive=config.asymmetric_positive,
            gamma_negative=config.asymmetric_negative,
            margin=config.asymmetric_margin,
            class_weights=effective_weights(labels.positives, config.class_beta) if config.class_beta else None,
            positive_weights=_positive_weights(config.positive_weight, labels),
        )

    def softmax(self, logits: jax.Array, targets: jax.Array) -> jax.Array:
        """Loss of each clip with one class, float32 `(B,)`.

        Args:
          logits: float32 `(B, K)`.
          targets: target probabilities, float32 `(B, K)`, which add up to 1.
        """
        chex.assert_equal_shape([logits, targets])
        losses = optax.softmax_cross_entropy(logits, targets)
        if self.kind == "focal":
            log_p = jax.nn.log_softmax(logits)
            losses = -(targets * (1 - jnp.exp(log_p)) ** self.gamma * log_p).sum(axis=-1)
        if self.class_weights is None:
            return losses
        return losses * (targets * self.class_weights[None]).sum(axis=-1)

    def sigmoid(self, logits: jax.Array, targets: jax.Array, known: jax.Array) -> jax.Array:
        """Loss of each clip with several classes, float32 `(B,)`: the mean over the known classes, 0 without any.

        Args:
          logits: float32 `(B, K)`.
          targets: target probabilities, float32 `(B, K)`, each in 0…1.
          known: 1 for the classes of which it is known whether the clip shows them, otherwise 0, float32 `(B, K)`.
        """
        chex.assert_equal_shape([logits, targets, known])
        positive, negative = self._terms(logits, targets)
        if self.positive_weights is not None:
            positive = positive * self.positive_weights[None]
        losses = positive + negative
        if self.class_weights is not None:
            losses = losses * self.class_weights[None]
        return (losses * known).sum(axis=-1) / jnp.maximum(known.sum(axis=-1), 1)

    def _terms(self, logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Loss of each class for its share of being shown, and for that of not being shown, `(B, K)` each."""
        positive = -targets * jax.nn.log_sigmoid(logits)
        negative = -(1 - targets) * jax.nn.log_sigmoid(-logits)
        p = jax.nn.sigmoid(logits)
        if self.kind == "focal":
            weights = (self.alpha, 1 - self.alpha) if self.alpha >= 0 else (1.0, 1.0)
            return (
                weights[0] * (1 - p) ** self.gamma * positive,
                weights[1] * p**self.gamma * negative,
            )
        if self.kind == "asymmetric":
            shifted = jnp.minimum(1 - p + self.margin, 1.0)  # probability of not being shown
            negative = -(1 - targets) * jnp.log(jnp.maximum(shifted, 1e-8))
            # As in the paper's code, the weights have no gradient.
            return (
                jax.lax.stop_gradient(1 - p) ** self.gamma_positive * positive,
                jax.lax.stop_gradient(1 - shifted) ** self.gamma_negative * negative,
            )
        return positive, negative


CROSS_ENTROPY = ClassLoss()


def effective_weights(positives: tuple[int, ...], beta: float) -> np.ndarray | None:
    """Weights of classes by their effective number of videos, (1 − β) / (1 − βⁿ), with mean 1 (Cui et al., arXiv
    1901.05555).

    Args:
      positives: n, training videos of each class; a class without any gets the weight of one video. Empty: not known.
      beta: β in 0…1, without 1; 0 gives equal weights, near 1 the inverse of the number.

    Returns:
      float32 `(K,)`; None if the numbers are not known.
    """
    if not positives:
        return None
    weights = (1 - beta) / (1 - beta ** np.maximum(np.array(positives, np.float64), 1))
    return (weights * len(weights) / weights.sum()).astype(np.float32)


def prior_bias(probability: float) -> float:
    """Bias of a classifier whose first probabilities shall be `probability` for each class: −log((1 − p) / p)."""
    return -float(np.log((1 - probability) / probability))


def _positive_weights(weight: float, labels: LabelSpace) -> np.ndarray | None:
    if weight == 1:
        return None
    count = len(labels.names)
    if weight > 0:
        return np.full(count, weight, np.float32)
    if not labels.positives:
        return None
    positives = np.maximum(np.array(labels.positives, np.float64), 1)
    return (np.maximum(np.array(labels.annotated) - positives, 1) / positives).astype(np.float32)


def _check(config: ClassifyConfig, labels: LabelSpace) -> None:
    if labels.several:
        return
    for name, standard in (("positive_weight", 1.0), ("prior", 0.0)):
        if (value := getattr(config, name)) != standard:
            raise ConfigError(
                f"config.task.classify.{name} = {value!r}: needs several labels per video; here each has one"
            )
    if config.loss == "asymmetric":
        raise ConfigError(
            "config.task.classify.loss = 'asymmetric': is for several labels per video; here each has one, for which "
            "focal does the same"
        )
