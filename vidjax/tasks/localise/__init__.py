"""Localisation: when actions happen in long videos, from features computed beforehand or from their frames."""

from typing import Any

from vidjax.config import Config, ConfigError, LocaliseConfig, Spec, mirrors, short_video_rule
from vidjax.data.records import LabelSpace
from vidjax.inputs import VideoInput
from vidjax.tasks.localise.targets import KINDS, WHOLE_CLIP, SegmentTargets


def make(config: Config, spec: Spec, labels: LabelSpace, dtype: Any = None) -> Any:
    """Build the task; see `vidjax.tasks.make_task`."""
    from vidjax.tasks.localise.evaluator import SegmentEvaluator
    from vidjax.tasks.localise.objective import SegmentObjective
    from vidjax.tasks.task import Task

    settings = config.task.localise
    for name in ("num_clips", "num_crops"):
        if getattr(config.eval, name) != 1:
            raise ConfigError(f"config.eval.{name}: must be 1, as the length of a video decides its number of parts")
    _check(settings)
    frames = any(isinstance(value, VideoInput) for value in spec.inputs.values())
    whole = frames and config.data.sampling.eval == WHOLE_CLIP
    if frames:
        _check_frames(config, whole)
    return Task(
        name="localise",
        labels=labels,
        targets=SegmentTargets(
            labels,
            settings.max_segments,
            config.data.features.keep,
            settings.shortest,
            frames,
            whole,
            mirrors=frames and mirrors(config.data.augment, (), labels.directional),
        ),
        objective=SegmentObjective(spec, dtype),
        evaluators={"segments": lambda videos: SegmentEvaluator(videos, spec, config, dtype)},
        metrics=tuple(f"{name}/mAP" for name in dict.fromkeys((settings.thresholds, *settings.also))),
        words=f"of segments of {len(labels.names)} classes",
        answer=lambda outputs, temperature: outputs,
    )


def _check(settings: LocaliseConfig) -> None:
    """Raise a `ConfigError` for settings of suppression that have no effect, or cannot have any."""
    where, hard = "config.task.localise", settings.suppression == "hard"
    if settings.voting and settings.per_class:
        raise ConfigError(f"{where}.voting: needs {where}.per_class=false")
    if settings.votes != "auto" and not settings.voting:
        raise ConfigError(f"{where}.votes: needs {where}.voting, the least IoU of detections that vote")
    if settings.video_join != "root" and not settings.video_scores:
        raise ConfigError(f"{where}.video_join: needs {where}.video_scores, the scores that it joins")
    if hard != bool(settings.iou):
        raise ConfigError(f"{where}.iou: needs {where}.suppression=hard, and hard suppression needs it above 0")
    if hard and settings.sigma:
        raise ConfigError(f"{where}.sigma: is for soft suppression; leave it out with {where}.suppression=hard")


def _check_frames(config: Config, whole: bool) -> None:
    """Raise a `ConfigError` unless clips of long videos are read so that the time of each frame is known."""
    sampling, where = config.data.sampling, "config.data.sampling"
    if not whole and (sampling.eval != "sliding_window" or not sampling.hop):
        raise ConfigError(
            f"{where}.eval: a network that finds segments in clips needs sliding_window here, and {where}.hop, frames "
            "from clip to clip, fewer than those of a clip so that clips overlap; or, for clips of the whole video, "
            f"{WHOLE_CLIP}"
        )
    if whole and sampling.train != WHOLE_CLIP:
        raise ConfigError(f"{where}.train: needs {WHOLE_CLIP}, as {where}.eval has it")
    if not whole and (sampling.train != "random" or short_video_rule(sampling, "random") != "hold"):
        raise ConfigError(f"{where}: a network that finds segments in clips needs train=random and short_video=hold")
    if sampling.speed != (1, 1) or sampling.reverse or sampling.temporal_jitter:
        raise ConfigError(
            f"{where}: speed, reverse and temporal_jitter would move the annotated segments; leave them out"
        )


__all__ = ["KINDS", "make"]
