"""Views of several requests through a network together: batches of a few sizes, for which it is compiled."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from typing import Any

import numpy as np

View = Mapping[str, np.ndarray]
# Views of a batch, as many as its size or fewer, and the size → the outputs for them, (len(views), …).
Compute = Callable[[Sequence[View], int], np.ndarray]


class Batcher:
    """Views that wait for a network, computed in a thread, in the order in which they came.

    A batch takes what is there, and waits a moment for more if it is not full. It is filled up to the next of the
    `sizes`, so that no request makes anything compile.

    Args:
      compute: function from views to their outputs.
      sizes: sizes of batches, ascending.
      wait: time for which a batch that is not full waits, seconds.
      seen: called with the number of views of each batch.
    """

    def __init__(
        self,
        compute: Compute,
        sizes: Sequence[int],
        *,
        wait: float,
        seen: Callable[[int], None] = lambda count: None,
    ):
        self._compute, self._sizes, self._wait, self._seen = compute, tuple(sizes), wait, seen
        self._closing = False
        self._views: queue.SimpleQueue[tuple[_Job, int, View] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="vidjax-batches", daemon=True)
        self._thread.start()

    def warm_up(self, view: View) -> bool:
        """Compute a batch of each size, which compiles the network; returns whether it was not closed in between."""
        for size in self._sizes:
            if self._closing:
                return False
            self._compute([view] * size, size)
        return not self._closing

    def submit(self, views: Sequence[View]) -> "Future[np.ndarray]":
        """Outputs for the views of a request, `(V, …)`, later; views of a cancelled request are passed over."""
        job = _Job(len(views))
        for number, view in enumerate(views):
            self._views.put((job, number, view))
        return job.future

    def close(self) -> None:
        """End the thread, after all views that wait."""
        self._closing = True
        self._views.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._gather()) is not None:
            if batch:
                self._answer(batch)

    def _gather(self) -> "list[tuple[_Job, int, View]] | None":
        """The next batch; None: there will be no more."""
        batch: list[tuple[_Job, int, View]] = []
        until = float("inf")
        while len(batch) < self._sizes[-1]:
            try:
                left = until - time.monotonic()
                item = self._views.get(timeout=max(left, 0) if batch else None)
            except queue.Empty:
                return batch
            if item is None:
                if not batch:
                    return None
                self._views.put(None)  # for the next call
                return batch
            if not item[0].future.cancelled():
                if not batch:
                    until = time.monotonic() + self._wait
                batch.append(item)
        return batch

    def _answer(self, batch: "list[tuple[_Job, int, View]]") -> None:
        size = next(size for size in self._sizes if size >= len(batch))
        try:
            outputs = self._compute([view for _, _, view in batch], size)
        except Exception as error:
            for job, _, _ in batch:
                job.fail(error)
            return
        self._seen(len(batch))
        for (job, number, _), output in zip(batch, outputs, strict=True):
            job.add(number, output)


class _Job:
    """Outputs of one request, as they come."""

    def __init__(self, count: int):
        self.future: Future[np.ndarray] = Future()
        self._rows: list[Any] = [None] * count
        self._missing = count
        if not count:
            raise ValueError("a request without views")

    def add(self, number: int, output: np.ndarray) -> None:
        self._rows[number] = output
        self._missing -= 1
        if not self._missing:
            with contextlib.suppress(InvalidStateError):  # cancelled in the meantime
                self.future.set_result(np.stack(self._rows))

    def fail(self, error: Exception) -> None:
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)
