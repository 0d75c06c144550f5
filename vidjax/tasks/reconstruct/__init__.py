"""Reconstruction of hidden pixels from visible ones: pre-training without labels."""

from typing import Any

from vidjax.config import Config, Spec
from vidjax.data.records import LabelSpace
from vidjax.tasks.reconstruct.targets import KINDS, NoTargets


def make(config: Config, spec: Spec, labels: LabelSpace, dtype: Any = None) -> Any:
    """Build the task; see `vidjax.tasks.make_task`."""
    from vidjax.tasks.reconstruct.evaluator import PictureEvaluator, PixelEvaluator
    from vidjax.tasks.reconstruct.objective import PixelObjective
    from vidjax.tasks.task import Task

    return Task(
        name="reconstruct",
        labels=labels,
        targets=NoTargets(mirrors=config.data.augment.flip is not False),
        objective=PixelObjective(spec, dtype),
        evaluators={
            "pixels": lambda videos: PixelEvaluator(spec, dtype),
            "pictures": lambda videos: PictureEvaluator(spec, len(videos), dtype),
        },
        metrics=("reconstruction/explained",),
        words="without labels",
    )


__all__ = ["KINDS", "make"]
