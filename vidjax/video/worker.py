"""Decoding in a thread, which its caller can stop waiting for."""

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from vidjax.video.deadline import Clock

_RESTING = 8  # most idle threads kept for other readers, …
_REST = 5.0  # and for how long, seconds


class _Closes(Protocol):
    def close(self) -> None: ...


D = TypeVar("D", bound=_Closes)


class InThread(Generic[D]):
    """A decoder opened in a thread. A decoder in another process can be killed if it never returns; this one cannot.

    Args:
      path: path of the file, for messages.
      timeout: limit for opening, seconds.
      make: constructor of the decoder, given its deadline.

    Raises:
      VideoError: if the file cannot be opened, or opening takes too long.
    """

    def __init__(self, path: str, timeout: float, make: Callable[[Clock], D]):
        self._clock = clock = Clock(path)
        self._worker = Worker.take()
        self._decoder: D | None = None
        try:
            self._decoder = self._call(lambda: make(clock), timeout)
        except BaseException:
            self._worker.leave()
            raise

    @property
    def decoder(self) -> D:
        """The decoder, for facts that need no reading."""
        assert self._decoder is not None
        return self._decoder

    @property
    def closed(self) -> bool:
        """Whether nothing can be read any more: it was closed, or its thread is stuck."""
        return self._decoder is None

    def close(self) -> None:
        """Close the file and free the thread."""
        decoder, self._decoder = self._decoder, None
        # No decoder: opening failed, or the worker is stuck inside FFmpeg.
        if decoder is not None and self._worker.leave():
            decoder.close()

    def run(self, job: Callable[[D], Any], timeout: float) -> Any:
        """Return the result of `job(decoder)`.

        Raises:
          VideoError: if it takes longer than `timeout` seconds, or the job raises one.
        """
        decoder = self.decoder
        return self._call(lambda: job(decoder), timeout)

    def _call(self, job: Callable[[], Any], timeout: float) -> Any:
        self._clock.start(timeout)
        try:
            # A merely slow decoder stops by its own clock first, and the reader stays usable.
            return self._worker.call(job, timeout + 0.25)
        except TimeoutError:
            # The thread still holds the file and may be inside FFmpeg: leave it, and never touch the decoder again.
            self._decoder = None
            raise self._clock.error() from None


class Worker(threading.Thread):
    """A daemon thread that does one job at a time; its caller may stop waiting, and Python can exit while it is stuck.

    Starting a thread takes as long as decoding a small frame, so a worker that its reader has left stays idle for a
    while, ready for the next reader.
    """

    _resting: ClassVar[deque["Worker"]] = deque()

    def __init__(self):
        super().__init__(name="vidjax-decode", daemon=True)
        self._jobs: queue.SimpleQueue = queue.SimpleQueue()
        self._busy = self._lost = False
        self.start()

    @classmethod
    def take(cls) -> "Worker":
        """Return an idle worker, or a new one."""
        with contextlib.suppress(IndexError):
            while True:
                worker = cls._resting.pop()
                if worker.is_alive():  # after a fork, the workers of the parent are not
                    worker.name = "vidjax-decode"
                    return worker
        return cls()

    def leave(self) -> bool:
        """End this caller's jobs, and return whether their decoder may be closed, since no job uses it any more."""
        if self._lost:
            return False
        if self._busy:
            self._jobs.put(None)
            if self is not threading.current_thread():
                self.join(1.0)
            return not self.is_alive()
        if len(self._resting) < _RESTING and self.is_alive():
            self.name = "vidjax-rest"
            self._resting.append(self)
        else:
            self._jobs.put(None)
        return True

    def run(self) -> None:
        """Do jobs until the thread is left, or has been idle for a while."""
        while True:
            try:
                item = self._jobs.get(timeout=_REST)
            except queue.Empty:
                with contextlib.suppress(ValueError):
                    self._resting.remove(self)
                    return
                continue  # a reader owns it, but has no job at the moment
            if item is None:
                return
            job, reply = item
            try:
                answer = (job(), None)
            except BaseException as error:
                answer = (None, error)
            self._busy = False
            reply.put(answer)
            # No object of a job may stay alive while the thread waits for the next job.
            del item, job, reply, answer

    def call(self, job: Callable[[], Any], timeout: float) -> Any:
        """Return the result of `job()`, or raise TimeoutError if it is late; then this worker takes no more jobs."""
        reply: queue.SimpleQueue = queue.SimpleQueue()
        self._busy = True
        self._jobs.put((job, reply))
        try:
            result, error = reply.get(timeout=timeout)
        except queue.Empty:
            self._lost = True
            self._jobs.put(None)
            raise TimeoutError from None
        try:
            if error is not None:
                raise error
            return result
        finally:
            del error
