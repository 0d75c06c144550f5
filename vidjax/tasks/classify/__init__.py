"""Classification of videos into one class or several."""

import functools
from typing import Any

from vidjax.config import Config, ConfigError, Spec
from vidjax.data.records import LabelSpace
from vidjax.inputs import AudioInput, VideoInput
from vidjax.tasks.classify.targets import KINDS, make_targets


def make(config: Config, spec: Spec, labels: LabelSpace, dtype: Any = None) -> Any:
    """Build the task; see `vidjax.tasks.make_task`."""
    from vidjax.evaluation import metrics
    from vidjax.nn.spec_augment import SpecAugment
    from vidjax.tasks.classify.distillation import Distillation
    from vidjax.tasks.classify.losses import ClassLoss, prior_bias
    from vidjax.tasks.classify.mix import MixRule
    from vidjax.tasks.classify.objective import ClassObjective
    from vidjax.tasks.task import Task

    settings = config.task.classify
    mix = MixRule.of(settings)
    kinds = [type(each) for each in spec.inputs.values()]
    if mix and (kinds.count(VideoInput) > 1 or not set(kinds) <= {VideoInput, AudioInput}):
        raise ConfigError("config.task.classify.mixup and cutmix mix clips of one video, and sound; not other inputs")
    if mix and mix.cutmix and VideoInput not in kinds:
        raise ConfigError(
            f"config.task.classify.cutmix = {settings.cutmix!r}: cuts boxes out of pictures, and {spec.name} sees "
            "none; use mixup"
        )
    names = ["mAP"] if labels.several else [f"top{k}" for k in metrics.ranks(len(labels.names))]
    return Task(
        name="classify",
        labels=labels,
        targets=make_targets(labels, config.data.augment, settings.flip_pairs),
        objective=ClassObjective(
            spec,
            settings.label_smoothing,
            mix,
            dtype,
            ClassLoss.of(settings, labels),
            SpecAugment.of(config.data.sound),
            Distillation.of(config.train),
            config.model.exit_weight,
        ),
        evaluators={"classes": _evaluator(config, spec, labels, dtype)},
        metrics=tuple(f"{level}/{name}" for level in ("video", "clip") for name in names),
        words=f"of {len(labels.names)} classes" + (" (a video may have several)" if labels.several else ""),
        balance=settings.balance,
        present=metrics.sigmoid if labels.several else metrics.softmax,
        answer=functools.partial(_answer, labels),
        start=functools.partial(_start, labels.several, prior_bias(settings.prior) if settings.prior else None),
    )


def _evaluator(config: Config, spec: Spec, labels: LabelSpace, dtype: Any) -> Any:
    """Maker of the evaluator of a video set, with the figures of early exits if the network has any."""
    from vidjax.models.build import build_model
    from vidjax.models.exits import stage_gmacs
    from vidjax.tasks.classify.evaluator import ClassEvaluator
    from vidjax.tasks.classify.exits import ExitsEvaluator

    @functools.cache
    def stages() -> tuple[Any, Any]:
        network = build_model(config, len(labels.names), dtype=None, abstract=True)
        return network.exits.layers, stage_gmacs(network, spec)

    def of(videos: Any) -> Any:
        single = functools.partial(ClassEvaluator, videos, spec, dtype, config.eval.ensemble)
        return ExitsEvaluator(videos, single, *stages()) if config.model.exits else single()

    return of


def _answer(labels: LabelSpace, outputs: Any, temperature: float) -> dict[str, Any]:
    """Logits and calibrated probabilities, float32 `(B, K)` each; of a network without a classifier its features."""
    import jax

    if not labels.names:
        return {"features": outputs.astype("float32")}
    logits = outputs.astype("float32")
    probabilities = jax.nn.sigmoid if labels.several else jax.nn.softmax
    return {"probabilities": probabilities(logits / temperature), "logits": logits}


def _start(several: bool, bias: float | None, network: Any) -> None:
    """Prepare a new network: check that it fuses probabilities as the labels need them, and set its biases."""
    exclusive = getattr(network.head, "exclusive", None)
    if exclusive is not None and exclusive == several:
        labels = "videos have several labels" if several else "every video has one label"
        raise ConfigError(
            f"config.model.kwargs.exclusive: {labels}, and the streams' probabilities are fused as if "
            f"{'classes excluded each other' if several else 'there were several'}: set it to {not several}"
        )
    if bias is not None:
        _set_bias(bias, network)


def _set_bias(value: float, network: Any) -> None:
    """Set the biases of a network's last layer."""
    import jax.numpy as jnp
    from flax import nnx

    bias = getattr(network.head, "bias", None)
    if bias is None:
        raise ConfigError(
            f"config.task.classify.prior: the classifier of this network, {type(network.head).__name__}, has no bias "
            "of its own; leave it out"
        )
    network.head.bias = nnx.Param(jnp.full_like(bias.get_value(), value))


HAS_EXITS = True
LEARNS_FROM_TEACHERS = True
MASKS_SOUND = True  # spectrograms are masked in training, if the settings say so

__all__ = ["HAS_EXITS", "KINDS", "LEARNS_FROM_TEACHERS", "MASKS_SOUND", "make"]
