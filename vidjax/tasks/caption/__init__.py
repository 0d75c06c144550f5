"""Captions: what happens in a video, in words; an answer is a caption that begins with the question."""

import functools
from typing import Any

from vidjax.config import Config, Spec
from vidjax.data.records import LabelSpace
from vidjax.tasks.caption.targets import KINDS, NoTargets


def make(config: Config, spec: Spec, labels: LabelSpace, dtype: Any = None) -> Any:
    """Build the task; see `vidjax.tasks.make_task`."""
    from vidjax.nn.generation import Decoding
    from vidjax.tasks.caption.evaluator import CaptionEvaluator
    from vidjax.tasks.caption.objective import CaptionObjective
    from vidjax.tasks.caption.service import service
    from vidjax.tasks.task import Task

    settings = config.task.caption
    decoding = Decoding(settings.length, settings.beams, settings.length_power)
    return Task(
        name="caption",
        labels=labels,
        targets=NoTargets(mirrors=config.data.augment.flip is True),
        objective=CaptionObjective(spec, dtype),
        evaluators={"captions": lambda videos: CaptionEvaluator(videos, spec, decoding, dtype)},
        metrics=tuple(f"caption/{name}" for name in ("cider", "exact", "bleu4", "rouge_l")),
        words="with captions",
        service=functools.partial(service, config, spec, decoding, dtype),
    )


__all__ = ["KINDS", "make"]
