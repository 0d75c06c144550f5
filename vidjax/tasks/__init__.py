"""Training tasks. Each task is a folder here and a line in `TASKS`."""

import dataclasses
import difflib
import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vidjax.config import Config, ConfigError, Spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vidjax.data.audit.key_frames import KeyFrames
    from vidjax.data.listing.rows import Row
    from vidjax.data.records import LabelSpace, VideoSet
    from vidjax.tasks.task import Task

# Loaded on use, so that data workers and `--help` stay light.
TASKS = {
    "classify": "vidjax.tasks.classify",
    "detect": "vidjax.tasks.detect",
    "reconstruct": "vidjax.tasks.reconstruct",
    "localise": "vidjax.tasks.localise",
    "caption": "vidjax.tasks.caption",
    "retrieve": "vidjax.tasks.retrieve",
    "optical_flow": "vidjax.tasks.optical_flow",
}


def _module(name: str) -> ModuleType:
    return importlib.import_module(TASKS[name])


def kinds_of(name: str) -> frozenset[str]:
    """Kinds of annotation that a task needs, such as {"labels"}; empty: none."""
    return _module(name).KINDS


def flip_pairs(config: Config, name: str) -> tuple[str, ...]:
    """Pairs of classes that mirroring swaps, by the settings of a task; () if it has no such setting."""
    return getattr(getattr(config.task, name), "flip_pairs", ())


def prepare_videos(config: Config, name: str, videos: "VideoSet", *, training: bool) -> "VideoSet":
    """Prepare the annotations of a set for a task, by the task's own settings; most tasks take them as they are.

    Args:
      config: config of the run.
      name: name of the task.
      videos: videos with their annotations.
      training: whether they are for training.

    Raises:
      DataError: if files that the task's settings name cannot be used.
    """
    prepare = getattr(_module(name), "prepare_videos", None)
    return prepare(config, videos, training=training) if prepare else videos


def check_annotations(config: Config, name: str, rows: "Sequence[Row]") -> "tuple[KeyFrames | None, list[str]]":
    """Check the annotations of a data set for a task before training, where the task has checks of its own.

    Args:
      config: config of the run.
      name: name of the task.
      rows: rows of all its videos.

    Returns:
      Expectations of the videos' key frames, None if there are none, and problems, one line each.

    Raises:
      DataError: if files that the task's settings name cannot be used.
    """
    check = getattr(_module(name), "check_annotations", None)
    return check(config, rows) if check else (None, [])


def task_of(config: Config) -> str:
    """Name of the task that `config` trains its network for.

    Raises:
      ConfigError: if the config asks for a task its model is not made for, or sets options of another task.
    """
    from vidjax.models.registry import get_spec, list_models

    name, asked = config.model.name, config.task.name
    task = get_spec(name).task
    if asked not in ("auto", task):
        others = [other for other in list_models() if get_spec(other).task == asked]
        close = difflib.get_close_matches(name, others, n=3, cutoff=0.5) or others[:3]
        raise ConfigError(
            f"config.task.name = {asked!r}, but config.model.name = {name!r} is a model for {task!r}; "
            f"models for {asked!r}: {', '.join(close)}, …"
        )
    _refuse_settings_of_others(config, task)
    return task


def _refuse_settings_of_others(config: Config, task: str) -> None:
    for other in TASKS:
        section = getattr(config.task, other)
        for field in dataclasses.fields(section):
            value = getattr(section, field.name)
            if other != task and value != getattr(type(section)(), field.name):
                raise ConfigError(
                    f"config.task.{other}.{field.name} = {value!r}: applies to the task {other!r}, but "
                    f"{config.model.name} is a model for {task!r}; leave it out"
                )


def make_task(config: Config, spec: Spec, labels: "LabelSpace", dtype: Any = None) -> "Task":
    """Build the task of a network and a data set.

    Args:
      config: config of the run.
      spec: spec of the network, as trained.
      labels: classes of the data set.
      dtype: type of the network's inputs; None: float32.

    Raises:
      ConfigError: if spectrograms shall be masked, or there are a teacher or early exits, and the task uses none.
    """
    task, sound = _module(spec.task), config.data.sound
    if (sound.time_masks or sound.frequency_masks) and not getattr(task, "MASKS_SOUND", False):
        raise ConfigError(f"config.data.sound: the task {spec.task!r} masks no spectrograms; leave out masks")
    if config.train.teacher and not getattr(task, "LEARNS_FROM_TEACHERS", False):
        raise ConfigError(
            f"config.train.teacher = {config.train.teacher!r}: the task {spec.task!r} learns from no teacher; leave it "
            "out"
        )
    if config.model.exits and not getattr(task, "HAS_EXITS", False):
        raise ConfigError(f"config.model.exits: the task {spec.task!r} has no early exits; leave them out")
    return task.make(config, spec, labels, dtype)
