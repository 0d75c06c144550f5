"""What a compiled program's text tells that its statistics do not: what devices exchange, and cycles inside loops."""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_BITS = {"pred": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64}
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.-]+ = (.*?) ([a-z][\w-]*)\((.*)$")
_ARRAY = re.compile(r"\b([a-z]+\d+[a-z\d]*|pred)\[([\d,]*)\]")
_CALLED = re.compile(r"\b(?:body|condition|calls|to_apply)=%?([\w.-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
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


@dataclass
class Reading:
    """Of one device and one run of the program; what is in a loop counts as often as that runs.

    Attributes:
      exchanges: the collectives.
      kernels: the compiler's estimate of cycles for each instruction that has one, and how often that runs.
      loops_unknown: loops whose number of runs is not known, taken once.
    """

    exchanges: list[Exchange] = field(default_factory=list)
    kernels: list[tuple[int, int]] = field(default_factory=list)
    loops_unknown: int = 0

    @property
    def cycles(self) -> int:
        """Those of all kernels; 0 where the compiler makes no estimates."""
        return sum(cycles * times for cycles, times in self.kernels)

    @property
    def cycles_once(self) -> int:
        """The same with every loop taken once, as XLA's own sums are."""
        return sum(cycles for cycles, _ in self.kernels)

    @property
    def launches(self) -> int:
        """How many kernels run."""
        return sum(times for _, times in self.kernels)

    def seconds(self, clock: float, launch: float) -> float:
        """What the kernels take at `clock` cycles/s, none of them less than `launch` seconds."""
        return sum(times * max(cycles / clock, launch) for cycles, times in self.kernels)

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
    reading = Reading()
    # XLA:TPU writes a collective that runs beside other work into the fusions at its start, its steps and its end;
    # the number of its channel is the same in all of them.
    channels: dict[str, Exchange] = {}

    def walk(name: str, times: int, counted: bool) -> None:
        """`counted`: the cycles of this computation are part of what calls it."""
        for result, op, rest in bodies.get(name, ()):
            if (kind := op.removesuffix("-start")) in COLLECTIVES:
                channel = _CHANNEL.search(rest)
                key = channel[1] if channel else f"of its own {len(channels)}"
                before = channels.get(key)
                if before is None or before.times < times:
                    channels[key] = _exchange(kind, result, op, rest, times, name)
            cycles = None if counted else _CYCLES.search(rest)
            if cycles:
                reading.kernels.append((int(cycles[1]), times))
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


def _trips(rest: str, bodies: dict[str, list[tuple[str, str, str]]]) -> int | None:
    """How often a loop runs: as the compiler notes it, or, where it does not (TPU), as `jax.lax.scan` writes loops:
    from 0 while less than a constant."""
    if known := _TRIPS.search(rest):
        return int(known[1])
    condition = re.search(r"condition=%?([\w.-]+)", rest)
    instructions = bodies.get(condition[1], []) if condition else []
    limits = [
        int(rest.split(")")[0]) for kind, op, rest in instructions if op == "constant" and kind.startswith("s32[]")
    ]
    compares = [rest for _, op, rest in instructions if op == "compare"]
    if len(limits) == 1 and len(compares) == 1 and "direction=LT" in compares[0]:
        return limits[0]
    return None


def _computations(text: str) -> tuple[dict[str, list[tuple[str, str, str]]], str]:
    """Instructions of every computation as (result, operation, the rest of the line), and the name of the entry."""
    bodies: dict[str, list[tuple[str, str, str]]] = {}
    name = entry = ""
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):
            name = found[2]
            bodies[name] = []
            entry = name if found[1] else entry
        elif name and (found := _INSTRUCTION.match(line)):
            bodies[name].append((found[1], found[2], found[3]))
    return bodies, entry


def _sizes(result: str) -> Iterator[int]:
    """Bytes of each array in the type of a result."""
    for kind, shape in _ARRAY.findall(result):
        bits = _BITS.get(kind) or int(re.sub(r"\D", " ", kind).split()[0])
        count = 1
        for side in filter(None, shape.split(",")):
            count *= int(side)
        yield count * bits // 8
