"""The videos of a run: generated if asked for, loaded, the same for all processes, and what they can be judged by."""

from rich.console import Console

from vidjax import config as cfg
from vidjax import parallel
from vidjax.data.records import VideoSet
from vidjax.data.synthetic import write_asked
from vidjax.tasks.task import Task
from vidjax.tasks.videos import load_videos
from vidjax.training import workdir as workdir_of


def training_sets(config: cfg.Config, console: Console) -> tuple[VideoSet, VideoSet]:
    """Those to train on and those for evaluation.

    Args:
      config: of the run.
      console: where generating shows its progress.

    Raises:
      ConfigError: if the processes have different videos or settings.
      DataError: for annotations that cannot be used.
    """
    parallel.on_writer(lambda: write_asked(config.data, console))
    videos, eval_videos = load_videos(config)
    workdir_of.check_alike(config, videos, eval_videos)
    return videos, eval_videos


def choose_metric(config: cfg.Config, task: Task) -> None:
    """Fill in `config.train.best_metric`, if it is empty, with the first that the task has.

    Raises:
      ConfigError: for a metric that the task, with these videos, does not have.
    """
    config.train.best_metric = config.train.best_metric or task.metrics[0]
    if config.train.best_metric not in task.metrics:
        raise cfg.ConfigError(
            f"config.train.best_metric = {config.train.best_metric!r}: this data set has {', '.join(task.metrics)}"
        )
