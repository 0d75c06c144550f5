"""What a training step takes on devices that are not there: compiled for them ahead of time, and read."""

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
from vidjax.config.spec import resolve_spec
from vidjax.data.records import LabelSpace
from vidjax.models.cost import module_cost, training_macs
from vidjax.models.registry import get_spec
from vidjax.nn.target_backend import targeting
from vidjax.parallel import HOST_MEMORY
from vidjax.plan.chips import Chip, read_topology, slices, tpu_devices
from vidjax.plan.hlo import read_hlo
from vidjax.plan.storage import storage
from vidjax.tasks import kinds_of
from vidjax.training.compiled_step import Program, count_steps

UNRESOLVED = (
    "below what the estimate resolves: starting kernels and exchanging anything at all take half of the step or more, "
    "so speed and time are rough; `python -m vidjax bench step` measures them, and fewer devices would do"
)

# Clips of 16 frames that a core decodes from mp4 files in a second; `bench data` measures another machine and data set.
CLIPS_PER_CORE = 25.0


class DoesNotFitError(cfg.ConfigError):
    """The step does not fit into the memory of the devices; the message has the sizes.

    Attributes:
      compiled: whether it took the compiler to find out.
    """

    def __init__(self, message: str, compiled: bool = True):
        super().__init__(message)
        self.compiled = compiled


@dataclass(frozen=True)
class DataFacts:
    """What a plan needs to know of a data set: K, its training videos, whether a video has several labels."""

    num_classes: int
    num_videos: int
    several: bool

    @property
    def labels(self) -> LabelSpace:
        """Classes without names."""
        return LabelSpace(tuple(map(str, range(self.num_classes))), self.several)


def data_facts(config: cfg.Config, num_classes: int, num_videos: int) -> DataFacts:
    """Those of the config's data set, with what is given in their place.

    The size of a published data set is known; CSVs, folders and prepared data sets of `config.data.train` are counted,
    unless `num_videos` is given. Videos that a CSV lists need not be there.

    Args:
      config: of the run.
      num_classes: K; 0: the data set's, or else the model's.
      num_videos: of the training set; 0: the data set's.

    Raises:
      ConfigError: if nothing tells how many training videos there are.
      DataError: for a published data set without the annotations that the model needs.
    """
    from vidjax.data.listing.datasets import DATASETS  # which needs a video library
    from vidjax.data.listing.published import open_published
    from vidjax.data.listing.sources import refuse_kinds
    from vidjax.data.text import DataError
    from vidjax.tasks.videos import load_videos

    published = get_spec(config.model.name)
    kinds = kinds_of(published.task)
    if config.data.synthetic == "motion":
        return DataFacts(num_classes or 6, num_videos or 1500, False)
    if known := DATASETS.get(config.data.dataset):
        refuse_kinds(open_published(config.data)["train"][0], kinds)
        return DataFacts(num_classes or len(known.class_names), num_videos or known.train_videos, known.several)
    if num_videos:
        return DataFacts(num_classes or published.num_classes, num_videos, False)
    if not config.data.train:
        raise cfg.ConfigError(
            "how many training videos there are is not known: give --num-videos, or config.data.train to count them"
        )

    try:
        videos, _ = load_videos(config, need_files=False)
    except DataError as error:
        raise cfg.ConfigError(f"config.data.train cannot be counted; give --num-videos, or mend it: {error}") from None
    return DataFacts(num_classes or len(videos.labels.names), len(videos), videos.labels.several)


def make_program(config: cfg.Config, facts: DataFacts, devices: Sequence[Any] | None) -> Program:
    """The update of `config` as shapes, for `devices`, or with None for those of this process.

    Raises:
      ConfigError: for settings that do not fit each other or the devices.
    """
    spec = resolve_spec(get_spec(config.model.name), config.data, config.model.input)
    return Program.of(config, spec, facts.labels, num_videos=facts.num_videos, devices=devices)


def compile_program(program: Program) -> Any:
    """The update, compiled for devices that need not be there.

    Raises:
      DoesNotFitError: if the compiler cannot do with their memory.
    """
    with without_cache():
        try:
            return program.lower().compile()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise DoesNotFitError(_exhausted(str(error))) from None


def _exhausted(message: str) -> str:
    """The compiler's words in ours: `20.1 GiB wanted, 15.8 GiB there`."""
    sizes = re.findall(r"([\d.]+)([KMGT])\b", message)
    factor = {"K": 2**-20, "M": 2**-10, "G": 1.0, "T": 2**10}
    gib = [float(number) * factor[unit] for number, unit in sizes[:2]]
    if len(gib) < 2:
        return message.splitlines()[0]
    return f"the compiler wants {gib[0]:.1f} GiB per device for temporaries or in all, {gib[1]:.2f} GiB are there"


class Target(Protocol):
    """Devices that a run can be planned for.

    Attributes:
      name: as on the command line.
      chip: one of them.
      count: how many.
    """

    name: str
    chip: Chip
    count: int

    def figures(self, config: cfg.Config, facts: DataFacts, clips_per_core: float) -> dict[str, Any]:
        """What an update of `config` takes there, from `figures_of`.

        Raises:
          ConfigError: for settings that do not fit each other or the devices.
          DoesNotFitError: if the devices' memory does not do.
        """

    def sizes(self) -> "list[Target]":
        """Of the same kind, 8 to 512 of them."""


class Slice:
    """A slice of TPU chips, whose compiler plans for it; a `Target`.

    Raises:
      ConfigError: for a topology that there is not, or without the compiler.
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
                message = f"state and batch alone take {held / 2**30:.1f} GiB per device, {there:.2f} GiB are there"
                raise DoesNotFitError(message, compiled=False)
            compiled = compile_program(program)
            return {"target": self.name} | estimate(program, compiled, self.chip, facts, clips_per_core)

    def sizes(self) -> "list[Target]":
        return [Slice(name) for name in slices(self.name)]


def estimate(
    program: Program, compiled: Any, chip: Chip, facts: DataFacts, clips_per_core: float = CLIPS_PER_CORE
) -> dict[str, Any]:
    """What the compiled update takes per device, and what follows for the run, ready for JSON.

    Args:
      program: the update.
      compiled: the same, by the compiler of `chip`.
      chip: it runs on.
      facts: of the data set.
      clips_per_core: clips/s that one core of the hosts makes.
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
    return figures_of(program.config, program.state, dict(program.mesh.shape), chip, facts, clips_per_core, work)


@dataclass(frozen=True)
class Work:
    """What one device does in one update.

    Attributes:
      model_flops: that the model needs, whatever is recomputed: three products for each of the forward pass, itself and
        the gradients of its two inputs.
      memory: bytes by use, and "total".
      exchange: seconds, of the collectives at the bandwidth of the links.
      latency: seconds, of the collectives however small they are.
      collectives: "count" and "bytes" by kind.
      xla: its analysis of costs.
      kernels: that run.
      kernels_unknown: those among them of which nobody says what they take.
      compiler: seconds, by the cycles that the compiler counts, without hand-written kernels, for which it counts none;
        None: it was not asked.
      corrected: the same, passes over memory no slower than the memory is.
      handwritten: seconds, of hand-written kernels by their authors' counts.
      roofline: seconds, of every kernel at the peak or the bandwidth of the memory; None: not counted.
      loops_unknown: loops that count once because their length is not known.
      hosts: machines that hold the devices, all of them together.
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
    """The figures of a plan, the same for every kind of device, ready for JSON.

    Where half of the update or more is what kernels and collectives take however little they do, "resolved" is False:
    the compiler's choice of kernels, which differs from one batch size to the next, then says more of the estimate than
    the work does. "corrected" has the figures of speed once more, by the estimate that is so called.

    Args:
      config: of the run.
      state: the training state as shapes, whole.
      mesh: devices by axis.
      chip: one of them.
      facts: of the data set.
      clips_per_core: clips/s that one core of the hosts makes.
      work: of one device.
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
    """`figures` with the speed that follows if an update takes `step` seconds."""
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
    """Bytes of one device that a compiled program takes, by XLA's analysis; donated outputs count once."""
    stats = compiled.memory_analysis()
    memory = {
        "arguments": stats.argument_size_in_bytes,
        "output": stats.output_size_in_bytes - stats.alias_size_in_bytes,
        "temporaries": stats.temp_size_in_bytes,
        "code": stats.generated_code_size_in_bytes,
    }
    return memory | {"total": sum(memory.values())}


def argument_bytes(program: Program) -> int:
    """Bytes of one device that hold the state and its part of the batch: what there is before anything runs."""
    return sum(
        np.dtype(x.dtype).itemsize * math.prod(x.sharding.shard_shape(x.shape))
        for x in jax.tree.leaves((program.state, program.batch))
        if x.sharding.memory_kind != HOST_MEMORY
    )


def model_macs(program: Program) -> int:
    """Multiply-adds of one clip in the update, counted."""
    program.model.eval()
    cost = module_cost(program.model, next(iter(program.spec.inputs.values())).shape)
    return training_macs(program.model, cost)


@contextlib.contextmanager
def without_cache() -> Iterator[None]:
    """Nothing compiled here is read from JAX's cache of compiled programs or written to it: those for devices that are
    not there could be written, but not read back."""
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()
