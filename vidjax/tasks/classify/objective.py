"""Training objective of classifiers: the loss of the classes of clips, which may be mixed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp
import optax
from flax import nnx

from vidjax.config import Spec
from vidjax.inputs import AudioInput, VideoInput
from vidjax.models.exits import all_logits
from vidjax.models.teacher import Teacher
from vidjax.nn.enter import enter, is_heard, normalise, read_pixels, spectrogram
from vidjax.nn.fast_variables import dropout_stream
from vidjax.nn.spec_augment import SpecAugment, masked
from vidjax.tasks.classify.distillation import Distillation
from vidjax.tasks.classify.losses import CROSS_ENTROPY, ClassLoss
from vidjax.tasks.classify.mix import MixRule, draw_mix, mix_clips, mix_sounds
from vidjax.tasks.task import Examples, Sum

_MASKS = 1  # folded into the key of a batch for the masks of its sound


def soft_targets(labels: jax.Array, num_classes: int, label_smoothing: float = 0.0) -> jax.Array:
    """Target probabilities of a batch, float32 `(B, K)`.

    Args:
      labels: int32 `(B,)` class indices; or float32 `(B, K)` zeros and ones, and -1 for what is not known.
      num_classes: K, number of classes.
      label_smoothing: share of the target that is spread evenly over all classes (multi-label: moved towards 1/2).
    """
    if jnp.issubdtype(labels.dtype, jnp.integer):
        return optax.smooth_labels(jax.nn.one_hot(labels, num_classes), label_smoothing)
    return jnp.maximum(labels, 0) * (1 - label_smoothing) + 0.5 * label_smoothing


def classification_loss(
    logits: jax.Array,
    labels: jax.Array,
    label_smoothing: float = 0.0,
    partner_labels: jax.Array | None = None,
    weight: jax.Array | None = None,
    loss: ClassLoss = CROSS_ENTROPY,
) -> jax.Array:
    """Loss summed over the batch, in float32.

    Args:
      logits: logits of any float type, `(B, K)`.
      labels: int32 `(B,)`: one class each, softmax; or float32 `(B, K)` zeros and ones, and -1 for classes that are
        not known: sigmoid, mean over the known classes.
      label_smoothing: share of the target that is smoothed, see `soft_targets`.
      partner_labels: labels of the clips mixed in, in the form of `labels`; None: nothing is mixed.
      weight: share of `labels` in the targets of mixed clips, float32 `(B,)`.
      loss: loss of one clip.
    """
    chex.assert_rank(logits, 2)
    logits = logits.astype(jnp.float32)
    targets = soft_targets(labels, logits.shape[-1], label_smoothing)
    if partner_labels is not None and weight is not None:
        share = weight[:, None]
        targets = share * targets + (1 - share) * soft_targets(partner_labels, logits.shape[-1], label_smoothing)
    if jnp.issubdtype(labels.dtype, jnp.integer):
        return loss.softmax(logits, targets).sum()
    known = labels >= 0
    if partner_labels is not None:
        known &= partner_labels >= 0
    return loss.sigmoid(logits, targets, known.astype(jnp.float32)).sum()


def is_correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Whether each clip's highest logit is its label (multi-label: one of its labels), float32 `(B,)`: 1 or 0."""
    best = jnp.argmax(logits, -1)
    if jnp.issubdtype(labels.dtype, jnp.integer):
        return (best == labels).astype(jnp.float32)
    return jnp.maximum(jnp.take_along_axis(labels, best[:, None], axis=-1)[:, 0], 0)


def num_correct(
    logits: jax.Array, labels: jax.Array, partner_labels: jax.Array | None = None, weight: jax.Array | None = None
) -> jax.Array:
    """Number of clips for which `is_correct` holds, float32; each label of a mixed clip counts with its share."""
    if partner_labels is None or weight is None:
        return is_correct(logits, labels).sum()
    return (weight * is_correct(logits, labels) + (1 - weight) * is_correct(logits, partner_labels)).sum()


@dataclass(frozen=True)
class ClassObjective:
    """Loss of a classifier's logits: softmax or, if a video may have several classes, sigmoid.

    Attributes:
      spec: spec of the network, with its inputs and their normalisation.
      label_smoothing: share of the target that is smoothed, see `soft_targets`.
      mix: settings of mixing the clips of a batch; None: no mixing.
      dtype: type of the network's inputs; None: float32.
      loss: loss of one clip.
      masks: masks of spectrograms; None: there are none.
      distil: loss against the answers of a teacher; None: there is none.
      exit_weight: weight of the loss of each early exit of the network beside that of its end.
    """

    spec: Spec
    label_smoothing: float = 0.0
    mix: MixRule | None = None
    dtype: Any = None
    loss: ClassLoss = CROSS_ENTROPY
    masks: SpecAugment | None = None
    distil: Distillation | None = None
    exit_weight: float = 1.0

    sums: ClassVar[Mapping[str, Sum]] = {"correct": Sum("accuracy", "top-1")}
    whole_batch: ClassVar[bool] = False
    teacher: ClassVar[bool] = False

    def prepare(self, examples: Examples, key: jax.Array) -> Examples:
        """Add each clip's partner and the draws of mixing, and the masks of sound, if there are any."""
        inputs, labels, added = examples["inputs"], examples["targets"]["label"], {}
        if self.mix is not None:
            # As many draws as clips; the partner of the i-th is the i-th from the end.
            pictures = [x for name, x in inputs.items() if isinstance(self.spec.inputs[name], VideoInput)]
            height, width = pictures[0].shape[2:4] if pictures else (1, 1)
            added["partner"] = {"inputs": {name: x[::-1] for name, x in inputs.items()}, "label": labels[::-1]}
            added["mix"] = draw_mix(self.mix, key, len(labels), height, width)
        if self.masks is not None:
            heard = {n: each for n, each in self.spec.inputs.items() if isinstance(each, AudioInput)}
            key = jax.random.fold_in(key, _MASKS)
            added["masks"] = {name: self.masks.draw(key, len(labels), *each.shape) for name, each in heard.items()}
        return examples | added

    def weight(self, examples: Examples) -> jax.Array:
        """Number of clips."""
        return jnp.float32(examples["targets"]["label"].shape[0])

    def __call__(
        self, network: nnx.Module, examples: Examples, key: jax.Array, teacher: nnx.Module | None = None
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """Compute the summed loss and the number of clips classified correctly.

        With early exits, the loss is the weighted sum of theirs and the end's. With a teacher, clips may hold more
        frames than the network takes: it and its teacher see their own shares.
        """
        mixed = (examples["partner"]["label"], examples["mix"].weight) if "mix" in examples else ()
        labels, rngs = examples["targets"]["label"], dropout_stream(key)
        entered = self._entered(examples, self.spec, network)
        learning = self.distil if isinstance(teacher, Teacher) else None
        if learning:
            logits, features = learning.answers(network, entered, rngs)
            early = ()
        else:
            *early, logits = all_logits(network, entered, rngs)
            features = None
        loss, *others = (
            classification_loss(each, labels, self.label_smoothing, *(mixed or (None, None)), self.loss)
            for each in (logits, *early)
        )
        loss += self.exit_weight * sum(others)
        if learning and isinstance(teacher, Teacher):
            given = learning.answers(teacher.network, self._entered(examples, teacher.spec, teacher.network))
            several = jnp.issubdtype(labels.dtype, jnp.floating)
            loss = learning.added(loss, (logits, features), given, several=several)
        return loss, {"correct": num_correct(logits, labels, *mixed)}

    def _entered(self, examples: Examples, spec: Spec, network: nnx.Module) -> dict[str, jax.Array]:
        """Inputs of a network with the spec `spec`, mixed and masked as drawn for the batch."""
        inputs, partner = _frames_of(examples["inputs"], spec), {}
        if "mix" in examples:
            partner = _frames_of(examples["partner"]["inputs"], spec)

        def between(name: str, array: jax.Array) -> jax.Array:
            # Partners are normalised for each part here: the batch stays as it was read until it is used.
            own = spec.inputs[name]
            if partner and isinstance(own, VideoInput):
                others = read_pixels(partner[name], own, network)
                array = mix_clips(array, normalise(others, own), examples["mix"])
            elif partner and isinstance(own, AudioInput):
                heard = is_heard(inputs[name]), is_heard(partner[name])
                array = mix_sounds(array, spectrogram(partner[name], own), examples["mix"], *heard)
            return masked(array, examples["masks"][name]) if name in examples.get("masks", {}) else array

        entered = enter(inputs, spec.inputs, self.dtype, between, network=network)
        if partner and "heard" in entered:
            both = [is_heard(x) for name, x in partner.items() if isinstance(spec.inputs[name], AudioInput)]
            entered["heard"] |= both[0]
        return entered


def _frames_of(inputs: Mapping[str, jax.Array], spec: Spec) -> dict[str, jax.Array]:
    """Inputs with as many frames as a network takes: of more frames every k-th, from the middle of the first k."""

    def chosen(name: str, array: jax.Array) -> jax.Array:
        own = spec.inputs[name]
        if not isinstance(own, VideoInput) or array.shape[1] == own.num_frames:
            return array
        every = array.shape[1] // own.num_frames
        return array[:, every // 2 :: every]

    return {name: chosen(name, array) for name, array in inputs.items()}
