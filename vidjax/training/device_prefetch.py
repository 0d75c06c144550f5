"""Prefetching to the devices: while an update runs, exactly one further batch is placed."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import NamedSharding

from vidjax import parallel
from vidjax.batch import Batch
from vidjax.data.pipeline import BadRecord

DEVICE_BATCHES = 2  # batches on the devices at once: the running update's and the next


@dataclass(frozen=True)
class Placed:
    """Batch on the devices."""

    arrays: dict[str, dict[str, Any]]  # "inputs" and "targets" by name, and what comes with every batch
    bad: list[BadRecord]  # unreadable videos that were replaced in it


class Feed:
    """Iterator that places batches on the devices, one ahead of the running update.

    For each update: `take` its batch, start it, and call `advance` with one of its outputs. Starting an update returns
    before it is done, so `advance` is where the loop spends its time: it waits for the previous update, whose batch is
    then freed on the devices, and places the next batch while the update just started runs.

    Args:
      batches: this process's rows of each batch, from `train_batches`.
      sharding: placement of a batch, from `parallel.batch_sharding`.
      count: number of batches to read.
      constant: arrays on the devices that come with every batch, by name.

    Attributes:
      waited: seconds for which the devices may have been idle for lack of data; a wait for the next batch counts if
        the running update was done before it ended. Callers may reset it to 0.
    """

    def __init__(
        self,
        batches: Iterator[Batch],
        sharding: NamedSharding,
        count: int,
        constant: Mapping[str, Any] | None = None,
    ):
        self._batches, self._sharding, self._left = batches, sharding, count
        self._constant = dict(constant or {})
        self._running: Any = None
        self._first: Future[Batch] | None = None
        self._next: Placed | None = None
        self.waited = 0.0

    def start(self) -> None:
        """Start the pipeline and read the first batch in a separate thread; `take` waits for it."""
        reader = ThreadPoolExecutor(1, thread_name_prefix="first-batch")
        self._first = reader.submit(next, self._batches)
        reader.shutdown(wait=False)

    def take(self) -> Placed:
        """Return the batch of the next update, without keeping a reference to it."""
        placed, self._next = self._next or self._place(), None
        return placed

    def advance(self, output: Any) -> None:
        """Place the next batch once the previous update has ended; `output` is an array, never donated, of the update
        just started."""
        if self._running is not None:
            jax.block_until_ready(self._running)
        self._running = output
        if self._left:
            self._next = self._place()

    def _place(self) -> Placed:
        asked = time.perf_counter()
        batch = self._first.result() if self._first else next(self._batches)
        self._first = None
        if self._running is None or self._running.is_ready():
            self.waited += time.perf_counter() - asked
        self._left -= 1
        arrays = parallel.place({key: batch[key] for key in ("inputs", "targets")}, self._sharding)
        return Placed(arrays | self._constant, batch["bad"])
