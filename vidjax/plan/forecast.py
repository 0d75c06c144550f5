"""Forecast of a training on a TPU slice or GPUs that are not at hand: memory, speed and duration."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from vidjax import config as cfg
from vidjax.config.files import read_config
from vidjax.config.validate import validate
from vidjax.parallel import mesh_words
from vidjax.plan.estimates import CLIPS_PER_CORE, UNRESOLVED, DataFacts, DoesNotFitError, Slice, Target, data_facts
from vidjax.plan.generation import cache_row
from vidjax.plan.storage import NOTE, storage_rows
from vidjax.wording import duration, things

LEFT_OUT = (
    "corrected: passes over memory run at 85 % of its bandwidth or faster; the compiler assumes two to five times "
    "slower ones. Not included: waiting for data, evaluation, checkpoints. Exchange is counted as if none "
    "overlapped with computation, with an assumed 1 µs from chip to chip"
)
_GPU_LEFT_OUT = (
    "an estimate without a GPU's compiler, and a bound: every kernel at the peak or the bandwidth of the data sheet, "
    "and as few kernels as possible; real ones are slower and take more memory. Not included: waiting for data, "
    "evaluation, checkpoints. Exchange is counted as if none overlapped with computation, with an assumed 10 µs for "
    "each collective"
)


def plan(
    argv: Sequence[str],
    *,
    topology: str = "",
    gpu: str = "",
    num_classes: int = 0,
    num_videos: int = 0,
    clips_per_core: float = CLIPS_PER_CORE,
    search: bool = False,
    scaling: bool = False,
    most: int = 12,
    out: str = "scaling.png",
    as_json: bool = False,
) -> int:
    """Compile the training step of a config for a TPU slice, or estimate it for GPUs, and print its cost.

    Args:
      argv: `--config=FILE` and `--config.field=value`, as for train.py.
      topology: TPU slice, such as `v5e:16x16`; empty: GPUs.
      gpu: GPUs and their number, such as `h200:8`; empty: a TPU slice.
      num_classes: K, number of classes; 0: the data set's, or else the model's.
      num_videos: number of training videos; 0: the data set's, or those that `config.data.train` lists.
      clips_per_core: clips/s that one core of the hosts decodes from mp4 files, as `bench data` measures.
      search: try meshes, remat and batch sizes instead, and print those that fit.
      scaling: plan for 8 to 512 devices instead, each with the same share of the batch as here.
      most: most settings to compile, for `search` and `scaling`.
      out: path of the plot, for `scaling`.
      as_json: print JSON instead of a table.

    Returns:
      0 if the step fits into the devices' memory (for `search` and `scaling`, any of those tried), else 1.

    Raises:
      ConfigError: if settings cannot be used, the size of the data set is not known, or libtpu is missing.
    """
    config = validate(read_config(argv))
    target = _target(topology, gpu, compiled=not (search or scaling))
    facts = data_facts(config, num_classes, num_videos)
    console = Console(stderr=True)
    if search:
        from vidjax.plan.search import search as run
        from vidjax.plan.search import show

        result = run(target, config, facts, clips_per_core, most=most, console=console)
        ok = bool(result["plans"])
    elif scaling:
        from vidjax.plan.scaling import scaling as run
        from vidjax.plan.scaling import show

        result = run(target, config, facts, clips_per_core, most=most, out=out, console=console)
        ok = bool(result["sizes"])
    else:
        with console.status(f"compiling for {target.name}"):
            result = _one(target, config, facts, clips_per_core)
        ok, show = result["fits"], _show
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        show(result, Console())
        Console().print(_words(result, gpu), highlight=False)
    return 0 if ok else 1


def _words(result: dict[str, Any], gpu: str) -> str:
    """Notes on the figures, and on the costs that they do not include."""
    if "compiled" in result:
        from vidjax.plan.gpu_compiled import compiled_words

        return compiled_words(result)
    return _GPU_LEFT_OUT if gpu else LEFT_OUT


def _target(topology: str, gpu: str, *, compiled: bool) -> Target:
    """Make the target of the options; `compiled`: for GPUs, use their compiler if installed."""
    if bool(topology) == bool(gpu):
        raise cfg.ConfigError("give either --topology, such as v5e:16x16, or --gpu, such as h200:8")
    if topology:
        return Slice(topology)
    from vidjax.plan.gpu import Gpus
    from vidjax.plan.gpu_compiled import CompiledGpus
    from vidjax.plan.gpu_targets import can_compile

    return CompiledGpus(gpu) if compiled and can_compile(gpu) else Gpus(gpu)


def _one(target: Target, config: cfg.Config, facts: DataFacts, clips_per_core: float) -> dict[str, Any]:
    try:
        return target.figures(config, facts, clips_per_core)
    except DoesNotFitError as error:
        raise DoesNotFitError(
            f"{config.model.name} does not fit {target.name}: {error}; --search looks for settings that fit, such as "
            "--config.model.remat=dots, --config.mesh.data=1 --config.mesh.fsdp=-1 or --config.train.accumulate=2"
        ) from None


def _show(figures: dict[str, Any], console: Console) -> None:
    memory, seconds = figures["memory"], figures["seconds"]
    table = Table("", "", title=f"{figures['model']} on {figures['target']}: an estimate", show_header=False)
    fits = "fits" if figures["fits"] else "[red]does not fit[/]"
    parts = [name for name in memory if name not in ("total", "hbm", "usable")]
    milliseconds = {name: "not known" if s is None else f"{1e3 * s:.1f} ms" for name, s in seconds.items()}
    rows = [
        ("mesh", mesh_words(figures["mesh"])),
        ("batch", f"{figures['batch_size']} videos, {figures['clips_per_update']} clips"),
        *((f"memory per device: {name}", f"{memory[name] / 2**30:.2f} GiB") for name in parts),
        (
            "memory per device: total",
            f"{memory['total'] / 2**30:.2f} of {memory['usable'] / 2**30:.2f} GiB: {fits} ({figures['usable_why']})",
        ),
        *([cache_row(figures["cache"])] if "cache" in figures else ()),
        ("model's FLOP per device and step", f"{figures['model_flops']:.4g} (counted; what MFU means)"),
        ("XLA's FLOP, bytes", f"{figures['xla_flops']:.4g}, {figures['xla_bytes']:.4g} (loops counted once)"),
        *((kind, f"{c['count']} × in all {c['bytes'] / 1e6:.1f} MB") for kind, c in figures["collectives"].items()),
        ("matrix units at their peak", milliseconds["compute"]),
        ("compiler's cycles; corrected", f"{milliseconds['compiler']}; {milliseconds['corrected']}"),
        ("hand-written kernels", _handwritten(figures)),
        ("roofline, kernel by kernel", milliseconds["roofline"]),
        ("starting kernels", f"{milliseconds['launch']} of that, {things(figures['kernels'], 'kernel')}"),
        ("exchange: bandwidth, latency", f"{milliseconds['collectives']}, {milliseconds['latency']}"),
        ("step", f"{milliseconds['step']}, bound by {figures['bound']}"),
        ("clips/s", _speed(figures, figures)),
        *((("clips/s, corrected", _speed(figures["corrected"], figures)),) if "corrected" in figures else ()),
        ("run", f"{things(figures['steps'], 'step')}, {duration(figures['hours'])}"),
        *storage_rows(figures),
        ("checkpoint", f"{figures['checkpoint_bytes'] / 1e9:.2f} GB"),
    ]
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(NOTE, highlight=False)
    if figures["loops_unknown"]:
        loops = things(figures["loops_unknown"], "loop of unknown length counts", "loops of unknown length count")
        console.print(f"{loops} once", highlight=False)
    if not figures["resolved"]:
        console.print(UNRESOLVED, highlight=False)


def _handwritten(figures: dict[str, Any]) -> str:
    text = f"{1e3 * figures['seconds']['handwritten']:.1f} ms, by their own counts"
    if figures["kernels_unknown"]:
        text += f"; not known for {things(figures['kernels_unknown'], 'kernel')}"
    return text


def _speed(speed: dict[str, Any], figures: dict[str, Any]) -> str:
    """Clips/s and, unless part of the work is unknown, the share of the peak."""
    text = f"{speed['clips_per_s']:.0f}"
    return f"at most {text}" if figures["kernels_unknown"] else f"{text}, MFU {100 * speed['mfu']:.1f} %"
