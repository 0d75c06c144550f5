"""Model state as flat dictionaries `{dotted path: array}`, for masks, checkpoints and weight mapping.

`split` separates a module into a graph definition (static, hashable), parameters and statistics; `merge` rebuilds it,
also inside `jax.jit`.
"""

import contextlib
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from vidjax.errors import UserError
from vidjax.models.base import LOW_RANK, VideoNetwork
from vidjax.nn.fast_variables import RunningStatistic
from vidjax.parallel import state_sharding

Arrays = dict[str, jax.Array]


def split(model: nnx.Module) -> tuple[nnx.GraphDef, Arrays, Arrays]:
    """Split a model into `(graphdef, params, stats)`: structure, trained arrays and batch statistics.

    Raises:
      ValueError: if the model holds state of another kind, which the message names: random streams belong in the call.
    """
    graphdef, params, stats, rest = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
    if left := sorted(_flat(rest)):
        raise ValueError(f"the model holds state that is neither parameter nor batch statistic: {', '.join(left)}")
    return graphdef, _flat(params), _flat(stats)


def frozen_paths(model: nnx.Module) -> set[str]:
    """Paths of frozen parameters: those that begin with a prefix in a network's attribute `frozen`, and are not of a
    low-rank pair."""
    _, params, stats = split(model)
    prefixes = model.frozen if isinstance(model, VideoNetwork) else ()
    return {path for path in (*params, *stats) if path.startswith(prefixes) and not path.endswith(LOW_RANK)}


def freeze(model: VideoNetwork, parts: Sequence[str]) -> None:
    """Freeze parts of a network, in place, beside those that are frozen already.

    Args:
      model: the network.
      parts: beginnings of paths, whole names between dots, such as "vision" or "head.decoder.layers.0".

    Raises:
      UserError: if there is no such part, or nothing is left to train; the message names parts.
    """
    _, params, _ = split(model)
    for part in parts:
        prefixes = part if part in params else f"{part.rstrip('.')}."
        if not any(path.startswith(prefixes) for path in params):
            tops = dict.fromkeys(path.partition(".")[0] for path in params)
            raise UserError(f"the network has no part {part!r}; its parts are {', '.join(tops)}")
        model.frozen = (*model.frozen, prefixes)
    if not params.keys() - frozen_paths(model):
        raise UserError(f"{', '.join(parts)}: nothing is left to train")


@contextlib.contextmanager
def without_part(model: nnx.Module, part: str) -> Generator[None, None, None]:
    """Context in which a network lacks a part beside its own layers, so that other weights are those of the network.

    Args:
      model: the network; one that has no such part is left as it is.
      part: name of the attribute, None in networks without it.
    """
    kept = getattr(model, part) if isinstance(model, VideoNetwork) else None
    if kept is None:
        yield
        return
    delattr(model, part)
    try:
        yield
    finally:
        setattr(model, part, kept)


def merge(graphdef: nnx.GraphDef, params: Arrays, stats: Arrays) -> nnx.Module:
    """Rebuild a module from the results of `split`, or with other arrays."""
    return nnx.merge(graphdef, _nested(params, nnx.Param), _nested(stats, RunningStatistic))


def in_float32(arrays: Arrays) -> Arrays:
    """Convert arrays to float32, which networks expect; float32 arrays are returned unchanged."""
    return {path: array.astype(jnp.float32) for path, array in arrays.items()}


def like(current: Any, array: np.ndarray) -> jax.Array:
    """An array of the host as one of the type, and in the place, of another.

    Args:
      current: array, or shape; if it is split over several devices, each gets its part alone.
      array: array of that shape, or a view, such as of a file.
    """
    placed = current.sharding
    if placed is None or len(placed.device_set) == 1:
        return jnp.asarray(copied(array, current.dtype))
    return jax.make_array_from_callback(array.shape, placed, lambda part: copied(array[part], current.dtype))


def copied(array: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
    """Copy an array to a type in C order."""
    if array.ndim < 2 or array.flags.c_contiguous:
        return np.array(array, dtype)
    # A transposed array is copied in groups of columns that fill a cache line, up to six times as fast as NumPy's copy,
    # which visits each line again and again.
    copy = np.empty(array.shape, dtype)
    for start in range(0, array.shape[-1], 16):
        copy[..., start : start + 16] = array[..., start : start + 16]
    return copy


def place(model: nnx.Module, dtype: Any = jnp.float32, mesh: Mesh | None = None) -> None:
    """Give a network of shapes the type and the places that its parameters shall have, in place.

    Args:
      model: network whose arrays are shapes, from `abstract_model`.
      dtype: type of the parameters; statistics are float32.
      mesh: mesh from `parallel.make_mesh`, over which parameters are split by its rules; None: the default device.
    """
    _, params, stats = split(model)
    places = {} if mesh is None else state_sharding({**params, **stats}, mesh)
    types = {**dict.fromkeys(params, dtype), **dict.fromkeys(stats, jnp.float32)}
    assign(
        model,
        {
            path: jax.ShapeDtypeStruct(x.shape, types[path], sharding=places.get(path))
            for path, x in {**params, **stats}.items()
        },
    )


def assign(model: nnx.Module, arrays: Mapping[str, Any]) -> None:
    """Set parameters and statistics, arrays or their shapes, in place; every path must exist with that shape."""
    _, params, stats = split(model)
    for path, array in arrays.items():
        target = params if path in params else stats
        if target[path].shape != array.shape:
            raise ValueError(f"{path}: the model has shape {target[path].shape}, not {array.shape}")
        target[path] = array
    nnx.update(model, _nested(params, nnx.Param), _nested(stats, RunningStatistic))


def _flat(state: nnx.State) -> Arrays:
    return {".".join(map(str, path)): variable.get_value() for path, variable in nnx.to_flat_state(state)}


def _nested(arrays: Arrays, kind: type[nnx.Variable]) -> nnx.State:
    def key(part: str) -> str | int:
        return int(part) if part.isdigit() else part

    return nnx.from_flat_state([(tuple(map(key, path.split("."))), kind(array)) for path, array in arrays.items()])
