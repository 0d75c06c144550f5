"""Optical flow between two pictures by name: OpenCV's algorithms, networks with a checkpoint, and trained runs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vidjax.errors import UserError
from vidjax.models.flow_networks import FLOW_NETWORKS
from vidjax.video import flow as classical

METHODS = (*classical.METHODS, *FLOW_NETWORKS)

# Two pictures, RGB uint8 (H, W, 3) → the flow between them, float32 (H, W, 2).
Estimator = Callable[[np.ndarray, np.ndarray], np.ndarray]


def flow_estimator(method: str, weights: str = "", *, updates: int = 0, bottom: bool = False) -> Estimator:
    """Make the function that estimates flow between two pictures of one size.

    Args:
      method: an algorithm of `vidjax.video.flow.METHODS`, a network of `vidjax.models.flow_networks.FLOW_NETWORKS`, or
        the folder of a run that trained one.
      weights: checkpoint of the network; empty for an algorithm and a run.
      updates: number of the network's updates; 0: its own.
      bottom: whether rows that a network needs are added at the bottom alone, see
        `vidjax.models.families.raft.padded_flow`.

    Raises:
      UserError: if there is no such method, it is not installed, or it lacks or does not take weights or updates.
      CheckpointError: if the checkpoint does not fit.
    """
    if method in FLOW_NETWORKS:
        from vidjax.weights.flow_networks import load_flow_network

        if not weights:
            raise UserError(
                f"--method {method}: the network needs its weights: --weights FILE, such as torchvision's "
                "raft_small_C_T_V2-01064c6d.pth or the original repository's raft-small.pth"
            )
        return _of_network(load_flow_network(method, weights), updates, bottom)
    if is_run(method):
        if weights:
            raise UserError(f"--weights {weights}: {method} is a run with weights of its own; leave it out")
        return _of_network(_of_run(method), updates, bottom)
    if method not in classical.METHODS:
        raise UserError(f"--method {method}: must be one of {', '.join(METHODS)}, or the folder of a run")
    for option, value in (("--weights", weights), ("--updates", updates)):
        if value:
            raise UserError(f"{option} {value}: {method} is no network and takes none; leave it out")
    classical.check_method(method)
    return partial(_classical, method)


def _classical(method: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return classical.estimate(classical.grey(first), classical.grey(second), method)


def is_run(method: str) -> bool:
    """Whether a method is the folder of a run, or of one of its checkpoints."""
    return method not in METHODS and Path(method).is_dir()


def _of_run(folder: str) -> Any:
    """Network of a run.

    Raises:
      CheckpointFolderError: if the folder holds no checkpoint.
      UserError: if its network estimates no flow.
    """
    from vidjax.models.families.raft import Raft
    from vidjax.training.checkpoints import load_model

    network, meta, _ = load_model(folder)
    if not isinstance(network, Raft):
        raise UserError(f"--method {folder}: its network, {meta.spec.name}, estimates no optical flow")
    return network


def _of_network(network: Any, updates: int, bottom: bool) -> Estimator:
    import jax

    from vidjax.models.families.raft import padded_flow, scaled
    from vidjax.models.state import merge, split

    graph, params, stats = split(network)

    @jax.jit
    def run(params, stats, first, second):
        network: Any = merge(graph, params, stats)
        return padded_flow(network, scaled(first), scaled(second), bottom=bottom, updates=updates or None)

    return lambda first, second: np.asarray(run(params, stats, first[None], second[None])[0])
