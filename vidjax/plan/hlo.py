"""What a compiled program's text tells beyond its statistics: exchanges between devices, cycles in loops, kernels."""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

Instruction = tuple[str, str, str, str]  # name, type of the result, operation, the rest of the line

REACHED = 0.85  # share of the memory's bandwidth that passes reach
# Share of the peak that attention kernels reach, by the static schedule of the v5p compiler at d = 64, where half of
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
# The devices that exchange with each other, as lists, as "[groups,size]<=[devices]", or by axes of a mesh.
_LISTED = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_TILED = re.compile(r"replica_groups=\[\d+,(\d+)\]<=")
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\] ?\{([^}]*)\}")
# XLA:TPU's name of a fusion that sums over devices and keeps one part: half of what a sum for all passes on.
_SCATTERING = "all-reduce-scatter"


@dataclass(frozen=True)
class Exchange:
    """One collective.

    Attributes:
      kind: one of `COLLECTIVES`.
      bytes: what it puts out.
      devices: that take part together; 0: all of the program's.
      times: how often it runs.
    """

    kind: str
    bytes: int
    devices: int
    times: int

    def sent(self, all_devices: int) -> float:
        """Bytes that a device passes on, all runs together, with rings: nearly twice the array for a sum."""
        n = self.devices or all_devices
        share = {"all-reduce": 2 * (n - 1) / n, "reduce-scatter": n - 1, "collective-permute": 1}
        return self.times * self.bytes * share.get(self.kind, (n - 1) / n)


@dataclass(frozen=True)
class Step:
    """An instruction, mostly a fusion of many, for which the compiler estimates the time.

    Attributes:
      cycles: its estimate of one run.
      bytes: of all that goes in and comes out, an upper bound of what it moves: of an input it may read a part.
      multiplies: whether there is a product or a convolution in it.
      times: how often it runs.
    """

    cycles: int
    bytes: int
    multiplies: bool
    times: int

    def seconds(self, clock: float, launch: float, bandwidth: float) -> float:
        """All its runs, as `Reading.seconds` counts them."""
        own = self.cycles / clock
        if not self.multiplies and math.isfinite(bandwidth):
            own = min(own, self.bytes / (REACHED * bandwidth))
        return self.times * max(own, launch)


@dataclass(frozen=True)
class Kernel:
    """A hand-written kernel (`tpu_custom_call`), of which the compiler knows what its author says.

    Attributes:
      flops: of one run, 0 if the author does not say.
      exponentials: of one run.
      bytes: that one run moves.
      times: how often it runs.
    """

    flops: int
    exponentials: int
    bytes: int
    times: int

    def seconds(self, peak: float, bandwidth: float, launch: float) -> float:
        """All its runs, as `Reading.kernel_seconds` counts them."""
        return self.times * max(self.flops / (KERNEL_SHARE * peak), self.bytes / (REACHED * bandwidth), launch)


@dataclass
class Reading:
    """Of one device and one run of the program; what is in a loop counts as often as that runs.

    Attributes:
      exchanges: the collectives.
      steps: instructions that the compiler estimates.
      kernels: those that it does not.
      loops_unknown: loops whose number of runs is not known, taken once.
    """

    exchanges: list[Exchange] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    kernels: list[Kernel] = field(default_factory=list)
    loops_unknown: int = 0

    @property
    def cycles(self) -> int:
        """The compiler's estimates; 0 where it makes none."""
        return sum(step.times * step.cycles for step in self.steps)

    @property
    def launches(self) -> int:
        """How many instructions and kernels run."""
        return sum(step.times for step in (*self.steps, *self.kernels))

    @property
    def kernels_unknown(self) -> int:
        """How many kernels run of which nobody says what they cost."""
        return sum(kernel.times for kernel in self.kernels if not (kernel.flops or kernel.bytes))

    def seconds(self, clock: float, launch: float, bandwidth: float = math.inf) -> float:
        """What the instructions that the compiler estimates take, kernels apart.

        Args:
          clock: cycles/s.
          launch: seconds that each takes at least.
          bandwidth: of the memory, bytes/s: what only passes over it takes no longer than moving all that goes in and
            out at `REACHED` of it. On TPUs the compiler takes such passes to be two to five times slower than data
            sheets do. Infinite: no correction.
        """
        return sum(step.seconds(clock, launch, bandwidth) for step in self.steps)

    def kernel_seconds(self, peak: float, bandwidth: float, launch: float) -> float:
        """What kernels take by their authors' counts, at `KERNEL_SHARE` of the peak, FLOP/s, or `REACHED` of the
        bandwidth, bytes/s, whichever is longer."""
        return sum(kernel.seconds(peak, bandwidth, launch) for kernel in self.kernels)

    @property
    def counts(self) -> dict[str, int]:
        """Collectives by kind."""
        return self._sums(lambda exchange: 1)

    @property
    def bytes(self) -> dict[str, int]:
        """What they put out, by kind."""
        return self._sums(lambda exchange: exchange.bytes)

    def _sums(self, of: Callable[[Exchange], int]) -> dict[str, int]:
        sums: dict[str, int] = defaultdict(int)
        for exchange in self.exchanges:
            sums[exchange.kind] += exchange.times * of(exchange)
        return dict(sums)


@dataclass(frozen=True)
class Line:
    """An instruction, as often as it runs.

    Attributes:
      name: its own, unique in its computation.
      result: its type.
      op: what it does, such as "fusion".
      rest: of the line, from behind the bracket that opens the operands.
      computation: that it stands in.
      times: how often it runs.
      cycles: the compiler's estimate of one run; None: none, or it is part of what calls this computation.
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
    """The instructions of a compiled program that run, in order; iterate over it.

    Args:
      text: `compiled.as_text()`.
    """

    def __init__(self, text: str):
        self._bodies, self._entry = _computations(text)
        self._types = {body: {line[0]: line[1] for line in lines} for body, lines in self._bodies.items()}
        self._has_product = cache(lambda body: any(self._product(op, rest) for *_, op, rest in self._bodies[body]))

    def __iter__(self) -> Iterator[Line]:
        return self._walk(self._entry, 1, counted=False, fused=False)

    def operands(self, line: Line) -> list[str]:
        """Types of what goes into it."""
        types = self._types[line.computation]
        return [types[name] for name in _operands(line.rest) if name in types]

    def moved(self, line: Line) -> int:
        """Bytes of all that goes in and comes out."""
        return sum(sum(_sizes(kind)) for kind in (line.result, *self.operands(line)))

    def multiplies(self, line: Line) -> bool:
        """Whether there is a product or a convolution in it."""
        return self._product(line.op, line.rest)

    def trips(self, line: Line) -> int | None:
        """How often a loop runs; None: not known."""
        return _trips(line.rest, self._bodies)

    def inside(self, line: Line) -> Iterator[tuple[Line, list[str]]]:
        """What a fusion is made of, with the types of what goes into each."""
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
    """What the text of a compiled program (`compiled.as_text()`) says."""
    reading, lines = Reading(), Lines(text)
    # XLA:TPU writes a collective that runs beside other work into the fusions at its start, its steps and its end;
    # the number of its channel is the same in all of them.
    channels: dict[str, Exchange] = {}
    for line in lines:
        if (kind := line.op.removesuffix("-start")) in COLLECTIVES:
            channel = _CHANNEL.search(line.rest)
            key = channel[1] if channel else f"of its own {len(channels)}"
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
    """The hand-written kernel that an instruction is; None: it is none."""
    if line.op != "custom-call" or 'custom_call_target="tpu_custom_call"' not in line.rest:
        return None
    said = _KERNEL.search(line.rest)
    return Kernel(*(map(int, said.groups()) if said else (0, 0, 0)), line.times)


def _exchange(kind: str, line: Line) -> Exchange:
    sizes = list(_sizes(line.result))
    # An asynchronous one names its operands too; it is complete in the larger half.
    size = max(sizes) if line.op.endswith("-start") and sizes else sum(sizes)
    devices = _group(line.rest)
    if kind == "all-reduce" and line.computation.startswith(_SCATTERING) and devices:
        kind, size = "reduce-scatter", size // devices
    return Exchange(kind, size, devices, line.times)


def _group(rest: str) -> int:
    """How many devices take part in a collective together; 0: all."""
    if listed := _LISTED.search(rest):
        return len(listed[1].split(","))
    if tiled := _TILED.search(rest):
        return int(tiled[1])
    if mesh := _MESH.search(rest):
        sizes = dict(re.findall(r"'([^']*)'=(\d+)", mesh[1]))
        return math.prod(int(sizes.get(axis, 1)) for axis in re.findall(r"'([^']*)'", mesh[2]))
    return 0


def _operands(rest: str) -> list[str]:
    """Names of what goes into an instruction, from what follows its opening bracket."""
    depth = 1
    for at, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return _OPERAND.findall(rest[:at])
    return []


def _trips(rest: str, bodies: dict[str, list[Instruction]]) -> int | None:
    """How often a loop runs: as the compiler notes it, or, where it does not (TPU), as `jax.lax.scan` writes loops:
    from 0 while less than a constant."""
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
    """Instructions of every computation, and the name of the entry."""
    bodies: dict[str, list[Instruction]] = {}
    name = entry = ""
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):
            name = found[2]
            bodies[name] = []
            entry = name if found[1] else entry
        elif name and (found := _INSTRUCTION.match(line)):
            bodies[name].append(found.groups())
    return bodies, entry


def _sizes(result: str) -> Iterator[int]:
    """Bytes of each array in the type of a result."""
    for kind, shape in _ARRAY.findall(result):
        bits = _BITS.get(kind) or int(re.sub(r"\D", " ", kind).split()[0])
        count = 1
        for side in filter(None, shape.split(",")):
            count *= int(side)
        yield count * bits // 8
