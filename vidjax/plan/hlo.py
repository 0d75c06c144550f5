"""Parser of a compiled program's text (HLO): exchanges between devices, cycles in loops, kernels."""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

Instruction = tuple[str, str, str, str]  # name, type of the result, operation, the rest of the line

REACHED = 0.85  # share of the memory bandwidth reached by passes over memory
# Share of the peak reached by attention kernels, by the static schedule of the v5p compiler at d = 64, where half of
# each matrix unit idles.
KERNEL_SHARE = 0.40

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_BITS = {"pred": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64}
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = (.*?) ([a-z][\w-]*)\((.*)$")
_ARRAY = re.compile(r"\b([a-z]+\d+[a-z\d]*|pred)\[([\d,]*)\]")
_CALLED = re.compile(r"\b(?:body|condition|calls|to_apply)=%?([\w.-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_KERNEL = re.compile(r'"cost_estimate":\{"flops":"(\d+)","transcendentals":"(\d+)","bytes_accessed":"(\d+)"')
_OPERAND = re.compile(r"%([\w.-]+)")
_CHANNEL = re.compile(r"\bchannel_id=(\d+)")
# Groups of devices that exchange with each other: as lists, as "[groups,size]<=[devices]", or by axes of a mesh.
_LISTED = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_TILED = re.compile(r"replica_groups=\[\d+,(\d+)\]<=")
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\] ?\{([^}]*)\}")
# XLA:TPU's name of a fusion that sums over devices and keeps one part: it sends half as much as a sum for all.
_SCATTERING = "all-reduce-scatter"


@dataclass(frozen=True)
class Exchange:
    """One collective operation.

    Attributes:
      kind: kind of the collective, one of `COLLECTIVES`.
      bytes: size of its output, bytes.
      devices: number of devices in each group; 0: all of the program's.
      times: number of runs.
    """

    kind: str
    bytes: int
    devices: int
    times: int

    def sent(self, all_devices: int) -> float:
        """Bytes that a device sends in all runs, with rings: nearly twice the array for a sum."""
        n = self.devices or all_devices
        share = {"all-reduce": 2 * (n - 1) / n, "reduce-scatter": n - 1, "collective-permute": 1}
        return self.times * self.bytes * share.get(self.kind, (n - 1) / n)


@dataclass(frozen=True)
class Step:
    """An instruction with the compiler's estimate of its time, mostly a fusion of many.

    Attributes:
      cycles: compiler's estimate for one run.
      bytes: size of all inputs and outputs, bytes; an upper bound of the traffic, since it may read part of an input.
      multiplies: whether it contains a product or a convolution.
      times: number of runs.
    """

    cycles: int
    bytes: int
    multiplies: bool
    times: int

    def seconds(self, clock: float, launch: float, bandwidth: float) -> float:
        """Time of all its runs, seconds, counted as in `Reading.seconds`."""
        own = self.cycles / clock
        if not self.multiplies and math.isfinite(bandwidth):
            own = min(own, self.bytes / (REACHED * bandwidth))
        return self.times * max(own, launch)


@dataclass(frozen=True)
class Kernel:
    """A hand-written kernel (`tpu_custom_call`); the compiler only knows its author's cost estimate.

    Attributes:
      flops: FLOP of one run; 0 if the author gives no estimate.
      exponentials: number of exponentials in one run.
      bytes: memory traffic of one run, bytes.
      times: number of runs.
    """

    flops: int
    exponentials: int
    bytes: int
    times: int

    def seconds(self, peak: float, bandwidth: float, launch: float) -> float:
        """Time of all its runs, seconds, counted as in `Reading.kernel_seconds`."""
        return self.times * max(self.flops / (KERNEL_SHARE * peak), self.bytes / (REACHED * bandwidth), launch)


@dataclass
class Reading:
    """Content of a compiled program, for one device and one run; the body of a loop counts once per iteration.

    Attributes:
      exchanges: collectives.
      steps: instructions with the compiler's estimate.
      kernels: hand-written kernels, without one.
      loops_unknown: number of loops of unknown length, which count once.
    """

    exchanges: list[Exchange] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    kernels: list[Kernel] = field(default_factory=list)
    loops_unknown: int = 0

    @property
    def cycles(self) -> int:
        """Sum of the compiler's estimates, cycles; 0 if it gives none."""
        return sum(step.times * step.cycles for step in self.steps)

    @property
    def launches(self) -> int:
        """Number of instructions and kernels that run."""
        return sum(step.times for step in (*self.steps, *self.kernels))

    @property
    def kernels_unknown(self) -> int:
        """Number of kernels that run without any cost estimate."""
        return sum(kernel.times for kernel in self.kernels if not (kernel.flops or kernel.bytes))

    def seconds(self, clock: float, launch: float, bandwidth: float = math.inf) -> float:
        """Time of the instructions with the compiler's estimate, without hand-written kernels, seconds.

        Args:
          clock: clock rate, cycles/s.
          launch: shortest time of an instruction, seconds.
          bandwidth: bandwidth of the memory, bytes/s: passes over memory take no longer than moving their inputs and
            outputs at `REACHED` of it. For TPUs, the compiler assumes such passes to be two to five times slower than
            the data sheets do. Infinite: no correction.
        """
        return sum(step.seconds(clock, launch, bandwidth) for step in self.steps)

    def kernel_seconds(self, peak: float, bandwidth: float, launch: float) -> float:
        """Time of kernels by their authors' counts, seconds: at `KERNEL_SHARE` of the peak, FLOP/s, or at `REACHED` of
        the bandwidth, bytes/s, whichever is longer."""
        return sum(kernel.seconds(peak, bandwidth, launch) for kernel in self.kernels)

    @property
    def counts(self) -> dict[str, int]:
        """Number of collectives by kind."""
        return self._sums(lambda exchange: 1)

    @property
    def bytes(self) -> dict[str, int]:
        """Output of the collectives by kind, bytes."""
        return self._sums(lambda exchange: exchange.bytes)

    def _sums(self, of: Callable[[Exchange], int]) -> dict[str, int]:
        sums: dict[str, int] = defaultdict(int)
        for exchange in self.exchanges:
            sums[exchange.kind] += exchange.times * of(exchange)
        return dict(sums)


@dataclass(frozen=True)
class Line:
    """An instruction of a compiled program, and its number of runs.

    Attributes:
      name: name of the instruction, unique in its computation.
      result: type of the result.
      op: operation, such as "fusion".
      rest: rest of the line, after the opening bracket of the operands.
      computation: name of the computation that contains it.
      times: number of runs.
      cycles: compiler's estimate for one run; None: none, or part of the estimate of the computation's caller.
      fused: whether it is part of a fusion.
    """

    name: str
    result: str
    op: str
    rest: str
    computation: str
    times: int
    cycles: int | None
    fused: bool


class Lines:
    """Iterable over the instructions of a compiled program that run, in order.

    Args:
      text: text of the program, `compiled.as_text()`.
    """

    def __init__(self, text: str):
        self._bodies, self._entry = _computations(text)
        self._types = {body: {line[0]: line[1] for line in lines} for body, lines in self._bodies.items()}
        self._has_product = cache(lambda body: any(self._product(op, rest) for *_, op, rest in self._bodies[body]))

    def __iter__(self) -> Iterator[Line]:
        return self._walk(self._entry, 1, counted=False, fused=False)

    def operands(self, line: Line) -> list[str]:
        """Types of an instruction's inputs."""
        types = self._types[line.computation]
        return [types[name] for name in _operands(line.rest) if name in types]

    def moved(self, line: Line) -> int:
        """Size of an instruction's inputs and outputs, bytes."""
        return sum(sum(_sizes(kind)) for kind in (line.result, *self.operands(line)))

    def multiplies(self, line: Line) -> bool:
        """Whether an instruction contains a product or a convolution."""
        return self._product(line.op, line.rest)

    def trips(self, line: Line) -> int | None:
        """Number of iterations of a loop; None: not known."""
        return _trips(line.rest, self._bodies)

    def inside(self, line: Line) -> Iterator[tuple[Line, list[str]]]:
        """Instructions of a fusion, with the types of their inputs."""
        for called in self._called(line.rest):
            for inner in self._walk(called, line.times, counted=True, fused=True):
                yield inner, self.operands(inner)

    def _walk(self, name: str, times: int, *, counted: bool, fused: bool) -> Iterator[Line]:
        for instruction in self._bodies[name]:
            cycles = None if counted else _CYCLES.search(instruction[3])
            line = Line(*instruction, name, times, None if cycles is None else int(cycles[1]), fused)
            yield line
            trips = self.trips(line) if line.op == "while" else 1
            inner = times * (1 if trips is None else trips)
            if line.op in ("while", "call", "fusion", "async-start", "conditional"):
                for called in self._called(line.rest):
                    yield from self._walk(
                        called, inner, counted=counted or cycles is not None, fused=fused or line.op == "fusion"
                    )

    def _called(self, rest: str) -> list[str]:
        return [called for called in _CALLED.findall(rest) if called in self._bodies]

    def _product(self, op: str, rest: str) -> bool:
        return op in ("dot", "convolution") or any(map(self._has_product, self._called(rest)))


def read_hlo(text: str) -> Reading:
    """Parse the text of a compiled program (`compiled.as_text()`)."""
    reading, lines = Reading(), Lines(text)
    # XLA:TPU writes an asynchronous collective into the fusions at its start, its steps and its end, all with the same
    # channel number. Permutations stand there once, but those of one `shard_map` may share a number.
    channels: dict[str, Exchange] = {}
    for line in lines:
        if (kind := line.op.removesuffix("-start")) in COLLECTIVES:
            channel = _CHANNEL.search(line.rest)
            key = channel[1] if channel and kind != "collective-permute" else f"of its own {len(channels)}"
            before = channels.get(key)
            if before is None or before.times < line.times:
                channels[key] = _exchange(kind, line)
        if (kernel := kernel_of(line)) is not None:
            reading.kernels.append(kernel)
        elif line.cycles is not None:
            reading.steps.append(Step(line.cycles, lines.moved(line), lines.multiplies(line), line.times))
        reading.loops_unknown += line.op == "while" and lines.trips(line) is None
    reading.exchanges = list(channels.values())
    return reading


def kernel_of(line: Line) -> Kernel | None:
    """Parse a hand-written kernel; None if the instruction is not one."""
    if line.op != "custom-call" or 'custom_call_target="tpu_custom_call"' not in line.rest:
        return None
    said = _KERNEL.search(line.rest)
    return Kernel(*(map(int, said.groups()) if said else (0, 0, 0)), line.times)


def _exchange(kind: str, line: Line) -> Exchange:
    sizes = list(_sizes(line.result))
    # The type of an asynchronous collective has its operands too; the larger half is the whole array.
    size = max(sizes) if line.op.endswith("-start") and sizes else sum(sizes)
    devices = _group(line.rest)
    if kind == "all-reduce" and line.computation.startswith(_SCATTERING) and devices:
        kind, size = "reduce-scatter", size // devices
    return Exchange(kind, size, devices, line.times)


def _group(rest: str) -> int:
    """Number of devices in each group of a collective; 0: all."""
    if listed := _LISTED.search(rest):
        return len(listed[1].split(","))
    if tiled := _TILED.search(rest):
        return int(tiled[1])
    if mesh := _MESH.search(rest):
        sizes = dict(re.findall(r"'([^']*)'=(\d+)", mesh[1]))
        return math.prod(int(sizes.get(axis, 1)) for axis in re.findall(r"'([^']*)'", mesh[2]))
    return 0


def _operands(rest: str) -> list[str]:
    """Names of an instruction's operands, from the text after the opening bracket."""
    depth = 1
    for at, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return _OPERAND.findall(rest[:at])
    return []


def _trips(rest: str, bodies: dict[str, list[Instruction]]) -> int | None:
    """Number of iterations of a loop: the compiler's note or, without one (TPU), the bound of a loop as `jax.lax.scan`
    writes it, from 0 to a constant."""
    if known := _TRIPS.search(rest):
        return int(known[1])
    condition = re.search(r"condition=%?([\w.-]+)", rest)
    instructions = bodies.get(condition[1], []) if condition else []
    limits = [
        int(rest.split(")")[0]) for _, kind, op, rest in instructions if op == "constant" and kind.startswith("s32[]")
    ]
    compares = [rest for _, _, op, rest in instructions if op == "compare"]
    if len(limits) == 1 and len(compares) == 1 and "direction=LT" in compares[0]:
        return limits[0]
    return None


def _computations(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """Instructions of each computation by its name, and the name of the entry computation."""
    bodies: dict[str, list[Instruction]] = {}
    name = entry = ""
    bodies[entry] = []  # of a text without an entry, which some runtimes give
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):
            name = found[2]
            bodies[name] = []
            entry = name if found[1] else entry
        elif name and (found := _INSTRUCTION.match(line)):
            bodies[name].append(found.groups())
    return bodies, entry


def _sizes(result: str) -> Iterator[int]:
    """Size of each array in the type of a result, bytes."""
    for kind, shape in _ARRAY.findall(result):
        bits = _BITS.get(kind) or int(re.sub(r"\D", " ", kind).split()[0])
        count = 1
        for side in filter(None, shape.split(",")):
            count *= int(side)
        yield count * bits // 8
