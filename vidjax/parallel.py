"""Processes, mesh and placement: the only file that knows about devices.

The mesh has the axes `data` (the batch is split, parameters are copied), `fsdp` (the batch is split, parameters too)
and `model` (activations and parameters are split).
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from vidjax.config import ConfigError
from vidjax.errors import UserError
from vidjax.nn.backend import backend

AXES = ("data", "fsdp", "model")
BATCH_AXES = ("data", "fsdp")


def make_mesh(data: int = -1, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh, shape `(data, 1, 1)`.

    Args:
      data: devices that the batch is split over; -1: all of them.
      devices: of another machine, to compile for; None: those of all processes.

    Raises:
      ConfigError: if there are fewer devices than asked for.
    """
    devices = jax.devices() if devices is None else list(devices)
    data = len(devices) if data == -1 else data
    if data > len(devices):
        raise ConfigError(f"config.mesh.data = {data}, but there are {len(devices)} devices; use -1 for all of them")
    # The axis type is named because JAX's default has changed; Auto leaves the layout of activations to the compiler.
    return jax.make_mesh((data, 1, 1), AXES, axis_types=(AxisType.Auto,) * 3, devices=devices[:data])


def replicated(mesh: Mesh) -> NamedSharding:
    """The placement that gives every device a whole copy."""
    return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The placement that splits the leading (batch) axis."""
    return NamedSharding(mesh, P(BATCH_AXES))


def batch_shards(mesh: Mesh) -> int:
    """How many parts a batch is split into."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def check_batch_size(batch_size: int, mesh: Mesh, name: str) -> None:
    """Refuse a global batch that cannot be split evenly.

    Raises:
      ConfigError: naming the setting `name`, the devices, and batch sizes that work.
    """
    shards = batch_shards(mesh)
    if batch_size % shards:
        below, above = batch_size // shards * shards, -(-batch_size // shards) * shards
        works = f"{below} or {above}" if below else f"{above}"
        raise ConfigError(
            f"config.{name} = {batch_size} cannot be split evenly over {shards} devices; {works} would do"
        )


def place(tree: Any, sharding: NamedSharding) -> Any:
    """This process's part of each array, put on the devices as one global array.

    Args:
      tree: NumPy arrays; for a batch, the rows that this process loaded.
      sharding: from `batch_sharding` or `replicated` (then each process passes the same whole array).
    """
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree)


def gather(tree: Any) -> Any:
    """The whole of each array as NumPy, on every process."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, tree)
    from jax.experimental import multihost_utils

    return jax.tree.map(np.asarray, multihost_utils.process_allgather(tree, tiled=True))


def gather_lists(items: list[Any]) -> list[Any]:
    """The concatenation of every process's list of JSON values, on every process."""
    if jax.process_count() == 1:
        return items
    from jax.experimental import multihost_utils

    text = np.frombuffer(json.dumps(items).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.int64(len(text)))
    padded = multihost_utils.process_allgather(np.pad(text, (0, int(lengths.max()) - len(text))))
    return [item for row, length in zip(padded, lengths, strict=True) for item in json.loads(row[:length].tobytes())]


def on_writer(call: Callable[[], Any]) -> Any:
    """What `call` returns (a JSON value) in the one process that writes, on every process; the others wait for it.

    Raises:
      UserError: what `call` raised there, on every process.
    """
    if jax.process_count() == 1:
        return call()
    answer, failure = [], None
    if is_writer():
        try:
            answer = [[call(), ""]]
        except UserError as error:
            answer, failure = [[None, str(error)]], error
    ((value, message),) = gather_lists(answer)
    if message:
        raise failure or UserError(message)
    return value


def barrier(name: str) -> None:
    """Return once every process has come here, however long that takes."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def stop_agreed(step: int) -> bool:
    """Whether one of several processes has been told to stop (SIGTERM, preemption), and all are to do so after `step`.

    To be called by every process after every step. A single process is never told by this.
    """
    if jax.process_count() == 1:
        return False
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(step)


def is_writer() -> bool:
    """Whether this is the one process that writes logs and reports."""
    return jax.process_index() == 0


def compute_dtype(name: str) -> Any:
    """The dtype of activations for `config.model.compute_dtype`: auto is bfloat16 on GPU and TPU, float32 on CPU."""
    if name == "auto":
        name = "float32" if backend() == "cpu" else "bfloat16"
    return {"float32": None, "bfloat16": jax.numpy.bfloat16}[name]


def process_rank() -> tuple[int, int]:
    """(index, count) of this process."""
    return jax.process_index(), jax.process_count()


def describe(mesh: Mesh) -> str:
    """One line for people: `1 process, 8 × cpu, batch split over 8`."""
    devices = mesh.devices.size
    kind = mesh.devices.flat[0].device_kind
    return f"{jax.process_count()} process(es), {devices} × {kind}, batch split over {batch_shards(mesh)}"
