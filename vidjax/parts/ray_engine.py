"""Shards computed by the workers of a Ray cluster (extra `ray`).

Ray Data hands out numbers of shards to workers, each of which loads what it needs once, and starts a worker that dies
again. Workers write the files of their shards themselves, so what is done is what is written, as with one process.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

from vidjax.errors import UserError, install

_LEAST = 4  # logical processors of a local cluster: with two, Ray's own tasks and the workers can wait for each other


def ray() -> ModuleType:
    """Import Ray.

    Raises:
      UserError: if it is not installed; names the extra.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UserError(f"--engine ray needs Ray: {install('ray')}") from error
    return ray


def uses_ray(engine: str, workers: int, count: int) -> bool:
    """Whether workers of Ray compute shards, from the arguments of a command.

    Args:
      engine: "local": this process; "ray": workers of Ray.
      workers: number of workers; 0: see `on_ray`.
      count: number of processes of the command.

    Raises:
      UserError: if Ray is not installed, processes are given for it, or workers without it.
    """
    if engine != "ray":
        if workers:
            raise UserError(f"--workers {workers}: is for --engine ray")
        return False
    ray()
    if count > 1:
        raise UserError("--engine ray divides the work by itself: start one process, with --workers")
    return True


def on_ray(make: Callable[[], Callable[[int], int]], shards: Sequence[int], workers: int = 0) -> Iterator[int]:
    """Compute shards on the cluster that the environment variable RAY_ADDRESS names, or on one of this machine's own.

    Args:
      make: called once in each worker; returns the function that computes and writes a shard and returns the number of
        its rows. It is sent to the workers, which must have vidjax installed.
      shards: numbers of the shards.
      workers: number of workers; 0: one per GPU of the cluster, or, without any, one per four processors.

    Yields:
      The number of rows of each shard as it is written, in any order.

    Raises:
      UserError: if Ray is not installed, has fewer GPUs than workers, or if a worker fails; with its reason.
    """
    engine = ray()
    from ray import exceptions

    own = not engine.is_initialized()
    if own:
        local = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": max(_LEAST, os.cpu_count() or 1)}
        engine.init(include_dashboard=False, logging_level="error", log_to_driver=False, **local)
    try:
        data = engine.data
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        has = engine.cluster_resources()
        gpus = int(has.get("GPU", 0))
        if gpus and workers > gpus:
            raise UserError(f"--workers {workers}: the cluster has {gpus} GPUs, and each worker takes one")
        workers = workers or gpus or max(1, int(has.get("CPU", 1)) // 4)

        class Worker:
            def __init__(self) -> None:
                self.compute = make()

            def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
                try:
                    return {"rows": self.compute(int(row["shard"])), "error": ""}
                except Exception as error:  # Ray would tell its own lines of the trace
                    return {"rows": 0, "error": f"{error}" if isinstance(error, UserError) else repr(error)}

        rows = data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards)).map(
            Worker, compute=data.ActorPoolStrategy(size=min(workers, len(shards))), num_gpus=1 if gpus else None
        )
        try:
            for row in rows.iter_rows():
                if row["error"]:
                    raise UserError(f"a worker of Ray failed: {row['error']}; written shards are kept")
                yield row["rows"]
        except exceptions.RayError as error:
            raise UserError(f"Ray failed: {error}") from error
    finally:
        if own:
            engine.shutdown()
