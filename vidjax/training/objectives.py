"""What a network is trained for: the loss of a batch of clips, a pure function.

A model's spec names its objective: `"classify"`, labels from clips, or `"reconstruct"`, the hidden pixels of a video
from the visible ones, which needs no labels.
"""

import difflib
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax
from flax import nnx

from vidjax.config import Config, ConfigError, Spec, field_names, setting
from vidjax.models.registry import get_spec, list_models
from vidjax.nn.fast_variables import dropout_stream
from vidjax.nn.normalise import network_input, normalise
from vidjax.training.mix import Mix, mix_clips

# Marks the draws of masks among those of a part of a batch; dropout has the stream's own.
_MASKS = 2**32 - 2


def soft_targets(labels: jax.Array, num_classes: int, label_smoothing: float = 0.0) -> jax.Array:
    """What the network is to answer, float32 `(B, K)`.

    Args:
      labels: int32 `(B,)` class indices; or float32 `(B, K)` zeros and ones.
      num_classes: K.
      label_smoothing: share of the target that is spread evenly over all classes (multi-label: moved towards 1/2).
    """
    if jnp.issubdtype(labels.dtype, jnp.integer):
        return optax.smooth_labels(jax.nn.one_hot(labels, num_classes), label_smoothing)
    return labels * (1 - label_smoothing) + 0.5 * label_smoothing


def classification_loss(
    logits: jax.Array,
    labels: jax.Array,
    label_smoothing: float = 0.0,
    partner_labels: jax.Array | None = None,
    weight: jax.Array | None = None,
) -> jax.Array:
    """Mean over the batch, in float32.

    Args:
      logits: `(B, K)`.
      labels: int32 `(B,)`: softmax cross-entropy; or float32 `(B, K)` zeros and ones: sigmoid cross-entropy, mean
        over classes.
      label_smoothing: see `soft_targets`.
      partner_labels: of the clips that these are mixed with, as `labels`.
      weight: float32 `(B,)`, the share of `labels` in the targets of mixed clips.
    """
    chex.assert_rank(logits, 2)
    logits = logits.astype(jnp.float32)
    targets = soft_targets(labels, logits.shape[-1], label_smoothing)
    if partner_labels is not None:
        weight = weight[:, None]
        targets = weight * targets + (1 - weight) * soft_targets(partner_labels, logits.shape[-1], label_smoothing)
    if jnp.issubdtype(labels.dtype, jnp.integer):
        return optax.softmax_cross_entropy(logits, targets).mean()
    return optax.sigmoid_binary_cross_entropy(logits, targets).mean()


def is_correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """float32 `(B,)`: 1 where the highest logit belongs to the label (multi-label: to one of the labels), else 0."""
    best = jnp.argmax(logits, -1)
    if jnp.issubdtype(labels.dtype, jnp.integer):
        return (best == labels).astype(jnp.float32)
    return jnp.take_along_axis(labels, best[:, None], axis=-1)[:, 0]


def num_correct(
    logits: jax.Array, labels: jax.Array, partner_labels: jax.Array | None = None, weight: jax.Array | None = None
) -> jax.Array:
    """How many clips `is_correct` holds of, float32; of mixed ones each label counts with its share."""
    if partner_labels is None:
        return is_correct(logits, labels).sum()
    return (weight * is_correct(logits, labels) + (1 - weight) * is_correct(logits, partner_labels)).sum()


@chex.dataclass(frozen=True)
class Clips:
    """The batch, or a part of it: B clips and, if they are to be mixed, their partners and the draws."""

    video: jax.Array  # uint8 (B, T, H, W, C)
    labels: jax.Array  # int32 (B,) or float32 (B, K)
    partner_video: jax.Array | None
    partner_labels: jax.Array | None
    mix: Mix | None


def objective_of(config: Config) -> str:
    """What the network of `config` is trained for, "classify" or "reconstruct".

    Raises:
      ConfigError: if the config asks for an objective that its model is not made for, or for settings of labels where
        there are none.
    """
    name, asked = config.model.name, config.task.name
    objective = get_spec(name).objective
    if asked not in ("auto", objective):
        others = [other for other in list_models() if get_spec(other).objective == asked]
        close = difflib.get_close_matches(name, others, n=3, cutoff=0.5) or others[:3]
        raise ConfigError(
            f"config.task.name = {asked!r}, but config.model.name = {name!r} is a model to {objective}; "
            f"models to {asked}: {', '.join(close)}, …"
        )
    if objective == "reconstruct":
        standard = Config()
        for field in field_names(standard.task.classify, "task.classify."):
            value = setting(config, field)
            if value != setting(standard, field):
                raise ConfigError(f"config.{field} = {value!r}: is for labels, which {name} does not use; leave it out")
    return objective


# (network in training mode, clips, key of the part) → (loss, how many clips were answered rightly), float32
Objective = Callable[[nnx.Module, Clips, jax.Array], tuple[jax.Array, jax.Array]]


def make_objective(spec: Spec, *, label_smoothing: float = 0.0, dtype: Any = None) -> Objective:
    """The objective that `spec` names.

    Args:
      spec: of the model: objective, normalisation and what enters the network.
      label_smoothing: see the config.
      dtype: of what enters the network.
    """

    def classify(network: nnx.Module, clips: Clips, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        if clips.mix is None:
            video, mixed = normalise(clips.video, spec), ()
        else:
            # Normalised for each part here: the batch stays uint8 until it is used.
            video = mix_clips(normalise(clips.video, spec), normalise(clips.partner_video, spec), clips.mix)
            mixed = (clips.partner_labels, clips.mix.weight)
        logits = network(network_input(video, spec, dtype), rngs=dropout_stream(key))
        loss = classification_loss(logits, clips.labels, label_smoothing, *mixed)
        return loss, num_correct(logits, clips.labels, *mixed)

    def reconstruct(network: nnx.Module, clips: Clips, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        entered = network_input(normalise(clips.video, spec), spec, dtype)
        keys = jax.random.split(jax.random.fold_in(key, _MASKS), len(clips.video))
        mask = network.draw_masks(keys, network.patch_embed.grid(entered))
        predicted = network(entered, mask, rngs=dropout_stream(key))
        loss = jnp.square(predicted - network.targets(clips.video / 255, mask)).mean()
        return loss, jnp.float32(0)

    return {"classify": classify, "reconstruct": reconstruct}[spec.objective]
