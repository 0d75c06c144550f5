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

        def one(step: Step) -> float:
            own = step.cycles / clock
            if not step.multiplies and math.isfinite(bandwidth):
                own = min(own, step.bytes / (REACHED * bandwidth))
            return max(own, launch)

        return sum(step.times * one(step) for step in self.steps)

    def kernel_seconds(self, peak: float, bandwidth: float, launch: float) -> float:
        """What kernels take by their authors' counts, at `KERNEL_SHARE` of the peak, FLOP/s, or `REACHED` of the
        bandwidth, bytes/s, whichever is longer."""
        return sum(
            kernel.times * max(kernel.flops / (KERNEL_SHARE * peak), kernel.bytes / (REACHED * bandwidth), launch)
            for kernel in self.kernels
        )

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


def read_hlo(text: str) -> Reading:
    """What the text of a compiled program (`compiled.as_text()`) says."""
    bodies, entry = _computations(text)
    sizes = {body: {name: sum(_sizes(result)) for name, result, _, _ in lines} for body, lines in bodies.items()}
    reading = Reading()
    # XLA:TPU writes a collective that runs beside other work into the fusions at its start, its steps and its end;
    # the number of its channel is the same in all of them.
    channels: dict[str, Exchange] = {}

    @cache
    def has_product(computation: str) -> bool:
        return any(multiplies(op, rest) for _, _, op, rest in bodies.get(computation, ()))

    def multiplies(op: str, rest: str) -> bool:
        return op in ("dot", "convolution") or any(map(has_product, _CALLED.findall(rest)))

    def walk(name: str, times: int, counted: bool) -> None:
        """`counted`: the cycles of this computation are part of what calls it."""
        for _, result, op, rest in bodies.get(name, ()):
            if (kind := op.removesuffix("-start")) in COLLECTIVES:
                channel = _CHANNEL.search(rest)
                key = channel[1] if channel else f"of its own {len(channels)}"
                before = channels.get(key)
                if before is None or before.times < times:
                    channels[key] = _exchange(kind, result, op, rest, times, name)
            cycles = None if counted else _CYCLES.search(rest)
            if op == "custom-call" and 'custom_call_target="tpu_custom_call"' in rest:
                said = _KERNEL.search(rest)
                reading.kernels.append(Kernel(*(map(int, said.groups()) if said else (0, 0, 0)), times))
            elif cycles:
                moved = sum(_sizes(result)) + sum(sizes[name].get(x, 0) for x in _operands(rest))
                reading.steps.append(Step(int(cycles[1]), moved, multiplies(op, rest), times))
            inner = times
            if op == "while":
                trips = _trips(rest, bodies)
                reading.loops_unknown += trips is None
                inner = times * (1 if trips is None else trips)
            if op in ("while", "call", "fusion", "async-start", "conditional"):
                for called in _CALLED.findall(rest):
                    walk(called, inner, counted or cycles is not None)

    walk(entry, 1, False)
    reading.exchanges = list(channels.values())
    return reading


def _exchange(kind: str, result: str, op: str, rest: str, times: int, computation: str) -> Exchange:
    sizes = list(_sizes(result))
    # An asynchronous one names its operands too; it is complete in the larger half.
    size = max(sizes) if op.endswith("-start") and sizes else sum(sizes)
    devices = _group(rest)
    if kind == "all-reduce" and computation.startswith(_SCATTERING) and devices:
        kind, size = "reduce-scatter", size // devices
    return Exchange(kind, size, devices, times)


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
