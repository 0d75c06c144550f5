"""The views of a video set on their way to the devices: what every evaluation goes through, whatever it measures."""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from vidjax import parallel
from vidjax.config import EvalConfig
from vidjax.data.pipeline import BadRecord, Batch, eval_batches
from vidjax.data.reading.clips import ClipReader
from vidjax.data.records import VideoSet
from vidjax.progress import progress_bar


def batches_of(
    videos: VideoSet, reader: ClipReader, config: EvalConfig, mesh: Mesh, console: Console | None = None
) -> Iterator[Batch]:
    """This process's rows of every batch, with a progress bar on `console`; None: no bar.

    Args:
      videos: what to evaluate.
      reader: how views are read.
      config: views per video and videos per batch; the latter is rounded up to a multiple of the devices.
      mesh: whose devices share a batch.
    """
    shards = parallel.batch_shards(mesh)
    batch_size = -(-config.batch_size // shards) * shards
    batches = eval_batches(
        videos, reader, batch_size=batch_size, num_clips=config.num_clips, num_crops=config.num_crops,
        process=parallel.process_rank(),
    )  # fmt: skip
    with progress_bar(console or Console(quiet=True)) as bar:
        task = bar.add_task("evaluate", total=len(videos), info="")
        for i, batch in enumerate(batches):
            yield batch
            bar.update(task, completed=min(len(videos), (i + 1) * batch_size))


def views_of(batch: Batch) -> list[np.ndarray]:
    """uint8 clips `(B, T, H, W, C)`, one array for each view, as many as the process with the longest videos has."""
    video = batch["video"]
    most = max(parallel.gather_lists([video.shape[1]]))
    return [video[:, min(view, video.shape[1] - 1)] for view in range(most)]


def gather_bad(bad: Iterable[BadRecord]) -> tuple[BadRecord, ...]:
    """What no process could read, in the order of the records."""
    rows = parallel.gather_lists([dataclasses.astuple(b) for b in bad])
    return tuple(BadRecord(*fields) for fields in sorted(rows))
