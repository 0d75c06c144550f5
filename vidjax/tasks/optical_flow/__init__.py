"""Optical flow: the motion of every pixel from a picture to the next."""

from typing import Any

from vidjax.config import Config, ConfigError, Spec
from vidjax.data.records import LabelSpace
from vidjax.tasks.optical_flow.targets import KINDS, FlowTargets, need_pairs


def make(config: Config, spec: Spec, labels: LabelSpace, dtype: Any = None) -> Any:
    """Build the task; see `vidjax.tasks.make_task`."""
    from vidjax.tasks.optical_flow.evaluator import FlowEvaluator
    from vidjax.tasks.optical_flow.objective import FlowObjective
    from vidjax.tasks.task import Task

    settings, input = config.task.optical_flow, need_pairs(spec)
    for name in ("num_clips", "num_crops"):
        if getattr(config.eval, name) != 1:
            raise ConfigError(f"config.eval.{name}: must be 1, as a pair of pictures has one view")
    return Task(
        name="optical_flow",
        labels=labels,
        targets=FlowTargets(input, mirrors=config.data.augment.flip is not False),
        objective=FlowObjective(spec, settings.gamma, settings.fastest, dtype),
        evaluators={"flow": lambda videos: FlowEvaluator(videos, spec, dtype)},
        metrics=("flow/1px", "flow/3px", "flow/5px"),
        words="with true flow",
    )


__all__ = ["KINDS", "make"]
