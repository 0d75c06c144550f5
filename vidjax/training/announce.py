"""What a training says of itself before it starts: model, data, length, devices, memory for batches."""

import jax
from jax.sharding import Mesh
from rich.console import Console

from vidjax import config as cfg
from vidjax import parallel
from vidjax.data.pipeline import footprint
from vidjax.data.records import VideoSet
from vidjax.training.feed import DEVICE_BATCHES


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
    """Two lines on `console`.

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
    rate = f"{spec.fps:g} frames/s" if spec.fps else f"every {spec.stride}. frame" if spec.stride > 1 else "every frame"
    classes = f"of {len(videos.class_names)} classes" if classifies else "without labels"
    console.print(
        f"{config.model.name} on {len(videos)} videos {classes}, "
        f"{len(eval_videos)} for evaluation; clips of {spec.num_frames} frames ({rate}) at {spec.size}²; "
        f"{steps} updates of {config.train.batch_size * config.data.train_views} clips; {parallel.describe(mesh)}",
        highlight=False,
        soft_wrap=True,
    )
    data = config.data
    most = footprint(spec, data, config.train.batch_size, jax.process_count())
    threads = f"{data.num_threads} threads"
    readers = f"{data.num_workers} worker(s) of {threads}" if data.num_workers else threads
    console.print(
        f"data: {readers}; at most {most.batches} batches of {most.batch_bytes / 1e6:.1f} MB in memory, "
        f"{most.bytes / 1e6:.0f} MB; at most {DEVICE_BATCHES} on the devices",
        highlight=False,
        soft_wrap=True,
    )
