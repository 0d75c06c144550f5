"""Benchmark of an experiment's input pipeline: its speed, where the time goes, and the cores an accelerator needs."""

import dataclasses
import itertools
import json
import os
import resource
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from vidjax import config as cfg
from vidjax import parallel
from vidjax.config.files import read_config
from vidjax.config.spec import resolve_spec
from vidjax.config.validate import validate
from vidjax.data.pipeline import footprint, train_batches
from vidjax.data.reading.clips import ClipReader
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import VideoSet
from vidjax.data.synthetic import write_asked
from vidjax.data.targets import Targets
from vidjax.data.text import DataError
from vidjax.models.build import build_model
from vidjax.models.cost import module_cost, shapes_of, training_macs
from vidjax.models.registry import get_spec
from vidjax.plan.chips import PEAK_FLOPS
from vidjax.progress import progress_bar
from vidjax.tasks import make_task
from vidjax.tasks.task import Task
from vidjax.tasks.videos import load_videos
from vidjax.training.device_prefetch import DEVICE_BATCHES
from vidjax.training.tokenizers import with_tokenizer
from vidjax.video import VideoError
from vidjax.wording import things

_FEWEST = 3  # least number of batches of the whole pipeline that are timed, however long they take
_TRANSFERS = 5  # batches placed to time that; the median counts
# Passes relative to the forward pass: once more for the gradient of each of a product's two inputs, and up to once more
# for recomputation: with "attention", 5 of the 12·D² multiply-adds per token of a Transformer's block.
_PASSES = {"": 3, "dots": 3, "attention": 3 + 5 / 12, "full": 4}
# FLOP of a training clip with a forward pass of 1 GMAC: for smaller networks, starting kernels and memory decide the
# speed of an accelerator, and a share of the peak would be a guess.
_SMALL = 6e9
_WARM_UP = 1 / 3  # share of the whole pipeline's time that does not count, while buffers fill and workers start


def bench_data(
    argv: Sequence[str],
    *,
    seconds: float = 30.0,
    accelerator: str = "h100",
    accelerator_clips_per_s: float | None = None,
    mfu: float = 0.5,
    as_json: bool = False,
) -> int:
    """Measure the training pipeline of a config on this machine, and print how many cores one accelerator needs.

    Decoding, transforms and collating are measured one video after the other, in processor seconds of this process,
    including FFmpeg's threads (decoders are not isolated here). Transfer is the time to move a batch from memory to the
    devices. The whole pipeline then runs with the workers and threads of the config, but without a model: this gives
    its clips per second, and the processor seconds of all its processes, from which "clips per second and core" is
    computed. The rest, after subtracting the three parts, is the cost of threads, processes and queues.

    Args:
      argv: `--config=FILE` and `--config.field=value`, as for train.py.
      seconds: approximate time to measure, half for the parts, half for the whole; seconds.
      accelerator: name in `PEAK_FLOPS` of the accelerator to feed. Its clips per second are estimated, unless the
        network is so small that its arithmetic does not decide them.
      accelerator_clips_per_s: measured clips per second of an accelerator; None: estimate them.
      mfu: share of the peak that training reaches, for the estimate.
      as_json: print JSON instead of a table.

    Returns:
      0, the exit status.

    Raises:
      ConfigError, DataError: as in training, if settings or annotations cannot be used, or no video can be read.
    """
    if accelerator not in PEAK_FLOPS:
        raise cfg.ConfigError(
            f"--accelerator={accelerator}: give one of {', '.join(PEAK_FLOPS)}, or --accelerator-clips-per-s of another"
        )
    config = validate(read_config(argv))
    write_asked(config.data, Console(stderr=True))
    videos, _ = load_videos(config)
    spec = resolve_spec(get_spec(config.model.name, config.model.kwargs), config.data, config.model.input)
    spec = with_tokenizer(spec, config, videos)
    task = make_task(config, spec, videos.labels)
    reader = ExampleReader(spec, config.data)
    views, batch_size = config.data.sampling.views, config.train.batch_size
    with progress_bar(Console(stderr=True)) as bar:
        bar_task = bar.add_task("parts", total=round(seconds), info="")
        started = time.perf_counter()

        def show(what: str) -> None:
            bar.update(bar_task, description=what, completed=min(round(time.perf_counter() - started), round(seconds)))

        show("parts")
        parts = _parts(videos, reader, task.targets, config, seconds / 2, lambda: show("parts"))
        show("pipeline")
        whole = _whole(videos, reader, task, config, seconds / 2, lambda: show("pipeline"))
        show("model")
        flops = _train_flops(config, spec, len(videos.labels.names))

    worked = parts["decode"] + parts["transform"] + parts["collate"]
    # At least the sum of the parts, since not every system reports the time of other processes.
    per_clip = max(whole["cpu_seconds"] / whole["clips"], worked)
    own = per_clip - worked
    milliseconds = {**{name: parts[name] for name in ("decode", "transform", "collate", "transfer")}, "pipeline": own}
    total = sum(milliseconds.values())
    target = _target(accelerator, accelerator_clips_per_s, mfu, flops)
    most = footprint(reader.layout(task.targets.fields()), config.data, batch_size)
    result = {
        "model": config.model.name,
        "data": config.data.train,
        "num_workers": config.data.reading.num_workers,
        "num_threads": config.data.reading.num_threads,
        "cores": os.cpu_count(),
        "clips_per_batch": batch_size * views,
        "ms_per_clip": {name: 1e3 * value for name, value in milliseconds.items()},
        "shares": {name: value / total for name, value in milliseconds.items()},
        "clips_per_s": whole["clips"] / whole["seconds"],
        "clips_per_s_per_core": 1 / per_clip,
        "memory": {"batches": most.batches, "batch_bytes": most.batch_bytes, "bytes": most.bytes,
                   "device_batches": DEVICE_BATCHES},
        "accelerator": target,
        "cores_per_accelerator": target["clips_per_s"] and target["clips_per_s"] * per_clip,
        "measured": {"clips": parts["clips"], "unreadable": parts["unreadable"], "pipeline_clips": whole["clips"],
                     "pipeline_seconds": whole["seconds"]},
    }  # fmt: skip
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        _show(result, Console())
    return 0


def _target(name: str, given: float | None, mfu: float, flops: float) -> dict[str, Any]:
    """The accelerator to feed: "clips_per_s" as `given`, or else estimated from the FLOP of a training clip; None if
    the network is too small for that."""
    estimate = mfu * PEAK_FLOPS[name] / flops if flops >= _SMALL else None
    return {
        "name": "given" if given else name,
        "clips_per_s": given or estimate,
        "estimated": given is None,
        "flops_per_clip": flops,
        "mfu": None if given else mfu,
    }


def _parts(
    videos: VideoSet, reader: ExampleReader, targets: Targets, config: cfg.Config, seconds: float, show: Any
) -> dict[str, Any]:
    """Processor seconds per clip of decoding, transforms and collating, and wall-clock seconds of transfer."""
    rng = np.random.default_rng(config.seed)
    # In this process, whose time can be measured exactly; the cost of isolating decoders is part of the whole.
    reading = dataclasses.replace(config.data.reading, isolate=False)
    clips = ExampleReader(reader.spec, dataclasses.replace(config.data, reading=reading)).reader
    if not isinstance(clips, ClipReader):
        raise cfg.ConfigError(f"{config.model.name} takes no video: decoding and transforms are measured on videos")
    views, batch_size = config.data.sampling.views, config.train.batch_size
    decode = transform = 0.0
    made, read, unreadable = [], 0, 0
    deadline = time.perf_counter() + seconds
    for i in _endless(rng, len(videos)):
        record = videos.records[i]
        try:
            at = time.process_time()
            decoded = clips.decode(record.path, rng, (record.start, record.end), record.moment)
            between = time.process_time()
            clip, _ = clips.augment(decoded, rng, mirror=targets.mirrors)
        except VideoError as error:
            unreadable += 1
            if not read and unreadable >= min(len(videos), 20):
                raise DataError(f"none of {unreadable} training videos can be read, such as {error}") from None
            continue
        if read:  # the first one loads libraries
            decode, transform = decode + between - at, transform + time.process_time() - between
            made = [*made, clip][:batch_size]
        read += 1
        show()
        if read > 1 and time.perf_counter() > deadline:
            break
    counted = (read - 1) * views
    batch = list(itertools.islice(itertools.cycle(made), batch_size))
    at = time.process_time()
    stacked = np.stack(batch)
    collate = (time.process_time() - at) / (batch_size * views)
    mesh = parallel.mesh_of(config.mesh)
    parallel.check_batch_size(batch_size, mesh, "train.batch_size")
    transfers = []
    for _ in range(_TRANSFERS):
        fresh = stacked.copy()  # the same memory might not be copied again
        at = time.perf_counter()
        jax.block_until_ready(parallel.place({"video": fresh}, parallel.batch_sharding(mesh)))
        transfers.append((time.perf_counter() - at) / (batch_size * views))
        show()
    return {
        "decode": decode / counted,
        "transform": transform / counted,
        "collate": collate,
        "transfer": statistics.median(transfers),
        "clips": counted,
        "unreadable": unreadable,
    }


def _endless(rng: np.random.Generator, count: int) -> Iterator[int]:
    while True:
        yield from rng.permutation(count).tolist()


def _whole(
    videos: VideoSet, reader: ExampleReader, task: Task, config: cfg.Config, seconds: float, show: Any
) -> dict[str, Any]:
    """Clips that the whole pipeline gives in a number of seconds, and the processor seconds of all its processes."""
    size = config.train.batch_size
    batches = train_batches(videos, reader, task.targets, batch_size=size, seed=config.seed, balance=task.balance)
    begin = time.perf_counter()
    # Batches that are ready when the clock starts were made before: as many as that are skipped first.
    for passed in range(footprint(reader.layout(), config.data, size).batches):
        if passed and time.perf_counter() - begin > _WARM_UP * seconds:
            break
        next(batches)
        show()
    began, used, count = time.perf_counter(), _processor_seconds(), 0
    while count < _FEWEST or time.perf_counter() - begin < seconds:
        next(batches)
        count += 1
        show()
    used, took = _processor_seconds() - used, time.perf_counter() - began
    batches.close()
    return {"clips": count * size * config.data.sampling.views, "seconds": took, "cpu_seconds": used}


def _processor_seconds() -> float:
    """Processor time of this process and its descendants, seconds, as far as the system reports it (Linux does)."""
    times, parents = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        parents[pid := int(stat.parent.name)] = int(fields[1])
        times[pid] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # its own, and that of its ended children

    def ours(pid: int) -> bool:
        while pid in parents and pid != os.getpid():
            pid = parents[pid]
        return pid == os.getpid()

    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    others = sum(seconds for pid, seconds in times.items() if pid != os.getpid() and ours(pid))
    return time.process_time() + ended.ru_utime + ended.ru_stime + others


def _train_flops(config: cfg.Config, spec: cfg.Spec, num_classes: int) -> float:
    """FLOP of one training clip: two per multiply-add of the forward pass, times the passes."""
    model = build_model(config, num_classes, dtype=None, abstract=True)
    cost = module_cost(model, shapes_of(spec))
    return 2.0 * training_macs(model, cost, _PASSES[config.model.remat])


def _show(result: dict[str, Any], console: Console) -> None:
    table = Table("", "ms per clip", "share", title=f"{result['data']} for {result['model']}")
    names = {
        "decode": "decoding (processor)",
        "transform": "transforms (processor)",
        "collate": "collating (processor)",
        "pipeline": "threads, processes, queues (processor)",
        "transfer": "transfer to the devices (wall clock)",
    }
    for name, title in names.items():
        table.add_row(title, f"{result['ms_per_clip'][name]:.3f}", f"{100 * result['shares'][name]:.1f} %")
    console.print(table)
    memory, target = result["memory"], result["accelerator"]
    readers = things(result["num_threads"], "thread")
    if result["num_workers"]:
        readers = f"{things(result['num_workers'], 'worker')} of {readers}"
    lines = [
        f"{result['clips_per_s']:.1f} clips/s with {readers} on {things(result['cores'], 'core')}",
        f"{result['clips_per_s_per_core']:.1f} clips/s per core",
        f"memory: at most {memory['batches']} batches of {memory['batch_bytes'] / 1e6:.1f} MB, "
        f"{memory['bytes'] / 1e6:.0f} MB; at most {memory['device_batches']} on the devices",
        *_demand(target, result["cores_per_accelerator"]),
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
    if bad := result["measured"]["unreadable"]:
        console.print(f"[yellow]{things(bad, 'video')} could not be read: not counted[/]")


def _demand(target: dict[str, Any], cores: float | None) -> list[str]:
    """Lines on the clips that an accelerator takes, and the cores that it needs."""
    work = f"{target['flops_per_clip'] / 1e9:.3g} GFLOP per clip"
    if cores is None:
        return [
            f"the clips/s of one accelerator cannot be estimated from its peak: the network is too small, {work}. "
            "Measure them there with `python -m vidjax bench step`, and give --accelerator-clips-per-s"
        ]
    origin = "as given"
    if target["estimated"]:
        origin = f"an estimate for {target['name']}: {100 * target['mfu']:.0f} % of its peak, {work}"
    return [
        f"one accelerator takes {target['clips_per_s']:.0f} clips/s ({origin})",
        f"it needs {cores:.1f} cores like these",
    ]
