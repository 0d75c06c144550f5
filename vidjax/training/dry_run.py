"""Dry run: report what a training would do, and leave nothing written (`train.py --dry_run`).

Settings, annotations, the videos' existence, the mesh and each process's share are determined as in training itself.
Nothing is decoded or compiled, and no file is left behind.
"""

import os
import socket
from itertools import islice
from pathlib import Path
from typing import Any, SupportsInt, cast

import jax
from jax.sharding import Mesh
from rich.console import Console

from vidjax import config as cfg
from vidjax import parallel
from vidjax.data.pipeline import Footprint, process_rows, train_order
from vidjax.data.records import VideoSet
from vidjax.models.build import build_model
from vidjax.models.state import frozen_paths, split
from vidjax.models.streams import Streams
from vidjax.training import checkpoints as ckpt
from vidjax.training import workdir as workdir_of
from vidjax.weights import packages
from vidjax.weights.streams import by_stream

_SHOWN = 2  # first records of each process that are named


def say_share(
    config: cfg.Config, videos: VideoSet, balance: str, mesh: Mesh, most: Footprint, console: Console
) -> None:
    """Print a line per process: its host, devices, rows of each batch and records of the first epoch.

    Args:
      config: config of the run.
      videos: training videos.
      balance: rule that balances classes, see `vidjax.data.order`.
      mesh: mesh over the devices of all processes.
      most: memory that one process's batches need at most.
      console: console of the writing process.
    """
    batch_size = config.train.batch_size
    process, processes = parallel.process_rank()
    order = train_order(videos, config.data, config.seed, balance)
    share = process_rows(order, batch_size, (process, processes))
    count = -(-len(videos) // processes)
    records = [int(cast(SupportsInt, share[i])) for i in range(count)]  # Grain's may be sparse; this one is not
    own = [d.id for d in mesh.devices.flat if d.process_index == process]
    here = {
        "host": socket.gethostname(),
        "devices": f"{len(own)} × {jax.local_devices()[0].device_kind} ({', '.join(map(str, own))})",
        "rows": [process * batch_size // processes, (process + 1) * batch_size // processes - 1],
        "distinct": len(set(records)),
        "first": [os.path.basename(videos.records[r].path) for r in islice(records, _SHOWN)],
    }
    for number, line in enumerate(parallel.gather_lists([here])):
        first, last = line["rows"]
        console.print(
            f"process {number} on {line['host']}: devices {line['devices']}; rows {first}…{last} of every batch of "
            f"{batch_size}; {line['distinct']} of {len(videos)} videos in the first epoch ({', '.join(line['first'])}, "
            f"…); batches take up to {most.bytes / 1e6:.0f} MB",
            highlight=False,
            soft_wrap=True,
        )


def say_start(config: cfg.Config, workdir: Path, num_classes: int, console: Console) -> None:
    """Print which weights the training would start from, after building the model as shapes only.

    Raises:
      ConfigError: if the model does not take an argument, or the weights to start from do not exist.
      WorkdirError: if `workdir` belongs to another run.
    """
    workdir_of.check(workdir, config)
    model = build_model(config, num_classes, dtype=None, abstract=True)
    _, params, _ = split(model)
    frozen = frozen_paths(model)
    count = sum(_size(p) for p in jax.tree.leaves(params))
    trained = sum(_size(p) for path, p in params.items() if path not in frozen)
    parameters = f"{count / 1e6:.2f} M parameters"
    if frozen:
        named = config.model
        what = "adapters and classifier"
        if named.probe:
            what = f"the {named.probe} probe"
        elif named.lora_rank:
            what = f"low-rank pairs of rank {named.lora_rank} and {' and '.join(named.lora_whole) or 'the classifier'}"
        elif named.frozen:
            what = f"all but {' and '.join(named.frozen)}"
        parameters += f", of which {trained / 1e6:.2f} M, {what}, would be trained"
    if steps := ckpt.steps(workdir):
        start = f"{workdir} has checkpoints of updates {', '.join(map(str, steps))}: it would continue from the last"
    elif source := config.model.init_from:
        named, parts = {"": config.model.name}, {"": source}
        if isinstance(model, Streams):
            parts = by_stream(source, model) or parts
            named |= dict(model.names)
        for stream, path in parts.items():
            if not Path(str(packages.found(path, named[stream]))).expanduser().exists():
                raise cfg.ConfigError(f"config.model.init_from = {source!r}: no such file or folder as {path}")
        start = f"{workdir} has no checkpoints: it would start from {source}"
    else:
        start = f"{workdir} has no checkpoints: it would start from new weights"
    console.print(f"{config.model.name}: {parameters}; {start}", highlight=False, soft_wrap=True)


def _size(array: Any) -> int:
    size = 1
    for length in array.shape:
        size *= length
    return size
