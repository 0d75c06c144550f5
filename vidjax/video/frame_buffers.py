"""Memory for decoded frames that is used again: touching fresh pages for the frames of ten clips takes as long as
decoding one."""

import math
import threading
from typing import Any, Protocol

import numpy as np

_LARGE = 1 << 22  # bytes below which fresh memory costs nothing to speak of
_SPARE = 2  # pieces that are kept for the next read
_MOST = 1 << 28  # bytes of the largest piece that is kept


class Owner(Protocol):
    """Whoever takes memory back that no array looks at any more."""

    def give_back(self, memory: Any) -> None: ...


class Lease:
    """Memory in use by an array, which keeps this alive: `np.asarray(Lease(owner, memory, buffer, shape))`.

    Args:
      owner: told once the array and all its views are gone.
      memory: what it is given back.
      buffer: the bytes of that memory.
      shape: of the uint8 array at its beginning.
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
    """Large arrays, of which the last ones that were freed are kept for the next.

    At most two pieces of at most 256 MiB wait here.
    """

    def __init__(self):
        self._spare: list[np.ndarray] = []
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...]) -> np.ndarray:
        """An uint8 array of any content."""
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
        """Keep a piece for the next array, instead of the one that has waited longest."""
        # An array may be collected while this thread holds the lock: then the piece is simply let go.
        if memory.size > _MOST or not self._lock.acquire(blocking=False):
            return
        try:
            self._spare = [*self._spare, memory][-_SPARE:]
        finally:
            self._lock.release()
