"""Processes, device mesh and placement of arrays: the only module that handles devices.

The mesh has the axes `data` (the batch is split, parameters are copied), `fsdp` (the batch is split, parameters too)
and `model` (activations and parameters are split).
"""

import contextlib
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from vidjax.config import ConfigError, MeshConfig
from vidjax.errors import UserError
from vidjax.nn import kernel_mesh, token_sharding
from vidjax.nn.target_backend import backend
from vidjax.wording import things

AXES = ("data", "fsdp", "model")
BATCH_AXES = ("data", "fsdp")

logger = logging.getLogger("vidjax")

HOST_MEMORY = "pinned_host"
# Arrays of fewer elements are copied to all devices of the axis fsdp: gathering them costs more than their memory.
LARGE = 2**16
# Kernel of the second of two paired layers: the `model` axis splits its inputs, not its outputs.
_SECOND = re.compile(r"(^|\.)(\w*attn\.proj|fc2|out)\.kernel$")


def make_mesh(data: int = -1, devices: Sequence[Any] | None = None, *, fsdp: int = 1, model: int = 1) -> Mesh:
    """Make a mesh of shape `(data, fsdp, model)` over the first `data · fsdp · model` devices.

    Args:
      data: number of parts of the batch, times `fsdp`; parameters are copied.
      devices: devices to choose from, such as those of another machine to compile for; None: those of all processes.
      fsdp: number of parts of the batch, and of large parameters.
      model: number of parts of the work on one clip.

    One of the three numbers may be -1: all remaining devices.

    Raises:
      ConfigError: if there are fewer devices than asked for, or the numbers do not divide them.
    """
    devices = jax.devices() if devices is None else list(devices)
    sizes = mesh_sizes(len(devices), data, fsdp, model)
    count = math.prod(sizes.values())
    own = Counter(device.process_index for device in devices[:count])
    if len(own) > 1 and any(number % sizes["model"] for number in own.values()):
        raise ConfigError(
            f"config.mesh.model = {sizes['model']} must divide the {min(own.values())} devices of a process, "
            "which loads whole clips"
        )
    # The axis type is named because JAX's default has changed; Auto leaves the layout of activations to the compiler.
    return jax.make_mesh(tuple(sizes.values()), AXES, axis_types=(AxisType.Auto,) * 3, devices=devices[:count])


def mesh_of(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """Make the mesh of a config over `devices`; None: those of all processes. See `make_mesh`."""
    return make_mesh(config.data, devices, fsdp=config.fsdp, model=config.model)


def mesh_sizes(count: int, data: int = -1, fsdp: int = 1, model: int = 1) -> dict[str, int]:
    """Sizes of the mesh axes over the first of `count` devices; see `make_mesh`.

    Raises:
      ConfigError: if there are fewer devices than asked for, or the numbers do not divide them.
    """
    sizes = {"data": data, "fsdp": fsdp, "model": model}
    left = [name for name, size in sizes.items() if size == -1]
    if len(left) > 1:
        raise ConfigError(f"config.mesh: {' and '.join(left)} are both -1; give a number of devices for all but one")
    known = math.prod(size for size in sizes.values() if size != -1)
    asked = " × ".join(f"{name} = {size}" for name, size in sizes.items() if size not in (1, -1))
    if known > count:
        raise ConfigError(f"config.mesh.{asked}, but there are {count} devices; use -1 for all of them")
    if left:
        if count % known:
            raise ConfigError(f"config.mesh.{left[0]} = -1: the {count} devices cannot be split by {asked}")
        sizes[left[0]] = count // known
    return sizes


def mesh_words(mesh: dict[str, int]) -> str:
    """Text form of a mesh: `data 4 × fsdp 2 × model 1`."""
    return " × ".join(f"{axis} {size}" for axis, size in mesh.items())


def replicated(mesh: Mesh) -> NamedSharding:
    """Placement with a whole copy on every device."""
    return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Placement that splits the leading (batch) axis."""
    return NamedSharding(mesh, P(BATCH_AXES))


def batch_shards(mesh: Mesh) -> int:
    """Number of parts into which a batch is split."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def check_batch_size(batch_size: int, mesh: Mesh, name: str) -> None:
    """Check that a global batch can be split evenly over the devices.

    Raises:
      ConfigError: if it cannot; the message names the setting `name`, the devices and batch sizes that work.
    """
    shards = batch_shards(mesh)
    if batch_size % shards:
        below, above = batch_size // shards * shards, -(-batch_size // shards) * shards
        works = f"{below} or {above}" if below else f"{above}"
        raise ConfigError(f"config.{name} = {batch_size} cannot be split evenly over {shards} devices; use {works}")


def parameter_spec(path: str, shape: tuple[int, ...], mesh: Mesh) -> P:
    """Partition of a parameter over the axes `fsdp` and `model`.

    `model` splits the output features of kernels: queries, keys and values of attention, the first layer of an MLP,
    output channels of convolutions, classes of a classifier. The layers that follow these, attention's projection and
    an MLP's second, are split along their inputs, so that the features in between stay in place. Norms, biases,
    tokens and positions are copied. `fsdp` splits the longest remaining axis of arrays of `LARGE` elements or more.
    An axis is split only into equal parts.

    Args:
      path: dotted path of the parameter, as in `models.state`.
      shape: shape of the array.
      mesh: mesh from `make_mesh`.
    """
    axes: list[str | None] = [None] * len(shape)
    if path.endswith("kernel") and len(shape) > 1 and mesh.shape["model"] > 1:
        place = len(shape) - (2 if _SECOND.search(path) else 1)
        if shape[place] % mesh.shape["model"] == 0:
            axes[place] = "model"
    fsdp = mesh.shape["fsdp"]
    if fsdp > 1 and math.prod(shape) >= LARGE:
        whole = [i for i, size in enumerate(shape) if axes[i] is None and size % fsdp == 0]
        if whole:
            axes[max(whole, key=lambda i: (shape[i], i))] = "fsdp"
    while axes and axes[-1] is None:
        axes.pop()
    return P(*axes)


def state_sharding(state: Any, mesh: Mesh, *, offload: bool = False) -> Any:
    """Placement of each array of a training state: optimiser state and moving averages like their parameters.

    Args:
      state: a pytree of arrays or shapes. Arrays that belong to a parameter are in dictionaries, under its path.
      mesh: mesh from `make_mesh`.
      offload: whether the optimiser's arrays (under `opt_state`) are placed in the host's memory.

    Raises:
      ConfigError: with `offload`, if the devices cannot use the host's memory.
    """
    if offload:
        _check_host_memory(mesh)

    def sharding(keys: tuple[Any, ...], x: Any) -> NamedSharding:
        names = [key.key for key in keys if isinstance(key, jax.tree_util.DictKey)]
        spec = parameter_spec(names[-1], x.shape, mesh) if names else P()
        to_host = offload and names and any(getattr(key, "name", None) == "opt_state" for key in keys)
        return NamedSharding(mesh, spec, memory_kind=HOST_MEMORY if to_host else None)

    return jax.tree.map_with_path(sharding, state)


def _check_host_memory(mesh: Mesh) -> None:
    device = mesh.local_devices[0] if mesh.local_devices else mesh.devices.flat[0]
    kinds = sorted(memory.kind for memory in device.addressable_memories())
    if HOST_MEMORY not in kinds:
        raise ConfigError(
            f"config.optimizer.offload: {device.device_kind} has no {HOST_MEMORY} memory usable by its programs "
            f"(it has {', '.join(kinds)}); set it to False, or split the state by config.mesh.fsdp"
        )


def splitting_tokens(mesh: Mesh) -> contextlib.AbstractContextManager[None]:
    """Context in which traced code splits each clip's tokens over `model`, see `nn/token_sharding.py`."""
    return token_sharding.splitting_tokens(NamedSharding(mesh, P(BATCH_AXES, "model")))


def kernels_on(mesh: Mesh) -> contextlib.AbstractContextManager[None]:
    """Context in which traced kernels run on each device's own part, see `nn/kernel_mesh.py`."""
    return kernel_mesh.kernels_on(NamedSharding(mesh, P(BATCH_AXES, "model")))


def left_whole(params: dict[str, Any], mesh: Mesh) -> list[str]:
    """Sorted paths of large parameters not split over the axis `fsdp`, which are also named in a logged warning.

    Args:
      params: arrays or shapes by path.
      mesh: mesh from `make_mesh`.
    """
    if mesh.shape["fsdp"] == 1:
        return []
    whole = sorted(
        path
        for path, x in params.items()
        if math.prod(x.shape) >= LARGE and "fsdp" not in parameter_spec(path, x.shape, mesh)
    )
    if whole:
        logger.warning(
            "config.mesh.fsdp = %d divides no axis of %s: every device holds a copy; choose another number",
            mesh.shape["fsdp"],
            ", ".join(f"{path} {tuple(params[path].shape)}" for path in whole),
        )
    return whole


def place_state(state: Any, mesh: Mesh, *, offload: bool = False) -> Any:
    """Place a training state, equal on every process, by `state_sharding`, in buffers of its own."""

    def put(x: Any, sharding: NamedSharding) -> jax.Array:
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: np.array(host[index]))

    return jax.tree.map(put, state, state_sharding(state, mesh, offload=offload))


def place(tree: Any, sharding: NamedSharding) -> Any:
    """Put this process's part of each array on the devices, as part of one global array.

    Args:
      tree: pytree of NumPy arrays; for a batch, the rows that this process loaded.
      sharding: placement from `batch_sharding` or `replicated` (then each process passes the same whole array).
    """
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree)


def gather(tree: Any) -> Any:
    """Gather each whole array as NumPy, on every process."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, tree)
    from jax.experimental import multihost_utils

    return jax.tree.map(np.asarray, multihost_utils.process_allgather(tree, tiled=True))


def gather_lists(items: list[Any]) -> list[Any]:
    """Concatenate every process's list of JSON values, on every process."""
    if jax.process_count() == 1:
        return items
    from jax.experimental import multihost_utils

    text = np.frombuffer(json.dumps(items).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.int64(len(text)))
    padded = multihost_utils.process_allgather(np.pad(text, (0, int(lengths.max()) - len(text))))
    return [item for row, length in zip(padded, lengths, strict=True) for item in json.loads(row[:length].tobytes())]


def on_writer(call: Callable[[], Any]) -> Any:
    """Run `call` in the one process that writes, and return its result (a JSON value) on every process.

    Raises:
      UserError: on every process, if `call` raised one.
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
    """Wait until every process has reached this point, however long that takes."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def meet(name: str, hours: float = 6.0) -> None:
    """Wait like `barrier`, but without the devices, whose libraries give up on a process half a minute late.

    Raises:
      jax.errors.JaxRuntimeError: if a process has died, or has not arrived after `hours` hours.
    """
    if jax.process_count() > 1:
        from orbax.checkpoint import multihost

        multihost.get_barrier_sync_fn()(key=name, timeout_ms=round(hours * 3_600_000))


def stop_agreed(step: int) -> bool:
    """Whether any of several processes received a request to stop (SIGTERM, preemption), so that all stop after `step`.

    Every process must call this after every step. For a single process it is always False.
    """
    if jax.process_count() == 1:
        return False
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(step)


def is_writer() -> bool:
    """Whether this process writes logs and reports."""
    return jax.process_index() == 0


def compute_dtype(name: str) -> Any:
    """Dtype of activations for `config.model.compute_dtype`; auto is bfloat16 on GPU and TPU, float32 on CPU."""
    if name == "auto":
        name = "float32" if backend() == "cpu" else "bfloat16"
    return {"float32": None, "bfloat16": jax.numpy.bfloat16}[name]


def process_rank() -> tuple[int, int]:
    """Index of this process, and the number of processes."""
    return jax.process_index(), jax.process_count()


def describe(mesh: Mesh) -> str:
    """Describe a mesh in one line: `1 process, 8 × cpu, batch split over 8`."""
    devices = mesh.devices.size
    kind = mesh.devices.flat[0].device_kind
    names = {"fsdp": "parameters", "model": "features"}
    axes = ", ".join(f"{name} over {mesh.shape[axis]}" for axis, name in names.items() if mesh.shape[axis] > 1)
    processes = things(jax.process_count(), "process", "processes")
    text = f"{processes}, {devices} × {kind}, batch split over {batch_shards(mesh)}"
    return f"{text}; {axes}" if axes else text
