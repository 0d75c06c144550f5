"""The videos of a run: generated if requested, loaded, and checked to be the same in all processes."""

from rich.console import Console

from vidjax import config as cfg
from vidjax import parallel
from vidjax.config.spec import resolve_spec
from vidjax.data.reading.feature_file import settle
from vidjax.data.records import VideoSet
from vidjax.data.synthetic import write_asked
from vidjax.inputs import SequenceInput
from vidjax.models.registry import get_spec
from vidjax.tasks.task import Task
from vidjax.tasks.videos import load_videos
from vidjax.training import workdir as workdir_of


def training_sets(config: cfg.Config, console: Console) -> tuple[VideoSet, VideoSet]:
    """Load the training and evaluation videos of a run, generating them first if requested.

    Settings of features that are left open become those of the files.

    Args:
      config: config of the run.
      console: console for the progress of generating.

    Raises:
      ConfigError: if the processes have different videos or settings.
      DataError: if annotations cannot be used.
    """
    parallel.on_writer(lambda: write_asked(config.data, console))
    videos, eval_videos = load_videos(config)
    spec = resolve_spec(get_spec(config.model.name), config.data, config.model.input)
    if reads := [value for value in spec.inputs.values() if isinstance(value, SequenceInput)]:
        config.data.features = settle(config.data.features, (r.path for r in videos.records), reads[0].width)
    workdir_of.check_alike(config, videos, eval_videos)
    return videos, eval_videos


def choose_metric(config: cfg.Config, task: Task) -> None:
    """Set an empty `config.train.best_metric` to the task's first metric.

    Raises:
      ConfigError: if the task has no such metric for these videos.
    """
    config.train.best_metric = config.train.best_metric or task.metrics[0]
    if config.train.best_metric not in task.metrics:
        raise cfg.ConfigError(
            f"config.train.best_metric = {config.train.best_metric!r}: this data set has {', '.join(task.metrics)}"
        )
