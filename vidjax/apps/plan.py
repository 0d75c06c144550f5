"""Whether a training fits a TPU slice, and how long it will take: compiled ahead of time, with no TPU at hand."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache
from rich.console import Console
from rich.table import Table

from vidjax import config as cfg
from vidjax.apps.chips import Chip, read_topology, tpu_devices
from vidjax.apps.hlo import Reading, read_hlo
from vidjax.apps.settings import read_config
from vidjax.checks import validate
from vidjax.data.clips import resolve_spec
from vidjax.data.datasets import DATASETS
from vidjax.models.cost import module_cost
from vidjax.models.registry import get_spec
from vidjax.nn.backend import targeting
from vidjax.training.program import Program, count_steps

# Clips of 16 frames that a core decodes from mp4 files in a second; `bench data` measures another machine and data set.
CLIPS_PER_CORE = 25.0
LEFT_OUT = (
    "left out: waiting for data, evaluation, checkpoints, exchange that overlaps with computation (counted as if none "
    "did), and what the compiler's cycle estimates leave out, waiting for memory above all"
)


@dataclass(frozen=True)
class DataFacts:
    """What a plan needs to know of a data set: K, its training videos, whether a video has several labels."""

    num_classes: int
    num_videos: int
    multi_label: bool


def plan(
    argv: Sequence[str],
    *,
    topology: str,
    num_classes: int = 0,
    num_videos: int = 0,
    clips_per_core: float = CLIPS_PER_CORE,
    as_json: bool = False,
) -> int:
    """Compile the training step of a config for a TPU slice and print what it takes there.

    Args:
      argv: `--config=FILE` and `--config.field=value`, as train.py takes them.
      topology: the slice, such as `v5e:16x16`.
      num_classes: K; 0: the data set's, or else the model's.
      num_videos: of the training set; 0: the data set's.
      clips_per_core: clips/s that one core of the hosts makes, as `bench data` measures.
      as_json: print JSON instead of a table.

    Returns:
      0 if the step fits into the chips' memory, else 1.

    Raises:
      ConfigError: for settings that cannot be used, a data set whose size is not known, or without libtpu.
    """
    config = validate(read_config(argv))
    chip, chips = read_topology(topology)
    facts = data_facts(config, num_classes, num_videos)
    devices = tpu_devices(topology)
    console = Console(stderr=True)
    with console.status("compiling"), targeting("tpu"), _without_cache():
        spec = resolve_spec(get_spec(config.model.name), config.data, config.model.input)
        program = Program.of(
            config, spec, num_classes=facts.num_classes, num_videos=facts.num_videos, multi_label=facts.multi_label,
            devices=devices,
        )  # fmt: skip
        compiled = program.lower().compile()
    figures = {"topology": topology, "chips": chips} | estimate(program, compiled, chip, facts, clips_per_core)
    if as_json:
        print(json.dumps(figures, indent=2))
    else:
        _show(figures, Console())
    return 0 if figures["fits"] else 1


def data_facts(config: cfg.Config, num_classes: int, num_videos: int) -> DataFacts:
    """Those of the config's data set, with what is given in their place.

    Raises:
      ConfigError: if neither tells how many training videos there are.
    """
    known = DATASETS.get(config.data.dataset)
    classes = num_classes or (len(known.class_names) if known else get_spec(config.model.name).num_classes)
    videos = num_videos or (known.train_videos if known else 0)
    if config.data.synthetic == "motion":
        classes, videos = num_classes or 6, num_videos or 1500
    if not videos:
        raise cfg.ConfigError("give --num-videos: config.data.dataset names no data set whose size is published")
    return DataFacts(classes, videos, bool(known and known.multi_label))


def estimate(
    program: Program, compiled: Any, chip: Chip, facts: DataFacts, clips_per_core: float = CLIPS_PER_CORE
) -> dict[str, Any]:
    """What the compiled update takes per device, and what follows for the run, ready for JSON."""
    devices = program.mesh.devices.size
    memory, xla = memory_of(compiled), compiled.cost_analysis() or {}
    reading = read_hlo(compiled.as_text())
    macs = model_macs(program)
    # MFU counts what the model needs, not what is recomputed: three products per multiply-add of the forward pass.
    model_flops = 6.0 * macs * program.clips / devices
    parts = {
        "compute": model_flops / chip.peak,
        "compiler": reading.cycles / chip.clock,
        "collectives": exchange_bytes(reading) / chip.links,
    }
    step = max(parts["compute"], parts["compiler"]) + parts["collectives"]
    steps, _ = count_steps(program.config, facts.num_videos)
    clips_per_s = program.clips / step
    bound = "collectives" if parts["collectives"] > step / 2 else "the matrix units"
    if bound != "collectives" and parts["compiler"] > 2 * parts["compute"]:
        bound = "vector units and memory (the matrix units idle more than half of the time)"
    return {
        "model": program.config.model.name,
        "mesh": dict(program.mesh.shape),
        "batch_size": program.config.train.batch_size,
        "clips_per_update": program.clips,
        "memory": memory | {"hbm": chip.memory},
        "fits": memory["total"] <= chip.memory,
        "model_flops": model_flops,
        "xla_flops": xla.get("flops", 0.0),
        "xla_bytes": xla.get("bytes accessed", 0.0),
        "xla_optimal_seconds": xla.get("optimal_seconds", 0.0),
        "loops_unknown": reading.loops_unknown,
        "collectives": {k: {"count": reading.counts[k], "bytes": reading.bytes[k]} for k in sorted(reading.counts)},
        "seconds": parts | {"step": step},
        "bound": bound,
        "clips_per_s": clips_per_s,
        "mfu": model_flops / step / chip.peak,
        "steps": steps,
        "hours": steps * step / 3600,
        "host_cores": clips_per_s / clips_per_core,
        "clips_per_core": clips_per_core,
        "checkpoint_bytes": sum(np.dtype(x.dtype).itemsize * x.size for x in jax.tree.leaves(program.state)),
    }


def memory_of(compiled: Any) -> dict[str, int]:
    """Bytes of one device that a compiled program takes, by XLA's analysis; donated outputs count once."""
    stats = compiled.memory_analysis()
    memory = {
        "arguments": stats.argument_size_in_bytes,
        "output": stats.output_size_in_bytes - stats.alias_size_in_bytes,
        "temporaries": stats.temp_size_in_bytes,
        "code": stats.generated_code_size_in_bytes,
    }
    return memory | {"total": sum(memory.values())}


def model_macs(program: Program) -> int:
    """Multiply-adds of the forward pass for one clip, counted."""
    spec = program.spec
    channels = 6 if spec.input == "rgb+diff" else 3
    program.model.eval()
    return module_cost(program.model, (spec.num_frames, spec.size, spec.size, channels)).macs


def exchange_bytes(reading: Reading) -> float:
    """Bytes that a device sends for its collectives: around a ring, an all-reduce passes its array on twice."""
    return sum((2.0 if kind == "all-reduce" else 1.0) * size for kind, size in reading.bytes.items())


def _show(figures: dict[str, Any], console: Console) -> None:
    memory, seconds = figures["memory"], figures["seconds"]
    table = Table("", "", title=f"{figures['model']} on {figures['topology']}: an estimate", show_header=False)
    fits = "fits" if figures["fits"] else "[red]does not fit[/]"
    mesh = " × ".join(f"{axis} {size}" for axis, size in figures["mesh"].items())
    rows = [("mesh", mesh), ("batch", f"{figures['batch_size']} videos, {figures['clips_per_update']} clips")]
    parts = ("arguments", "temporaries", "output", "code")
    rows += [(f"memory per device: {name}", f"{memory[name] / 2**30:.2f} GiB") for name in parts]
    rows += [
        ("memory per device: total", f"{memory['total'] / 2**30:.2f} of {memory['hbm'] / 2**30:.0f} GiB: {fits}"),
        ("model's FLOP per device and step", f"{figures['model_flops']:.4g} (counted; what MFU means)"),
        ("XLA's FLOP, bytes", f"{figures['xla_flops']:.4g}, {figures['xla_bytes']:.4g} (loops counted once)"),
    ]
    rows += [(kind, f"{c['count']} × in all {c['bytes'] / 1e6:.1f} MB") for kind, c in figures["collectives"].items()]
    rows += [
        ("compiler's cycles", f"{1e3 * seconds['compiler']:.1f} ms"),
        ("matrix units at their peak", f"{1e3 * seconds['compute']:.1f} ms"),
        ("exchange", f"{1e3 * seconds['collectives']:.1f} ms"),
        ("step", f"{1e3 * seconds['step']:.1f} ms, bound by {figures['bound']}"),
        ("clips/s", f"{figures['clips_per_s']:.0f}, MFU {100 * figures['mfu']:.1f} %"),
        ("run", f"{figures['steps']} steps, {figures['hours']:.1f} hours"),
        ("host cores", f"{figures['host_cores']:.0f}, at {figures['clips_per_core']:g} clips/s per core"),
        ("checkpoint", f"{figures['checkpoint_bytes'] / 1e9:.2f} GB"),
    ]
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(LEFT_OUT, highlight=False)
    if figures["loops_unknown"]:
        console.print(f"{figures['loops_unknown']} loops of unknown length count once", highlight=False)


@contextlib.contextmanager
def _without_cache() -> Iterator[None]:
    """Programs for devices that are not there can be written to JAX's cache of compiled programs, but not read back."""
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()
