"""Batches on their way to the devices: while an update runs, the next batch is placed, and never more than that one."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import NamedSharding

from vidjax import parallel
from vidjax.batch import Batch
from vidjax.data.pipeline import BadRecord

DEVICE_BATCHES = 2  # on the devices at once: that of the running update and the next


@dataclass(frozen=True)
class Placed:
    """One batch on the devices."""

    arrays: dict[str, dict[str, jax.Array]]  # "inputs" and "targets" by name
    bad: list[BadRecord]  # the videos that were replaced in it


class Feed:
    """Takes batches from an iterator and places them, one ahead of the update that runs.

    For each update: `take` its batch, start it, and call `advance` with one of its outputs. Starting an update returns
    before it is done, so `advance` is where the loop spends its time: it waits for the update before, whose batch is
    then gone from the devices, and places the next one while the update just started runs.

    Args:
      batches: from `train_batches`, this process's rows.
      sharding: from `parallel.batch_sharding`.
      count: how many batches there will be; none beyond is asked for.

    Attributes:
      waited: seconds that the devices may have been idle for want of data; a wait for the next batch counts if the
        running update was done before it ended. The reader may set it back to 0.
    """

    def __init__(self, batches: Iterator[Batch], sharding: NamedSharding, count: int):
        self._batches, self._sharding, self._left = batches, sharding, count
        self._running: Any = None
        self._first: Future[Batch] | None = None
        self._next: Placed | None = None
        self.waited = 0.0

    def start(self) -> None:
        """Have the first batch read in a thread of its own, where the pipeline starts; `take` waits for it."""
        reader = ThreadPoolExecutor(1, thread_name_prefix="first-batch")
        self._first = reader.submit(next, self._batches)
        reader.shutdown(wait=False)

    def take(self) -> Placed:
        """The batch of the next update; the feed lets go of it."""
        placed, self._next = self._next or self._place(), None
        return placed

    def advance(self, output: Any) -> None:
        """Note that an update has been started which gives `output`, an array that nothing donates; place the next
        batch once the update before has ended."""
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
        return Placed(arrays, batch["bad"])
