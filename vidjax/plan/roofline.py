"""Roofline cost of a traced computation, kernel by kernel, from counts only, without the device's compiler.

XLA fuses element-wise operations into the kernels that need their results. So here only products, convolutions,
reductions and a few more read and write memory; each takes as long as its arithmetic at the peak, or its traffic at
the bandwidth, whichever is longer, and at least the time to start it. Arrays live from the kernel that writes them to
their last reader, in the order of the trace. No compiler gets below that, and a good one comes near.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vidjax.models.cost import inner_jaxprs, product_depth
from vidjax.nn.attention import FUSABLE
from vidjax.plan.chips import Chip

_CALLS = ("pjit", "jit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat2")
# Operations that only change the shape of an array.
_VIEWS = ("reshape", "squeeze", "expand_dims", "transpose", "copy", "copy_p", "optimization_barrier",
          "sharding_constraint", "name")  # fmt: skip
_PARTS = ("slice", "dynamic_slice")
_LOOPS = ("scan", "while", "cond")
_PRODUCTS = ("dot_general", "conv_general_dilated")
# Kernels that fuse the computation of their inputs; all others read their inputs from memory.
_REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "argmax", "argmin")
_KERNELS = frozenset(
    _LOOPS + _PRODUCTS + _REDUCTIONS
    + ("gather", "scatter", "scatter-add", "sort", "top_k", "cumsum", "cumprod", "cummax", "reduce_window",
       "reduce_window_max", "reduce_window_sum", "select_and_scatter_add", "select_and_gather_add", "random_bits")
)  # fmt: skip
_MANY = 8  # a value computed from more arrays than this and used more than once is written rather than recomputed


@dataclass
class Roofline:
    """Cost of one run on one device.

    Attributes:
      flops: FLOP of products and convolutions, including recomputation.
      bytes: bytes read from and written to memory.
      seconds: time of all kernels, each at the peak or at the bandwidth, seconds.
      peak: most bytes alive at once, without arguments and results.
      kernels: number of kernels.
    """

    flops: float = 0.0
    bytes: float = 0.0
    seconds: float = 0.0
    peak: float = 0.0
    kernels: int = 0


@dataclass(eq=False)
class _Value:
    """An array of `size` bytes; `reads`: the arrays in memory from which it is computed, and the bytes read of each."""

    size: float
    uses: int = 1
    reads: dict["_Value", float] = field(default_factory=dict)
    stored: bool = False
    held: bool = False  # alive for the whole run: an argument or a result
    first: int = 0  # the kernels that write it and read it last
    last: int = 0


def roofline(jaxpr: Any, chip: Chip, *, fused_attention: bool) -> Roofline:
    """Roofline cost of a computation on one chip.

    Args:
      jaxpr: traced computation of one device's share, such as `jax.jit(f).trace(…).jaxpr`.
      chip: chip with the peak, halved for products of float32 (TF32), and the bandwidth.
      fused_attention: whether the scores of an attention suited to a fused kernel stay on the chip.
    """
    return _Walk(chip, fused_attention).run(getattr(jaxpr, "jaxpr", jaxpr))


class _Walk:
    def __init__(self, chip: Chip, fused_attention: bool):
        self._chip, self._fused = chip, fused_attention
        self._total = Roofline()
        self._kernels = 0
        self._written: list[_Value] = []
        self._inner: dict[int, float] = {}  # kernel → bytes of its temporaries

    def run(self, jaxpr: Any) -> Roofline:
        arguments = [_stored(_bytes(var), held=True) for var in jaxpr.invars]
        made = self._interpret(jaxpr, arguments, [1] * len(jaxpr.outvars))
        results = [value for value in made if value is not None]
        # The optimiser's update of all parameters is one pass over memory.
        computed = list(dict.fromkeys(value for value in results if not value.stored))
        if computed:
            self._kernel(computed, computed)
        for value in results:
            value.held = True
        self._total.peak = self._peak()
        return self._total

    def _interpret(self, jaxpr: Any, arguments: Sequence[_Value | None], used: Sequence[int]) -> list[_Value | None]:
        """Walk through `jaxpr` and return the values of its results, None for constants; `used`: their numbers of
        uses."""
        values: dict[Any, _Value | None] = dict(zip(jaxpr.invars, arguments, strict=True))
        values |= {var: _stored(_bytes(var), held=True) for var in jaxpr.constvars}
        uses = _uses(jaxpr, used)

        def look(var: Any) -> _Value | None:
            return None if hasattr(var, "val") else values.get(var)

        for eqn in jaxpr.eqns:
            read = [look(var) for var in eqn.invars]
            if (body := _called(eqn)) is not None:
                later = [uses[id(var)] for var in eqn.outvars]
                made = self._interpret(body, read[len(read) - len(body.invars) :], later)
            else:
                made = self._equation(eqn, [value for value in read if value is not None], uses)
            values.update(zip(eqn.outvars, made, strict=True))
        return [look(var) for var in jaxpr.outvars]

    def _equation(self, eqn: Any, read: list[_Value], uses: Counter[int]) -> list[_Value]:
        name = eqn.primitive.name
        if name in _VIEWS and len(read) == len(eqn.outvars):
            for value, var in zip(read, eqn.outvars, strict=True):
                value.uses += uses[id(var)] - 1
            return read
        made = [_Value(_bytes(var), uses[id(var)]) for var in eqn.outvars]
        if name not in _KERNELS:
            for value in made:
                value.reads = _union(read)
                if name in _PARTS:
                    value.reads = {source: min(size, value.size) for source, size in value.reads.items()}
                if len(value.reads) > _MANY and value.uses > 1:
                    self._kernel([value], [value])
            return made
        if self._fused and FUSABLE in str(eqn.source_info.name_stack):
            for value in made:
                value.reads = _union(read)
            self._spend(0.0, *self._flops(eqn))
            return made
        for value in read:
            computed_again = name in _REDUCTIONS and (value.uses == 1 or _sum(value) <= 1.5 * value.size)
            if not value.stored and not computed_again:
                self._kernel([value], [value])
        if name in _LOOPS:
            self._loop(eqn, read, made)
        else:
            self._kernel(read, made, *self._flops(eqn))
        return made

    def _flops(self, eqn: Any) -> tuple[float, float]:
        """FLOP of a product, and the peak for its type."""
        if eqn.primitive.name not in _PRODUCTS:
            return 0.0, self._chip.peak
        wide = all(np.dtype(var.aval.dtype).itemsize >= 4 for var in eqn.invars[:2])
        # Zeros inserted into an input (the gradient of a stride) are not multiplied.
        spread = math.prod(eqn.params.get("lhs_dilation") or ())
        flops = 2.0 * math.prod(eqn.outvars[0].aval.shape) * product_depth(eqn) / spread
        return flops, self._chip.peak / (2 if wide else 1)

    def _loop(self, eqn: Any, read: list[_Value], made: list[_Value]) -> None:
        """Add a loop, its body once per iteration (once if the number is unknown), or the longest branch."""
        bodies = [_Walk(self._chip, self._fused).run(body) for body in inner_jaxprs(eqn)]
        longest = max(bodies, key=lambda body: body.seconds)
        times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        self._total.flops += times * longest.flops
        self._total.bytes += times * longest.bytes
        self._total.seconds += times * longest.seconds
        self._total.kernels += times * longest.kernels
        self._mark(_union(read), made)
        self._inner[self._kernels] = longest.peak

    def _kernel(self, read: Iterable[_Value], made: Sequence[_Value], flops: float = 0.0, peak: float = 1.0) -> None:
        """Add a kernel that reads its inputs from memory and writes its results to it."""
        sources = _union(read)
        self._spend(sum(sources.values()) + sum(value.size for value in made), flops, peak)
        self._mark(sources, made)

    def _spend(self, moved: float, flops: float, peak: float) -> None:
        self._total.flops += flops
        self._total.bytes += moved
        self._total.seconds += max(flops / peak, moved / self._chip.bandwidth, self._chip.launch)
        self._total.kernels += 1

    def _mark(self, sources: dict[_Value, float], made: Sequence[_Value]) -> None:
        self._kernels += 1
        for value in sources:
            value.last = self._kernels
        for value in made:
            value.first = value.last = self._kernels
            value.stored, value.reads = True, {value: value.size}
            self._written.append(value)

    def _peak(self) -> float:
        changes: Counter[int] = Counter()
        for value in self._written:
            if not value.held:
                changes[value.first] += value.size
                changes[value.last + 1] -= value.size
        alive = most = 0.0
        for at in sorted({*changes, *self._inner}):
            alive += changes[at]
            most = max(most, alive + self._inner.get(at, 0.0))
        return most


def _called(eqn: Any) -> Any:
    """The jaxpr that `eqn` calls; None if it is not a call."""
    return next(iter(inner_jaxprs(eqn)), None) if eqn.primitive.name in _CALLS else None


def _uses(jaxpr: Any, used: Sequence[int]) -> Counter[int]:
    """Number of uses of each variable, by its id; calls count as if their bodies were inlined."""
    uses: Counter[int] = Counter()
    for var, count in zip(jaxpr.outvars, used, strict=True):
        uses[id(var)] += count
    for eqn in reversed(jaxpr.eqns):
        body = _called(eqn)
        if body is None:
            uses.update(id(var) for var in eqn.invars)
            continue
        inside = _uses(body, [uses[id(var)] for var in eqn.outvars])
        for var, inner in zip(eqn.invars[len(eqn.invars) - len(body.invars) :], body.invars, strict=True):
            uses[id(var)] += inside[id(inner)]
    return uses


def _stored(size: float, held: bool) -> _Value:
    value = _Value(size, stored=True, held=held)
    value.reads = {value: size}
    return value


def _union(values: Iterable[_Value]) -> dict[_Value, float]:
    """The arrays in memory behind `values`, each read once."""
    union: dict[_Value, float] = {}
    for value in values:
        for source, size in value.reads.items():
            union[source] = max(size, union.get(source, 0.0))
    return union


def _sum(value: _Value) -> float:
    return sum(value.reads.values())


def _bytes(var: Any) -> float:
    aval = var.aval
    try:
        itemsize = np.dtype(aval.dtype).itemsize
    except TypeError:  # keys of random numbers
        itemsize = 8
    return float(itemsize * math.prod(getattr(aval, "shape", ())))
