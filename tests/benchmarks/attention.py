"""What attention costs, divided between time and space against all at once: time and memory, forward and backward.

    python -m tests.benchmarks.attention [--batch 1] [--repeats 5] [--dtype float32] [--topology v5e:2x2]

At the width of a base model, 768 features in 12 heads, and 8 × 14 × 14 tokens. *Attention* is the attention alone,
queries, keys and values given: joint, or over time and over space, which is all that TimeSformer's divided block does
in its place. *Layers* are those around it too: divided has norm and projections twice, and a dense layer more.

*Joint* is what this library does on the backend at hand: on a CPU one head after the other, recomputed in the backward
pass, on TPUs and NVIDIA GPUs a fused kernel. *At once* holds the scores of all heads in memory. Times are
processor time on a CPU, so that other work on the machine matters little, else wall-clock time; medians, the rivals
taking turns in one process. Memory is the temporaries of the compiled program, without what its kernels take for
themselves. With a topology nothing runs: it is the memory on one chip of such a TPU (the extra `tpu`).
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from rich.console import Console
from rich.table import Table

from vidjax.models.families.timesformer import EarlierStep
from vidjax.models.state import merge, split
from vidjax.nn.attention import SelfAttention
from vidjax.nn.attention_patterns import joint_attention, pattern, space_attention, time_attention
from vidjax.nn.target_backend import targeting
from vidjax.plan.chips import tpu_devices

GRID, DIM, HEADS = (8, 14, 14), 768, 12
TOKENS = int(np.prod(GRID))
KINDS = ("divided", "joint", "at once")
RATIOS = ("time: divided ÷ joint, at once", "memory: divided ÷ joint, at once")

Call = Callable[..., jax.Array]


def attention_alone(kind: str) -> Call:
    """A function of queries, keys and values `(B, N, heads, d)`."""
    if kind != "divided":
        return lambda q, k, v: joint_attention(q, k, v, grid=GRID)

    def divided(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return time_attention(q, k, v, grid=GRID) + space_attention(q, k, v, grid=GRID)

    return divided


class Layers(nnx.Module):
    """The attention of a TimeSformer block: a residual branch over time, if divided, and one over space or all."""

    def __init__(self, kind: str, dtype: Any, rngs: nnx.Rngs):
        self.kind = "space" if kind == "divided" else "joint"
        self.earlier = nnx.data(EarlierStep(DIM, HEADS, dtype=dtype, rngs=rngs) if kind == "divided" else None)
        self.norm = nnx.LayerNorm(DIM, dtype=dtype, rngs=rngs)
        self.attn = SelfAttention(DIM, HEADS, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.earlier is not None:
            x = x + self.earlier(x, "time", GRID)
        return x + self.attn(self.norm(x), attend=pattern(self.kind, GRID))


def cases(batch: int, dtype: Any) -> dict[tuple[str, str], tuple[Call, tuple[Any, ...]]]:
    """`{(what, kind): (function, arguments)}`."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> jax.Array:
        return jnp.asarray(rng.standard_normal((batch, TOKENS, *shape)), dtype)

    made: dict[tuple[str, str], tuple[Call, tuple[Any, ...]]] = {}
    qkv, x = tuple(draw(HEADS, DIM // HEADS) for _ in range(3)), draw(DIM)
    for kind in KINDS:
        made["attention", kind] = attention_alone(kind), qkv
        graphdef, params, _ = split(Layers(kind, dtype, nnx.Rngs(0)))
        # The branch over time starts as nothing, whose gradients a compiler may leave out.
        params = {path: p + 0.01 * jnp.ones_like(p) for path, p in params.items()}
        made["layers", kind] = (lambda p, x, graphdef=graphdef: merge(graphdef, p, {})(x)), (params, x)
    return made


def compiled(call: Call, arguments: tuple[Any, ...], backward: bool, kind: str) -> Any:
    """`call`, or its gradients by all its arguments."""
    function = jax.grad(lambda *a: jnp.square(call(*a)).sum(), argnums=range(len(arguments))) if backward else call
    device = next(iter(jax.tree.leaves(arguments)[0].sharding.device_set))
    here = ("tpu", device) if device.platform == "tpu" else (None,)
    # For a GPU of which nothing is known, attention neither goes by heads nor uses a kernel.
    with targeting(*(("gpu",) if kind == "at once" else here)):
        return jax.jit(function).lower(*arguments).compile()


def shapes_on(device: Any, arguments: Any) -> Any:
    """Arguments as shapes that lie on a device of another machine."""
    place = jax.sharding.SingleDeviceSharding(device)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), arguments)


def timed(programs: dict[str, tuple[Any, tuple[Any, ...]]], repeats: int) -> list[float]:
    """Milliseconds of each program, which take turns."""
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    times: dict[str, list[float]] = {kind: [] for kind in programs}
    for turn in range(repeats + 1):
        for kind, (program, arguments) in programs.items():
            started = clock()
            jax.block_until_ready(program(*arguments))
            if turn:  # the first one warms up
                times[kind].append(clock() - started)
    return [1e3 * float(np.median(x)) for x in times.values()]


def ratio(a: float, b: float) -> str:
    """`a / b`, or a dash where there is none: kernels may need no memory."""
    return f"{a / b:.2f}" if b else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--topology", default="")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    args = parser.parse_args()
    made = cases(args.batch, jnp.dtype(args.dtype))
    device = tpu_devices(args.topology)[0] if args.topology else jax.devices()[0]
    if args.topology:
        made = {key: (call, shapes_on(device, arguments)) for key, (call, arguments) in made.items()}
    table = Table("", "", *(f"{kind} {unit}" for unit in ("ms", "MiB") for kind in KINDS), *RATIOS)
    for what in ("attention", "layers"):
        for backward in (False, True):
            programs = {kind: compiled(*made[what, kind], backward, kind) for kind in KINDS}
            mib = [programs[kind].memory_analysis().temp_size_in_bytes / 2**20 for kind in KINDS]
            ms = [float("nan")] * len(KINDS)
            if not args.topology:
                ms = timed({kind: (program, made[what, kind][1]) for kind, program in programs.items()}, args.repeats)
            ratios = [f"{ratio(x[0], x[1])}, {ratio(x[0], x[2])}" for x in (ms, mib)]
            name = "forward + backward" if backward else "forward"
            row = (what, name, *(f"{x:.0f}" for x in (*ms, *mib)), *ratios)
            table.add_row(*(cell.replace("nan", "–") for cell in row))
    Console(width=160).print(f"{device.device_kind}, {args.dtype}, batch {args.batch}", table)


if __name__ == "__main__":
    main()
