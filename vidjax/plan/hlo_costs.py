"""The largest costs of a compiled program: the time of its instructions, summed by the layer they come from."""

import math
import re
from collections import defaultdict
from dataclasses import dataclass

from vidjax.plan.chips import Chip
from vidjax.plan.hlo import COLLECTIVES, REACHED, Line, Lines, Step, kernel_of

# Instructions of XLA:GPU that do no work themselves.
_NOTHING = frozenset(
    ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call", "conditional", "partition-id",
     "replica-id", "after-all", "iota", "copy-done", "async-done")
    + tuple(kind + end for kind in COLLECTIVES for end in ("", "-start", "-done"))
)  # fmt: skip
_LAYOUT = ("copy", "copy-start", "transpose")
_NAME = re.compile(r'\bop_name="([^"]*)"')
_FRAME = re.compile(r"\bstack_frame_id=(\d+)")
_TABLE = re.compile(r"^(FileNames|FunctionNames|FileLocations|StackFrames)$", re.MULTILINE)
_DIMENSIONS = re.compile(r"\[([\d,]*)\]")
_BATCH = re.compile(r'lhs_batch_dims=\{([\d,]*)\}|"lhs_batch_dimensions":\[([\d",]*)\]')
_GRADIENT = re.compile(r"__cudnn\$convBackward(Filter|Input)")
# Positions of the kernel and the output of cuDNN's convolution and its two gradients, among the operands and, last, the
# result.
_PLACES = {"": (1, -1), "Filter": (-1, 1), "Input": (1, 0)}
_LABELS = re.compile(r"dim_labels=\w+_(\w+)->\w+")


@dataclass(frozen=True)
class Cost:
    """Cost of the instructions of one kind from one function of vidjax, in one of the two passes.

    Attributes:
      where: the innermost function of vidjax that was being traced, such as `nn/norm.py BatchNorm.__call__`.
      kind: "product", "kernel" (a fused attention), "sum" (over an axis), "layout" (the same numbers in another order)
        or "pass" (over memory, element by element).
      backward: whether they belong to gradients, or to a recomputation for these.
      seconds: time of all of them, seconds.
      bytes: size of their inputs and outputs, an upper bound of their memory traffic.
      times: number of instructions that run.
    """

    where: str
    kind: str
    backward: bool
    seconds: float
    bytes: int
    times: int


def costs(text: str, chip: Chip) -> list[Cost]:
    """Costs of a program without its collectives, largest first.

    On TPUs an instruction takes the compiler's cycles, passes over memory no longer than at `REACHED` of its bandwidth,
    and kernels the time by their authors' counts, as in a plan's corrected time. XLA:GPU gives no estimates: there an
    instruction takes its products at the peak or its bytes at `REACHED` of the bandwidth, whichever is longer; no
    algorithm of cuDNN is faster than that.

    Args:
      text: text of the program, `compiled.as_text()`.
      chip: chip for which it was compiled.
    """
    lines, origins = Lines(text), _origins(text)
    sums: dict[tuple[str, str, bool], list[float]] = defaultdict(lambda: [0.0, 0, 0])
    for line in lines:
        if (seconds := _seconds(lines, line, chip)) is None:
            continue
        name, frame = _named(lines, line)
        total = sums[origins.get(frame, "unknown"), _kind(lines, line, name), "transpose(" in name]
        for i, part in enumerate((seconds, line.times * lines.moved(line), line.times)):
            total[i] += part
    found = [Cost(*key, seconds, int(moved), int(times)) for key, (seconds, moved, times) in sums.items()]
    return sorted(found, key=lambda cost: -cost.seconds)


def _seconds(lines: Lines, line: Line, chip: Chip) -> float | None:
    """Time of all runs of an instruction; None if it does not count."""
    if kernel := kernel_of(line):
        return kernel.seconds(chip.peak, chip.bandwidth, chip.launch)
    if chip.flops_per_cycle:
        if line.cycles is None:
            return None
        step = Step(line.cycles, lines.moved(line), lines.multiplies(line), line.times)
        return step.seconds(chip.clock, chip.launch, chip.bandwidth)
    if line.fused or line.op in _NOTHING:
        return None
    return line.times * max(
        _flops(lines, line) / chip.peak, lines.moved(line) / (REACHED * chip.bandwidth), chip.launch
    )


def _flops(lines: Lines, line: Line) -> float:
    """FLOP of the products of an XLA:GPU instruction, including those in a fusion."""
    if line.op == "fusion":
        return sum(_of_products(inner, operands) for inner, operands in lines.inside(line))
    return _of_products(line, lines.operands(line))


def _of_products(line: Line, operands: list[str]) -> float:
    shapes = [_shape(kind) for kind in (*operands, line.result)]
    if "__cudnn$fmha" in line.rest:
        # Two products of the size of the scores, `(B, N, H, d)` × `(B, M, H, d)`, and five for gradients.
        return 2.0 * (5 if "Backward" in line.rest else 2) * math.prod(shapes[0]) * shapes[1][1]
    if "__cudnn$conv" in line.rest or line.op == "convolution":
        gradient = _GRADIENT.search(line.rest)
        kernel, output = (shapes[at] for at in _PLACES[gradient[1] if gradient else ""])
        return 2.0 * math.prod(output) * math.prod(kernel) / kernel[_LABELS.search(line.rest)[1].index("o")]
    if "__cublas" in line.rest or line.op == "dot":
        batch = _BATCH.search(line.rest)
        axes = [int(axis) for axis in re.findall(r"\d+", batch[0].split("=")[-1])] if batch else []
        both = math.prod(shapes[0][axis] for axis in axes)
        return 2.0 * math.sqrt(math.prod(shapes[0]) * math.prod(shapes[1]) * math.prod(shapes[-1]) / both)
    return 0.0


def _shape(kind: str) -> list[int]:
    """Shape of the first array of a type."""
    found = _DIMENSIONS.search(kind)
    return [int(side) for side in found[1].split(",") if side] if found else []


def _named(lines: Lines, line: Line) -> tuple[str, str]:
    """JAX's name of an instruction, and the number of its place in the source; a fusion without them has those of its
    first instruction that has them."""
    inside = (inner.rest for inner, _ in lines.inside(line)) if line.op == "fusion" else ()
    name = frame = ""
    for rest in (line.rest, *inside):
        if found := _NAME.search(rest):
            name = name or found[1]
        if found := _FRAME.search(rest):
            frame = frame or found[1]
        if name and frame:
            break
    return name, frame


def _kind(lines: Lines, line: Line, name: str) -> str:
    if line.op == "custom-call" and ("tpu_custom_call" in line.rest or "__cudnn$fmha" in line.rest):
        return "kernel"
    if lines.multiplies(line) or "__cudnn$conv" in line.rest or "__cublas" in line.rest:
        return "product"
    last = name.rsplit("/", 1)[-1]
    if line.op in _LAYOUT or last in ("transpose", "copy"):
        return "layout"
    return "sum" if last.startswith("reduce_") else "pass"


def _origins(text: str) -> dict[str, str]:
    """Innermost function of vidjax, with its file below `vidjax/`, by the number of a place in the source."""
    parts = _TABLE.split(text)
    tables = {name: body.split("\n\n")[0] for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    if len(tables) < 4:
        return {}
    names = {
        table: dict(re.findall(r'^(\d+) "([^"]*)"$', tables[table], re.MULTILINE))
        for table in ("FileNames", "FunctionNames")
    }
    places = re.findall(r"^(\d+) \{file_name_id=(\d+) function_name_id=(\d+)", tables["FileLocations"], re.MULTILINE)
    files = {
        place: (names["FileNames"].get(file, ""), names["FunctionNames"].get(function, ""))
        for place, file, function in places
    }
    frames = re.findall(r"^(\d+) \{file_location_id=(\d+) parent_frame_id=(\d+)", tables["StackFrames"], re.MULTILINE)
    origins: dict[str, str] = {}
    for frame, place, parent in frames:  # callers come before the functions that they call
        file, function = files.get(place, ("", ""))
        # Numbers of callers are larger by one, so that the outermost, which has none, refers to itself.
        origins[frame] = origins.get(str(int(parent) - 1), "")
        if "/vidjax/" in file:
            origins[frame] = f"{file.rsplit('/vidjax/', 1)[1]} {function}"
    return {frame: origin for frame, origin in origins.items() if origin}
