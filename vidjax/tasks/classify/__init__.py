"""Classification of videos into one class or several."""

from typing import Any

from vidjax.config import Config, ConfigError, Spec
from vidjax.data.records import LabelSpace
from vidjax.inputs import VideoInput
from vidjax.tasks.classify.targets import KINDS, make_targets


def make(config: Config, spec: Spec, labels: LabelSpace, dtype: Any = None) -> Any:
    """Build the task; see `vidjax.tasks.make_task`."""
    from vidjax.evaluation import metrics
    from vidjax.tasks.classify.evaluator import ClassEvaluator
    from vidjax.tasks.classify.mix import MixRule
    from vidjax.tasks.classify.objective import ClassObjective
    from vidjax.tasks.task import Task

    settings = config.task.classify
    mix = MixRule.of(settings)
    if mix and [type(each) for each in spec.inputs.values()] != [VideoInput]:
        raise ConfigError("config.task.classify.mixup and cutmix mix clips of one video input; this network has others")
    names = ["mAP"] if labels.several else [f"top{k}" for k in metrics.ranks(len(labels.names))]
    return Task(
        name="classify",
        labels=labels,
        targets=make_targets(labels, config.data.augment, settings.flip_pairs),
        objective=ClassObjective(spec, settings.label_smoothing, mix, dtype),
        evaluators={"classes": lambda videos: ClassEvaluator(videos, spec, dtype)},
        metrics=tuple(f"{level}/{name}" for level in ("video", "clip") for name in names),
        words=f"of {len(labels.names)} classes" + (" (a video may have several)" if labels.several else ""),
        balance=settings.balance,
        present=metrics.sigmoid if labels.several else metrics.softmax,
    )


__all__ = ["KINDS", "make"]
