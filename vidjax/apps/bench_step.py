"""Benchmark of an experiment's training step on the devices at hand, without data, and its share of their peak."""

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from rich.console import Console
from rich.table import Table

from vidjax import config as cfg
from vidjax import parallel
from vidjax.config.files import read_config
from vidjax.config.validate import validate
from vidjax.errors import UserError
from vidjax.models.build import build_model
from vidjax.models.registry import get_spec
from vidjax.plan.estimates import DataFacts, data_facts, make_program, memory_of, model_macs, without_cache
from vidjax.plan.measured import beside_plan, show_beside_plan
from vidjax.progress import progress_bar
from vidjax.training.compiled_step import Program
from vidjax.training.step import TrainState, init_state

_WARM_UP = 3  # updates that do not count
# Side of the square matrices whose products measure the peak, and number of consecutive products.
_SIDE = {"cpu": (1024, 4), "gpu": (8192, 16), "tpu": (8192, 16)}
_REPEATS = 5  # of which the fastest counts


@dataclass(frozen=True)
class _Compiled:
    step: Any
    trace_seconds: float
    compile_seconds: float


def bench_step(
    argv: Sequence[str], *, updates: int = 20, num_classes: int = 0, data: bool = False, as_json: bool = False
) -> int:
    """Measure the update of a config on this machine's devices, and print its speed and share of the peak.

    The update is that of training, on random clips on the devices; as in training, each is started before the
    previous one has ended. The peak is the speed of bfloat16 products if the update computes in bfloat16, or else of
    float32 ones, of 8192 × 8192 matrices (CPU: 1024 × 1024) on all devices of the mesh at once. The model's FLOP do not
    include recomputation, so that "mfu" means the same as in a plan. The prediction of `vidjax plan` is shown beside
    the measurement if it knows the devices; the program is not compiled again for that.

    Args:
      argv: `--config=FILE` and `--config.field=value`, as for train.py.
      updates: number of updates to time.
      num_classes: K, number of classes; 0: the data set's, or else the model's.
      data: also run the config's input pipeline before the step, and measure how long the step waits for it.
      as_json: print JSON instead of a table.

    Returns:
      0, the exit status.

    Raises:
      ConfigError: if settings cannot be used on these devices.
    """
    config = validate(read_config(argv))
    console = Console(stderr=True)
    source = _open(config) if data else "--data was not given"
    facts = _facts(config, num_classes, source)
    program = make_program(config, facts, None)
    with console.status("compiling"):
        compiled = _compile(program)
        state = _initial_state(config, program, facts.num_classes)
        batch = _random_batch(program)
    with progress_bar(console) as bar:
        task = bar.add_task("updates", total=_WARM_UP + updates, info="")
        times: list[tuple[float, float]] = []
        for seconds, host, done in _timed(compiled.step, state, batch, _WARM_UP + updates):
            times.append((seconds, host))
            state = done
            bar.advance(task)
    memory = _memory(compiled.step)
    waited = (
        {"reason": source} if isinstance(source, str) else _with_data(program, compiled.step, state, source, updates)
    )
    with console.status("measuring the peak"):
        peak = matmul_peak(program.mesh, config)
    result = _result(config, program, compiled, times[_WARM_UP:], memory, waited, peak)
    if parallel.is_writer():
        with console.status("asking plan"):
            result["plan"] = beside_plan(_kind(program), program, compiled.step, facts, result)
        if as_json:
            print(json.dumps(result, indent=2))
        else:
            _show(result, Console())
            show_beside_plan(result["plan"], Console())
    return 0


def _open(config: cfg.Config) -> Any:
    """The training videos of the config, or the reason why they cannot be opened."""
    try:
        from vidjax.tasks.videos import load_videos
    except ImportError as error:
        return f"{error.name} is not installed"
    try:
        return load_videos(config)[0]
    except (UserError, OSError) as error:
        return str(error)


def _facts(config: cfg.Config, num_classes: int, source: Any) -> DataFacts:
    """Facts of the data. The number of videos only sets the length of the schedule, not the cost of an update."""
    if not isinstance(source, str):
        if num_classes not in (0, len(source.labels.names)):
            raise cfg.ConfigError(
                f"--num-classes={num_classes}: with --data it is that of the data, {len(source.labels.names)}"
            )
        return DataFacts(len(source.labels.names), len(source), source.labels.several)
    try:
        return data_facts(config, num_classes, config.train.batch_size)
    except ImportError:  # no video library; machines with accelerators need not have one
        return DataFacts(num_classes or get_spec(config.model.name).num_classes, config.train.batch_size, False)


def _compile(program: Program) -> _Compiled:
    with without_cache():  # since the compile time is measured
        began = time.perf_counter()
        lowered = program.lower()
        traced = time.perf_counter()
        step = lowered.compile()
    return _Compiled(step, traced - began, time.perf_counter() - traced)


def _initial_state(config: cfg.Config, program: Program, num_classes: int) -> TrainState:
    dtype = parallel.compute_dtype(config.model.compute_dtype)
    model = build_model(config, num_classes, dtype=dtype, head=program.task.head)
    state = init_state(
        model,
        program.optimizer,
        ema=config.train.ema_decay > 0,
        param_dtype=config.model.param_dtype,
        sums=program.task.objective.sums,
    )
    return parallel.place_state(state, program.mesh, offload=config.optimizer.offload)


def _random_batch(program: Program) -> dict[str, Any]:
    """Random inputs and targets in the program's layout, generated on the devices."""
    fields = {"inputs": program.layout.inputs, "targets": program.layout.targets}

    def fill(key: jax.Array, shape: jax.ShapeDtypeStruct, below: int) -> jax.Array:
        if jnp.issubdtype(shape.dtype, jnp.floating):
            return jax.random.bernoulli(key, 0.5, shape.shape).astype(shape.dtype)
        if shape.dtype == jnp.uint8:
            return jax.random.bits(key, shape.shape, jnp.uint8)
        return jax.random.randint(key, shape.shape, 0, below or 2).astype(shape.dtype)

    def draw(key: jax.Array) -> dict[str, Any]:
        keys = iter(jax.random.split(key, sum(map(len, program.batch.values()))))
        return {
            group: {name: fill(next(keys), shape, fields[group][name].below) for name, shape in arrays.items()}
            for group, arrays in program.batch.items()
        }

    placement = jax.tree.map(lambda x: x.sharding, program.batch)
    return jax.jit(draw, out_shardings=placement)(jax.random.key(program.config.seed))


def _kind(program: Program) -> str:
    """The name of the devices."""
    return program.mesh.devices.flat[0].device_kind


def _timed(
    step: Any, state: TrainState, batch: dict[str, Any], updates: int
) -> Iterator[tuple[float, float, TrainState]]:
    """Yield for each update the seconds from the end of the previous one to its end, the seconds until the call that
    started it returned, and the state after it."""
    running: Any = None
    began = time.perf_counter()
    for _ in range(updates):
        called = time.perf_counter()
        state, done = step(state, batch)
        host = time.perf_counter() - called
        if running is not None:
            jax.block_until_ready(running)
            now = time.perf_counter()
            yield now - began, host, state
            began = now
        running = done
    jax.block_until_ready(running)
    yield time.perf_counter() - began, host, state


def _memory(step: Any) -> dict[str, Any]:
    """Peak memory of the fullest device, bytes, as reported by its allocator or else by the compiler."""
    known = [(device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in jax.local_devices()]
    if most := max(known):
        return {"total": most, "source": "allocator"}
    return memory_of(step) | {"source": "compiler"}


def _with_data(program: Program, step: Any, state: TrainState, videos: Any, updates: int) -> dict[str, Any]:
    """Clips per second with the input pipeline before the step, and seconds per update that the step waits for it."""
    from vidjax.data.pipeline import train_batches
    from vidjax.data.reading.examples import ExampleReader
    from vidjax.training.device_prefetch import Feed
    from vidjax.training.tokenizers import with_tokenizer

    config = program.config
    batches = train_batches(
        videos,
        ExampleReader(with_tokenizer(program.spec, config, videos), config.data),
        program.task.targets,
        batch_size=config.train.batch_size,
        seed=config.seed,
        balance=program.task.balance,
        process=parallel.process_rank(),
    )
    feed = Feed(batches, parallel.batch_sharding(program.mesh), _WARM_UP + updates)
    began = time.perf_counter()
    for done in range(_WARM_UP + updates):
        if done == _WARM_UP:
            began, feed.waited = time.perf_counter(), 0.0
        state, signal = step(state, feed.take().arrays)
        feed.advance(signal)
    jax.block_until_ready(state)
    took = time.perf_counter() - began
    batches.close()
    return {"clips_per_s": updates * program.clips / took, "wait": feed.waited / updates, "share": feed.waited / took}


def matmul_peak(mesh: Mesh, config: cfg.Config) -> float:
    """Measure the FLOP/s of all devices of `mesh` together in products of square matrices, in the config's dtype.

    The fastest of several runs counts.
    """
    dtype = parallel.compute_dtype(config.model.compute_dtype) or jnp.float32
    side, count = _SIDE.get(jax.default_backend(), _SIDE["gpu"])
    devices = mesh.devices.size
    placement = NamedSharding(mesh, P(parallel.AXES))

    def draw(key: jax.Array) -> jax.Array:
        # Scaled so that the products' entries neither grow nor vanish.
        return jax.random.normal(key, (devices, side, side), dtype) / np.sqrt(side).astype(dtype)

    def chain(x: jax.Array) -> jax.Array:
        y = x
        for _ in range(count):
            y = jnp.einsum("dij,djk->dik", y, x)
        return y

    x = jax.jit(draw, out_shardings=placement)(jax.random.key(0))
    run = jax.jit(chain, out_shardings=placement).lower(x).compile()
    jax.block_until_ready(run(x))
    fastest = np.inf
    for _ in range(_REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(run(x))
        fastest = min(fastest, time.perf_counter() - began)
    return 2.0 * devices * count * side**3 / fastest


def _result(
    config: cfg.Config,
    program: Program,
    compiled: _Compiled,
    times: list[tuple[float, float]],
    memory: dict[str, Any],
    waited: dict[str, Any],
    peak: float,
) -> dict[str, Any]:
    devices, (whole, host) = program.mesh.devices.size, zip(*times, strict=True)
    step = statistics.median(whole)
    flops = 2.0 * model_macs(program) * program.clips
    return {
        "target": f"{_kind(program)}:{devices}",
        "chips": devices,
        "model": config.model.name,
        "mesh": dict(program.mesh.shape),
        "remat": config.model.remat,
        "batch_size": config.train.batch_size,
        "clips_per_update": program.clips,
        "memory": memory,
        "compiled_memory": memory_of(compiled.step),
        "model_flops": flops / devices,
        "seconds": {
            "step": step,
            "fastest": min(whole),
            "slowest": max(whole),
            "host": statistics.median(host),
            "trace": compiled.trace_seconds,
            "compile": compiled.compile_seconds,
        },
        "updates": len(times),
        "clips_per_s": program.clips / step,
        "matmul_flops": peak,
        "mfu": flops / step / peak,
        "data": waited,
    }


def _show(result: dict[str, Any], console: Console) -> None:
    seconds, memory, data = result["seconds"], result["memory"], result["data"]
    parts = {name: size for name, size in result["compiled_memory"].items() if name != "total"}
    waiting = [("waiting for data", f"not measured: {data.get('reason')}")]
    if "reason" not in data:
        waiting = [
            ("waiting for data", f"{1e3 * data['wait']:.1f} ms per update, {100 * data['share']:.1f} %"),
            ("clips/s with the input", f"{data['clips_per_s']:.1f}"),
        ]
    table = Table("", "", title=f"{result['model']} on {result['target']}: measured", show_header=False)
    for row in (
        ("mesh", parallel.mesh_words(result["mesh"])),
        ("batch", f"{result['batch_size']} videos, {result['clips_per_update']} clips"),
        ("memory per device", f"{memory['total'] / 2**30:.2f} GiB at most, by the {memory['source']}"),
        *((f"of the program: {name}", f"{size / 2**30:.2f} GiB") for name, size in parts.items()),
        ("model's FLOP per device and step", f"{result['model_flops']:.4g} (counted; what MFU means)"),
        ("trace, compile", f"{seconds['trace']:.1f} s, {seconds['compile']:.1f} s"),
        ("step", f"{1e3 * seconds['step']:.1f} ms, median of {result['updates']} "
                 f"({1e3 * seconds['fastest']:.1f} to {1e3 * seconds['slowest']:.1f})"),
        ("Python, to start a step", f"{1e3 * seconds['host']:.2f} ms, {100 * seconds['host'] / seconds['step']:.0f} % "
                                    "of that"),
        ("clips/s", f"{result['clips_per_s']:.1f}"),
        ("products of matrices", f"{result['matmul_flops'] / 1e12:.3g} TFLOP/s, all devices together"),
        ("MFU", f"{100 * result['mfu']:.1f} % of that"),
        *waiting,
    ):  # fmt: skip
        table.add_row(*row)
    console.print(table)
