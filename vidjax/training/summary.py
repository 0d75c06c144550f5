"""What a training says of itself before it starts: model, data, length, devices, memory for batches."""

import logging

import jax
from jax.sharding import Mesh
from rich.console import Console

from vidjax import config as cfg
from vidjax import parallel
from vidjax.data.pipeline import footprint
from vidjax.data.records import VideoSet
from vidjax.training.device_prefetch import DEVICE_BATCHES
from vidjax.training.optimizer import warmup_steps
from vidjax.wording import ordinal, things

logger = logging.getLogger("vidjax")


def announce(
    config: cfg.Config,
    spec: cfg.Spec,
    sets: tuple[VideoSet, VideoSet],
    *,
    steps: int,
    classifies: bool,
    mesh: Mesh,
    console: Console,
) -> None:
    """Two lines on `console`, and a warning if the warm-up is shortened to the length of the run.

    Args:
      config: of the run.
      spec: of its clips, as trained.
      sets: to train on and to evaluate with.
      steps: updates of the whole run.
      classifies: whether labels are what is learned.
      mesh: whose devices train.
      console: where the writer prints.
    """
    videos, eval_videos = sets
    every = f"every {ordinal(spec.stride)} frame" if spec.stride > 1 else "every frame"
    rate = f"{spec.fps:g} frames/s" if spec.fps else every
    classes = f"of {len(videos.class_names)} classes" if classifies else "without labels"
    if videos.multi_label:
        classes += " (a video may have several)"
    clips = config.train.batch_size * config.data.sampling.views
    console.print(
        f"{config.model.name} on {things(len(videos), 'video')} {classes}, "
        f"{len(eval_videos)} for evaluation; clips of {things(spec.num_frames, 'frame')} ({rate}) at {spec.size}²; "
        f"{things(steps, 'update')} of {things(clips, 'clip')}; {parallel.describe(mesh)}",
        highlight=False,
        soft_wrap=True,
    )
    data = config.data
    most = footprint(spec, data, config.train.batch_size, jax.process_count())
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
