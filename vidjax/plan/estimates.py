"""Estimates of a training step's cost on devices that are not at hand, from its ahead-of-time compilation."""

import contextlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from vidjax import config as cfg
from vidjax.config.choices import SYNTHETIC
from vidjax.config.spec import resolve_spec
from vidjax.data.records import LabelSpace
from vidjax.models.cost import module_cost, shapes_of, training_macs
from vidjax.models.registry import get_spec
from vidjax.nn.target_backend import targeting
from vidjax.parallel import HOST_MEMORY
from vidjax.plan.chips import Chip, read_topology, slices, tpu_devices
from vidjax.plan.generation import cache_figures
from vidjax.plan.hlo import read_hlo
from vidjax.plan.storage import storage
from vidjax.tasks import kinds_of
from vidjax.training.compiled_step import Program, count_steps

UNRESOLVED = (
    "below what the estimate resolves: starting kernels and exchanging anything at all take half of the step or more, "
    "so speed and time are rough; `python -m vidjax bench step` measures them, and fewer devices would do"
)

# Clips of 16 frames per second that a core decodes from mp4 files; `bench data` measures other machines and data sets.
CLIPS_PER_CORE = 25.0


class DoesNotFitError(cfg.ConfigError):
    """A training step that does not fit into the memory of the devices; the message gives the sizes.

    Attributes:
      compiled: whether the compiler was run to find out.
    """

    def __init__(self, message: str, compiled: bool = True):
        super().__init__(message)
        self.compiled = compiled


@dataclass(frozen=True)
class DataFacts:
    """Facts of a data set for a plan: number of classes K, number of training videos, and whether a video may have
    several labels."""

    num_classes: int
    num_videos: int
    several: bool

    @property
    def labels(self) -> LabelSpace:
        """Label space with unnamed classes."""
        return LabelSpace(tuple(map(str, range(self.num_classes))), self.several)


def data_facts(config: cfg.Config, num_classes: int, num_videos: int) -> DataFacts:
    """Facts of the config's data set; arguments other than 0 replace them.

    The size of a published data set is known; CSVs, folders and prepared data sets of `config.data.train` are counted,
    unless `num_videos` is given. Videos listed in a CSV need not exist.

    Args:
      config: config of the run.
      num_classes: K, number of classes; 0: the data set's, or else the model's.
      num_videos: number of training videos; 0: the data set's.

    Raises:
      ConfigError: if the number of training videos cannot be found.
      DataError: if a published data set lacks the annotations that the model needs.
    """
    from vidjax.data.listing.datasets import DATASETS  # it needs a video library
    from vidjax.data.listing.published import open_published
    from vidjax.data.listing.sources import refuse_kinds
    from vidjax.data.text import DataError
    from vidjax.tasks.videos import load_videos

    published = get_spec(config.model.name, config.model.kwargs)
    kinds = kinds_of(published.task)
    if config.data.synthetic:
        classes, examples = SYNTHETIC[config.data.synthetic]
        return DataFacts(num_classes or classes, num_videos or examples, False)
    if known := DATASETS.get(config.data.dataset):
        refuse_kinds(open_published(config.data)["train"][0], kinds)
        return DataFacts(num_classes or len(known.class_names), num_videos or known.train_videos, known.several)
    if num_videos:
        return DataFacts(num_classes or published.num_classes, num_videos, False)
    if not config.data.train:
        raise cfg.ConfigError(
            "the number of training videos is not known: give --num-videos, or config.data.train to count them"
        )

    try:
        videos, _ = load_videos(config, need_files=False)
    except DataError as error:
        raise cfg.ConfigError(f"config.data.train cannot be counted; give --num-videos, or mend it: {error}") from None
    return DataFacts(num_classes or len(videos.labels.names), len(videos), videos.labels.several)


def make_program(config: cfg.Config, facts: DataFacts, devices: Sequence[Any] | None) -> Program:
    """Build the update of `config` as shapes, for `devices`; None: the devices of this process.

    Raises:
      ConfigError: if settings do not fit each other or the devices.
    """
    spec = resolve_spec(get_spec(config.model.name, config.model.kwargs), config.data, config.model.input)
    return Program.of(config, spec, facts.labels, num_videos=facts.num_videos, devices=devices)


def compile_program(program: Program) -> Any:
    """Compile the update for its devices, which need not exist.

    Raises:
      DoesNotFitError: if it needs more memory than the devices have.
    """
    with without_cache():
        try:
            return program.lower().compile()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise DoesNotFitError(_exhausted(str(error))) from None


def _exhausted(message: str) -> str:
    """Rewrite the compiler's out-of-memory message: needed and available GiB per device."""
    sizes = re.findall(r"([\d.]+)([KMGT])\b", message)
    factor = {"K": 2**-20, "M": 2**-10, "G": 1.0, "T": 2**10}
    gib = [float(number) * factor[unit] for number, unit in sizes[:2]]
    if len(gib) < 2:
        return message.splitlines()[0]
    return f"the compiler needs {gib[0]:.1f} GiB per device for temporaries or in all, of {gib[1]:.2f} GiB available"


class Target(Protocol):
    """Devices for which a run can be planned.

    Attributes:
      name: name on the command line.
      chip: kind of the devices.
      count: number of devices.
    """

    name: str
    chip: Chip
    count: int

    def figures(self, config: cfg.Config, facts: DataFacts, clips_per_core: float) -> dict[str, Any]:
        """Estimate an update of `config` on these devices, as `figures_of`.

        Raises:
          ConfigError: if settings do not fit each other or the devices.
          DoesNotFitError: if the update does not fit into the devices' memory.
        """

    def sizes(self) -> "list[Target]":
        """Targets of 8 to 512 devices of the same kind."""


class Slice:
    """A `Target` of TPU chips, planned with the TPU compiler.

    Raises:
      ConfigError: if the topology does not exist, or the compiler is missing.
    """

    def __init__(self, name: str):
        self.name = name
        self.chip, self.count = read_topology(name)
        self._devices: list[Any] = []

    def figures(self, config: cfg.Config, facts: DataFacts, clips_per_core: float) -> dict[str, Any]:
        self._devices = self._devices or tpu_devices(self.name)
        with targeting("tpu", self._devices[0]):
            program = make_program(config, facts, self._devices)
            if (held := argument_bytes(program)) > self.chip.usable:
                there = self.chip.usable / 2**30
                message = f"state and batch alone take {held / 2**30:.1f} GiB per device, of {there:.2f} GiB available"
                raise DoesNotFitError(message, compiled=False)
            compiled = compile_program(program)
            return {"target": self.name} | estimate(program, compiled, self.chip, facts, clips_per_core)

    def sizes(self) -> "list[Target]":
        return [Slice(name) for name in slices(self.name)]


def estimate(
    program: Program, compiled: Any, chip: Chip, facts: DataFacts, clips_per_core: float = CLIPS_PER_CORE
) -> dict[str, Any]:
    """Cost of a compiled update per device, and the resulting figures of the run, ready for JSON.

    Args:
      program: the update.
      compiled: the update, compiled for `chip`.
      chip: kind of the devices.
      facts: facts of the data set.
      clips_per_core: clips/s that one core of the hosts decodes.
    """
    devices = program.mesh.devices.size
    reading = read_hlo(compiled.as_text() or "")  # not every runtime gives the text
    counts, sizes = reading.counts, reading.bytes
    work = Work(
        model_flops=2.0 * model_macs(program) * program.clips / devices,
        memory=memory_of(compiled),
        compiler=reading.seconds(chip.clock, chip.launch),
        corrected=reading.seconds(chip.clock, chip.launch, chip.bandwidth),
        handwritten=reading.kernel_seconds(chip.peak, chip.bandwidth, chip.launch),
        kernels=reading.launches,
        kernels_unknown=reading.kernels_unknown,
        exchange=sum(exchange.sent(devices) for exchange in reading.exchanges) / chip.links,
        latency=sum(
            e.times * chip.latency(e.devices or devices, both_ways=e.kind == "all-reduce") for e in reading.exchanges
        ),
        collectives={kind: {"count": counts[kind], "bytes": sizes[kind]} for kind in sorted(counts)},
        xla=compiled.cost_analysis() or {},
        loops_unknown=reading.loops_unknown,
        hosts=len({device.process_index for device in program.mesh.devices.flat}),
    )
    mesh = dict(program.mesh.shape)
    answers = cache_figures(program.model, program.config, program.spec, mesh)
    return figures_of(program.config, program.state, mesh, chip, facts, clips_per_core, work) | answers


@dataclass(frozen=True)
class Work:
    """Work of one device in one update.

    Attributes:
      model_flops: FLOP of the model, without recomputation: for each product of the forward pass, itself and the
        gradients of its two inputs.
      memory: bytes by use, and "total".
      exchange: time of the collectives at the bandwidth of the links, seconds.
      latency: fixed cost of the collectives, whatever their size, seconds.
      collectives: "count" and "bytes" by kind.
      xla: XLA's cost analysis.
      kernels: number of kernels.
      kernels_unknown: number of kernels of unknown cost.
      compiler: time by the compiler's cycles, seconds, without hand-written kernels, which it does not estimate; None:
        the compiler was not used.
      corrected: the same, with passes over memory no slower than its bandwidth allows.
      handwritten: time of hand-written kernels by their authors' counts, seconds.
      roofline: time of all kernels at the peak or the bandwidth of the memory, seconds; None: not counted.
      loops_unknown: number of loops of unknown length, which count once.
      hosts: number of machines that hold all the devices.
    """

    model_flops: float
    memory: dict[str, int]
    exchange: float
    latency: float
    collectives: dict[str, dict[str, float]]
    xla: dict[str, float]
    kernels: int = 0
    kernels_unknown: int = 0
    compiler: float | None = None
    corrected: float | None = None
    handwritten: float = 0.0
    roofline: float | None = None
    loops_unknown: int = 0
    hosts: int = 1


def figures_of(
    config: cfg.Config,
    state: Any,
    mesh: dict[str, int],
    chip: Chip,
    facts: DataFacts,
    clips_per_core: float,
    work: Work,
) -> dict[str, Any]:
    """Figures of a plan, the same for every kind of device, ready for JSON.

    If the fixed cost of kernels and collectives is half of the update or more, "resolved" is False: then the estimate
    depends more on the compiler's choice of kernels, which differs from one batch size to the next, than on the work.
    "corrected" repeats the figures of speed for the corrected estimate.

    Args:
      config: config of the run.
      state: whole training state, as shapes.
      mesh: number of devices by axis.
      chip: kind of the devices.
      facts: facts of the data set.
      clips_per_core: clips/s that one core of the hosts decodes.
      work: work of one device.
    """
    parts = {
        "compute": work.model_flops / chip.peak,
        "compiler": work.compiler,
        "corrected": work.corrected,
        "handwritten": work.handwritten,
        "roofline": work.roofline,
        "collectives": work.exchange,
        "latency": work.latency,
        "launch": work.kernels * chip.launch,
    }

    def step_of(estimate: float | None) -> float:
        busy = max(parts["compute"], (estimate or 0.0) + work.handwritten, work.roofline or 0.0)
        return busy + work.exchange + work.latency

    step = step_of(work.compiler)
    busy = step - work.exchange - work.latency
    clips = config.train.batch_size * config.data.sampling.views
    steps, _ = count_steps(config, facts.num_videos)
    bound = "the matrix units"
    if busy > 2 * parts["compute"]:
        bound = "vector units and memory (the matrix units idle more than half of the time)"
    if work.exchange + work.latency > step / 2:
        bound = "collectives"
    elif parts["launch"] > step / 2:
        bound = "starting kernels"
    figures = {
        "chips": math.prod(mesh.values()),
        "model": config.model.name,
        "mesh": mesh,
        "remat": config.model.remat,
        "batch_size": config.train.batch_size,
        "clips_per_update": clips,
        "memory": work.memory | {"hbm": chip.memory, "usable": chip.usable},
        "usable_why": chip.usable_why,
        "fits": work.memory["total"] <= chip.usable,
        "model_flops": work.model_flops,
        "xla_flops": work.xla.get("flops", 0.0),
        "xla_bytes": work.xla.get("bytes accessed", 0.0),
        "loops_unknown": work.loops_unknown,
        "collectives": work.collectives,
        "kernels": work.kernels,
        "kernels_unknown": work.kernels_unknown,
        "seconds": parts,
        "bound": bound,
        "resolved": parts["launch"] + work.latency <= step / 2,
        "steps": steps,
        "clips_per_core": clips_per_core,
        "hosts": work.hosts,
        "checkpoint_bytes": sum(np.dtype(x.dtype).itemsize * x.size for x in jax.tree.leaves(state)),
    }
    figures = at_pace(figures, step)
    if work.corrected is not None:
        corrected = at_pace(figures, step_of(work.corrected))
        figures["corrected"] = {
            name: corrected[name] for name in ("clips_per_s", "mfu", "hours", "host_cores", "storage")
        }
        figures["corrected"]["step"] = corrected["seconds"]["step"]
    return figures


def at_pace(figures: dict[str, Any], step: float) -> dict[str, Any]:
    """`figures` with the speed of updates that take `step` seconds."""
    speed, views = figures["clips_per_update"] / step, figures["clips_per_update"] / figures["batch_size"]
    return figures | {
        "seconds": figures["seconds"] | {"step": step},
        "clips_per_s": speed,
        "mfu": figures["seconds"]["compute"] / step,
        "hours": figures["steps"] * step / 3600,
        "host_cores": speed / figures["clips_per_core"],
        "storage": storage(speed, figures["clips_per_core"], views, figures["hosts"]),
    }


def memory_of(compiled: Any) -> dict[str, int]:
    """Memory of a compiled program on one device, bytes, by XLA's analysis; donated outputs count once."""
    stats = compiled.memory_analysis()
    memory = {
        "arguments": stats.argument_size_in_bytes,
        "output": stats.output_size_in_bytes - stats.alias_size_in_bytes,
        "temporaries": stats.temp_size_in_bytes,
        "code": stats.generated_code_size_in_bytes,
    }
    return memory | {"total": sum(memory.values())}


def argument_bytes(program: Program) -> int:
    """Memory of the state and a device's part of the batch, before anything runs, bytes."""
    return sum(
        np.dtype(x.dtype).itemsize * math.prod(x.sharding.shard_shape(x.shape))
        for x in jax.tree.leaves((program.state, program.batch))
        if x.sharding.memory_kind != HOST_MEMORY
    )


def model_macs(program: Program) -> int:
    """Count the multiply-adds of one clip in the forward pass of the update."""
    program.model.eval()
    cost = module_cost(program.model, shapes_of(program.spec))
    return training_macs(program.model, cost)


@contextlib.contextmanager
def without_cache() -> Iterator[None]:
    """Context without JAX's compilation cache: programs for absent devices could be written to it, but not read
    back."""
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()
