"""Retrieval: videos by descriptions and descriptions by videos, learned from pairs of both."""

from typing import Any

from vidjax.config import Config, ConfigError, Spec
from vidjax.data.records import LabelSpace
from vidjax.inputs import TextInput
from vidjax.tasks.retrieve.targets import KINDS, VideoNumbers


def make(config: Config, spec: Spec, labels: LabelSpace, dtype: Any = None) -> Any:
    """Build the task; see `vidjax.tasks.make_task`."""
    from vidjax.tasks.retrieve.evaluator import DIRECTIONS, RetrievalEvaluator
    from vidjax.tasks.retrieve.objective import ContrastObjective
    from vidjax.tasks.task import Task

    if not any(isinstance(value, TextInput) for value in spec.inputs.values()):
        raise ConfigError(f"config.model.name: {spec.name} reads no text, which retrieval needs")
    return Task(
        name="retrieve",
        labels=labels,
        # Descriptions may tell left from right.
        targets=VideoNumbers(mirrors=config.data.augment.flip is True),
        objective=ContrastObjective(spec, config.task.retrieve.loss, dtype),
        evaluators={"retrieval": lambda videos: RetrievalEvaluator(videos, spec, dtype, cut=config.data.text.cut)},
        metrics=tuple(f"{way}/R@{k}" for way in DIRECTIONS for k in (1, 5, 10)),
        words="described in words",
    )


__all__ = ["KINDS", "make"]
