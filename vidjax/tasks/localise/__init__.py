"""Localisation: when actions happen in long videos, from features computed beforehand."""

from typing import Any

from vidjax.config import Config, ConfigError, Spec
from vidjax.data.records import LabelSpace
from vidjax.tasks.localise.targets import KINDS, SegmentTargets


def make(config: Config, spec: Spec, labels: LabelSpace, dtype: Any = None) -> Any:
    """Build the task; see `vidjax.tasks.make_task`."""
    from vidjax.tasks.localise.evaluator import SegmentEvaluator
    from vidjax.tasks.localise.objective import SegmentObjective
    from vidjax.tasks.task import Task

    settings = config.task.localise
    for name in ("num_clips", "num_crops"):
        if getattr(config.eval, name) != 1:
            raise ConfigError(f"config.eval.{name}: must be 1, as the length of a video decides its number of parts")
    if settings.voting and settings.per_class:
        raise ConfigError("config.task.localise.voting: needs config.task.localise.per_class=false")
    return Task(
        name="localise",
        labels=labels,
        targets=SegmentTargets(labels, settings.max_segments, config.data.features.keep),
        objective=SegmentObjective(spec, dtype),
        evaluators={"segments": lambda videos: SegmentEvaluator(videos, spec, config, dtype)},
        metrics=tuple(f"{name}/mAP" for name in dict.fromkeys((settings.thresholds, *settings.also))),
        words=f"of segments of {len(labels.names)} classes",
    )


__all__ = ["KINDS", "make"]
