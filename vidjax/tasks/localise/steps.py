"""Loss and decoding of networks that classify every step of a sequence."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vidjax.config import LocaliseConfig
from vidjax.models.sequences import StepOutputs
from vidjax.tasks.localise.decode import Candidates
from vidjax.tasks.localise.runs import RunSettings, find_runs


def step_labels(segments: jax.Array, classes: jax.Array, steps: int, idle: int) -> jax.Array:
    """Class of every step: that of the shortest segment over it, or `idle` where there is none; int32 `(B, T)`.

    Args:
      segments: starts and ends in steps, `(B, N, 2)`; segments without length are padding.
      classes: class numbers, `(B, N)`.
      steps: T, number of steps.
      idle: number of the class of no action.
    """
    start, end = segments[..., 0, None], segments[..., 1, None]
    place = jnp.arange(steps, dtype=segments.dtype)[None, None]
    covered = (place >= start) & (place <= end) & (end > start)
    length = jnp.where(covered, end - start, jnp.inf)
    chosen = jnp.take_along_axis(classes, length.argmin(axis=1), axis=1)
    return jnp.where(covered.any(axis=1), chosen, idle).astype(jnp.int32)


def step_loss(
    network: Any, outputs: StepOutputs, segments: jax.Array, classes: jax.Array
) -> tuple[jax.Array, Mapping[str, jax.Array]]:
    """Cross-entropy of the steps, the mean over each clip's, summed over clips; as the sum `classes`, too."""
    del network
    labels = step_labels(segments, classes, outputs.classes.shape[1], outputs.classes.shape[2] - 1)
    each = optax.softmax_cross_entropy_with_integer_labels(outputs.classes.astype(jnp.float32), labels)
    count = jnp.maximum(outputs.mask.sum(axis=1), 1)
    loss = (jnp.where(outputs.mask, each, 0).sum(axis=1) / count).sum()
    return loss, {"classes": loss}


def decode_steps(outputs: StepOutputs, settings: LocaliseConfig) -> Candidates:
    """Candidates of one clip: runs of its classes' probabilities above thresholds; their places are the middles.

    Args:
      outputs: NumPy arrays of one clip, without the batch axis.
      settings: settings, of which `min_score`, `min_length` and `candidates` are used.
    """
    logits = np.asarray(outputs.classes, np.float64)[np.asarray(outputs.mask)]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    shares = (shares / shares.sum(axis=1, keepdims=True))[:, :-1]
    rules = RunSettings(shortest=settings.min_length, least=max(settings.min_score, 0.01))
    segments, scores, labels = find_runs(shares, rules)
    best = np.argsort(-scores, kind="stable")[: settings.candidates]
    best = best[scores[best] > settings.min_score]
    segments = segments[best]
    return Candidates(segments, scores[best], labels[best], segments.mean(axis=1))
