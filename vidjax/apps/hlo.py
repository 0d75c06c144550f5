"""What a compiled program's text tells that its statistics do not: what devices exchange, and cycles inside loops."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_BITS = {"pred": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64}
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.-]+ = (.*?) ([a-z][\w-]*)\((.*)$")
_ARRAY = re.compile(r"\b([a-z]+\d+[a-z\d]*|pred)\[([\d,]*)\]")
_CALLED = re.compile(r"\b(?:body|condition|calls|to_apply)=%?([\w.-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


@dataclass
class Reading:
    """Of one device and one run of the program; what is in a loop counts as often as that runs.

    Attributes:
      counts: collectives by kind.
      bytes: what they put out, by kind.
      cycles: the compiler's estimates, of all instructions that have one; 0 where it makes none.
      cycles_once: the same with every loop taken once, as XLA's own sums are.
      loops_unknown: loops whose number of runs is not known, taken once.
    """

    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    bytes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    cycles: int = 0
    cycles_once: int = 0
    loops_unknown: int = 0


def read_hlo(text: str) -> Reading:
    """What the text of a compiled program (`compiled.as_text()`) says."""
    bodies, entry = _computations(text)
    reading = Reading()

    def walk(name: str, times: int) -> None:
        for result, op, rest in bodies.get(name, ()):
            kind = op.removesuffix("-start")
            if kind in COLLECTIVES:
                # An asynchronous one names its operands too; it is complete in the larger half.
                sizes = list(_sizes(result))
                reading.counts[kind] += times
                reading.bytes[kind] += times * (max(sizes) if op.endswith("-start") and sizes else sum(sizes))
            if cycles := _CYCLES.search(rest):
                reading.cycles += times * int(cycles[1])
                reading.cycles_once += int(cycles[1])
                continue  # what it calls is part of it
            inner = times
            if op == "while":
                trips = _trips(rest, bodies)
                reading.loops_unknown += trips is None
                inner = times * (1 if trips is None else trips)
            if op in ("while", "call", "fusion", "async-start", "conditional"):
                for called in _CALLED.findall(rest):
                    walk(called, inner)

    walk(entry, 1)
    return reading


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
