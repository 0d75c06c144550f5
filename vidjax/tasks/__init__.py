"""Training tasks. Each task is a folder here and a line in `TASKS`."""

import dataclasses
import difflib
import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vidjax.config import Config, ConfigError, Spec

if TYPE_CHECKING:
    from vidjax.data.records import LabelSpace
    from vidjax.tasks.task import Task

# Loaded on use, so that data workers and `--help` stay light.
TASKS = {
    "classify": "vidjax.tasks.classify",
    "reconstruct": "vidjax.tasks.reconstruct",
    "localise": "vidjax.tasks.localise",
}


def _module(name: str) -> ModuleType:
    return importlib.import_module(TASKS[name])


def kinds_of(name: str) -> frozenset[str]:
    """Kinds of annotation that a task needs, such as {"labels"}; empty: none."""
    return _module(name).KINDS


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
    """
    return _module(spec.task).make(config, spec, labels, dtype)
