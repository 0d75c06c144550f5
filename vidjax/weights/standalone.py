"""Weights of networks that are not in the registry: detectors of people, and networks for optical flow."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.models.state import assign, split
from vidjax.weights.mapping import conversion
from vidjax.weights.read import CheckpointError, read_state_dict
from vidjax.weights.table import Source, recognise
from vidjax.weights.write import rule_of, written

Network = TypeVar("Network", bound=nnx.Module)
Checkpoint = str | os.PathLike | Mapping[str, Any]


def loaded(
    name: str,
    checkpoint: Checkpoint,
    sources: Sequence[Source],
    build: Callable[[Mapping[str, np.ndarray], Source], Network],
) -> Network:
    """Give a named network a checkpoint's weights.

    Args:
      name: name of the network.
      checkpoint: a file or folder, or a mapping of arrays by the source's keys, see `read_state_dict`.
      sources: tables to choose from.
      build: function from the arrays and their source to the network with abstract arrays.

    Raises:
      CheckpointError: if the checkpoint cannot be read, is of no known source, or does not fit; the message names the
        first differences, the error's `problems` all of them.
    """
    state = read_state_dict(checkpoint)
    title = "state dict" if isinstance(checkpoint, Mapping) else os.fspath(checkpoint)
    try:
        source = recognise(state, name, among=sources)
        network = build(state, source)
        _, params, stats = split(network)
        current = {**params, **stats}
        arrays = conversion(state, source, {path: array.shape for path, array in current.items()}).arrays
    except CheckpointError as error:
        raise CheckpointError(f"{title} into {name}: {error}", error.problems) from None
    assign(network, {path: jnp.asarray(array, current[path].dtype) for path, array in arrays.items()})
    return network


def state_dict_of(
    network: nnx.Module, to: str, sources: Sequence[Source], what: str
) -> tuple[dict[str, np.ndarray], Source]:
    """Convert a network's weights to another framework's state dict.

    Args:
      network: the network.
      to: name of the source.
      sources: tables to choose from; of those with that name, the first counts.
      what: the network in words, for the message.

    Returns:
      `{key: array}`, float32, without the counters of norms, see `vidjax.weights.write.with_counters`; and the source.

    Raises:
      CheckpointError: if there is no such source; the message names those that there are.
    """
    known = [source for source in sources if not source.read_only]
    source = next((source for source in known if source.name == to), None)
    if source is None:
        names = ", ".join(dict.fromkeys(source.name for source in known))
        raise CheckpointError(f"{what} cannot be written as {to!r}, only as {names}")
    _, params, stats = split(network)
    arrays = {path: np.asarray(array) for path, array in {**params, **stats}.items()}
    found = {path: rule_of(source, path) for path in arrays}
    state = written(arrays, {path: made for path, made in found.items() if made is not None})
    return {key: np.array(array, order="C") for key, array in state.items()}, source
