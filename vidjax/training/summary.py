"""Summary of a training, printed before it starts: model, data, length, devices, memory for batches."""

import logging

import jax
from jax.sharding import Mesh
from rich.console import Console

from vidjax import config as cfg
from vidjax import parallel
from vidjax.batch import BatchLayout
from vidjax.data.pipeline import footprint
from vidjax.data.records import VideoSet
from vidjax.tasks.task import Task
from vidjax.training.device_prefetch import DEVICE_BATCHES
from vidjax.training.optimizer import warmup_steps
from vidjax.wording import things

logger = logging.getLogger("vidjax")


def announce(
    config: cfg.Config,
    spec: cfg.Spec,
    task: Task,
    layout: BatchLayout,
    sets: tuple[VideoSet, VideoSet],
    *,
    steps: int,
    mesh: Mesh,
    console: Console,
) -> None:
    """Print a training's summary in two lines, and warn if the warm-up is shortened to fit the run.

    Args:
      config: config of the run.
      spec: spec of the clips, as trained.
      task: task that is learned.
      layout: layout of a batch.
      sets: training and evaluation videos.
      steps: updates of the whole run.
      mesh: mesh of the devices that train.
      console: console of the writing process.
    """
    videos, eval_videos = sets
    clips = config.train.batch_size * config.data.sampling.views
    console.print(
        f"{config.model.name} on {things(len(videos), 'video')} {task.words}, "
        f"{len(eval_videos)} for evaluation; {_words(spec)}; "
        f"{things(steps, 'update')} of {things(clips, 'clip')}; {parallel.describe(mesh)}",
        highlight=False,
        soft_wrap=True,
    )
    data = config.data
    most = footprint(layout, data, config.train.batch_size, jax.process_count())
    threads = things(data.reading.num_threads, "thread")
    readers = f"{things(data.reading.num_workers, 'worker')} of {threads}" if data.reading.num_workers else threads
    console.print(
        f"data: {readers}; at most {most.batches} batches of {most.batch_bytes / 1e6:.1f} MB in memory, "
        f"{most.bytes / 1e6:.0f} MB; at most {DEVICE_BATCHES} on the devices",
        highlight=False,
        soft_wrap=True,
    )
    per_epoch = len(videos) / config.train.batch_size
    warmup = warmup_steps(config.optimizer, steps=steps, steps_per_epoch=per_epoch)
    if warmup != round(config.optimizer.warmup_epochs * per_epoch) and parallel.is_writer():
        logger.warning(
            "config.optimizer.warmup_epochs = %g would take the whole run: shortened to %.3g, %s",
            config.optimizer.warmup_epochs, warmup / per_epoch, things(warmup, "update"),
        )  # fmt: skip


def _words(spec: cfg.Spec) -> str:
    """Description of a clip, in words."""
    return " and ".join(value.phrase for value in spec.inputs.values())
