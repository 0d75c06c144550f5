"""Spatio-temporal detection: classes of boxes in the key frame of a clip, such as who does what."""

import functools
from typing import Any

from vidjax.config import Config, ConfigError, Spec
from vidjax.data.records import LabelSpace
from vidjax.tasks.detect.check import check_annotations
from vidjax.tasks.detect.targets import KINDS, make_targets
from vidjax.tasks.detect.videos import file_start, prepare_videos


def make(config: Config, spec: Spec, labels: LabelSpace, dtype: Any = None) -> Any:
    """Build the task; see `vidjax.tasks.make_task`.

    Raises:
      ConfigError: for a sampling of clips other than around the key frames.
    """
    from vidjax.tasks.detect.evaluator import BoxEvaluator
    from vidjax.tasks.detect.objective import BoxObjective
    from vidjax.tasks.detect.service import service
    from vidjax.tasks.task import Task

    _check(config)
    settings, start = config.task.detect, functools.partial(file_start, config)
    return Task(
        name="detect",
        labels=labels,
        targets=make_targets(labels, config.data.augment, settings, spec),
        objective=BoxObjective.of(spec, settings, dtype),
        evaluators={"boxes": lambda videos: BoxEvaluator(videos, spec, settings, start, dtype)},
        metrics=("boxes/mAP",),
        words=f"of {len(labels.names)} classes of boxes",
        answer=_answer,
        service=functools.partial(service, config, spec, labels, dtype),
    )


def _answer(outputs: Any, temperature: float) -> dict[str, Any]:
    """Logits and probabilities of the boxes' classes, float32 `(B, R, K)` each."""
    import jax

    logits = outputs.astype("float32")
    return {"probabilities": jax.nn.sigmoid(logits / temperature), "logits": logits}


def _check(config: Config) -> None:
    """Refuse settings of sampling that boxes, which belong to one frame of a video, do not have."""
    sampling, why = config.data.sampling, "clips are centred on the frames of the boxes (key_frame); leave it out"
    for name, standard in (("train", "random"), ("eval", "multi_clip"), ("short_video", "auto")):
        value, only = getattr(sampling, name), "hold" if name == "short_video" else "key_frame"
        if value not in (standard, only):
            raise ConfigError(f"config.data.sampling.{name} = {value!r}: {why}")
    if config.eval.num_clips != 1:
        raise ConfigError(f"config.eval.num_clips = {config.eval.num_clips}: {why}; several crops are possible")


__all__ = ["KINDS", "check_annotations", "make", "prepare_videos"]
