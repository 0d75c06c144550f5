"""Reuse of memory for decoded frames: touching fresh pages for the frames of ten clips takes as long as decoding
one."""

import math
import threading
from typing import Any, Protocol

import numpy as np

_LARGE = 1 << 22  # bytes below which fresh memory costs next to nothing
_SPARE = 2  # pieces that are kept for the next read
_MOST = 1 << 28  # bytes of the largest piece that is kept


class Owner(Protocol):
    """An owner of memory that takes it back when no array uses it any more."""

    def give_back(self, memory: Any) -> None: ...


class Lease:
    """Memory lent to an array, which keeps the lease alive: `np.asarray(Lease(owner, memory, buffer, shape))`.

    Args:
      owner: owner that gets the memory back once the array and all its views are gone.
      memory: object handed back to the owner.
      buffer: bytes of that memory.
      shape: shape of the uint8 array at the beginning of the buffer.
    """

    def __init__(self, owner: Owner, memory: Any, buffer: Any, shape: tuple[int, ...]):
        self._owner, self._memory = owner, memory
        self._view = np.frombuffer(buffer, np.uint8, math.prod(shape))
        address = self._view.__array_interface__["data"]
        self.__array_interface__ = {"shape": shape, "typestr": "|u1", "data": address, "version": 3}

    def __del__(self):
        del self._view
        self._owner.give_back(self._memory)


class Pool:
    """Pool of memory for large arrays, which reuses the pieces freed last.

    It keeps at most two pieces of at most 256 MiB.
    """

    def __init__(self):
        self._spare: list[np.ndarray] = []
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...]) -> np.ndarray:
        """An uninitialised uint8 array."""
        size = math.prod(shape)
        if size < _LARGE:
            return np.empty(shape, np.uint8)
        with self._lock:
            # One that is far too large would hold memory that nobody uses.
            fitting = [i for i, m in enumerate(self._spare) if size <= m.size <= 4 * size]
            memory = self._spare.pop(min(fitting, key=lambda i: self._spare[i].size)) if fitting else None
        if memory is None:
            memory = np.empty(size, np.uint8)
        return np.asarray(Lease(self, memory, memory, shape))

    def give_back(self, memory: np.ndarray) -> None:
        """Keep a piece for the next array, and drop the oldest one if there are too many."""
        # An array may be collected while this thread holds the lock: then the piece is simply let go.
        if memory.size > _MOST or not self._lock.acquire(blocking=False):
            return
        try:
            self._spare = [*self._spare, memory][-_SPARE:]
        finally:
            self._lock.release()
