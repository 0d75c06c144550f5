"""Decoding in a separate process, which can be killed: nothing else ends a decoder that does not return.

A process serves one video at a time, and the next one afterwards; it ends with its parent. Pixels come back through
shared memory, which is reused, so that a frame costs no more than in the same process. A decoder that stalls, crashes
its process or takes too much memory costs one `VideoError`. `decoding_process.py` is the other side.
"""

import atexit
import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from typing import Any

import numpy as np

from vidjax import interrupts
from vidjax.video.channel import receive, send
from vidjax.video.deadline import Clock
from vidjax.video.errors import VideoError
from vidjax.video.frame_buffers import Lease
from vidjax.video.pixels import Box

_GRACE = 0.25  # seconds that a merely slow decoder gets to stop by its own clock
_START = 300.0  # seconds that a new process may take to start
_PAGE = 1 << 20  # bytes; sizes of shared memory are multiples of it
_SPARE = 2  # pieces of shared memory kept for the next read
MEMORY = 4 << 30  # bytes that decoding may take: 21 pictures of 16384×8192, of which H.264 may keep 16


def check_limits(isolate: bool, **limits: float | None) -> None:
    """Check limits that only a process of its own can keep.

    Raises:
      ValueError: if one is not positive, or there is no such process.
    """
    for name, most in limits.items():
        if most is not None and not (most > 0 and isolate):
            raise ValueError(f"{name} = {most!r}: must be positive, and needs isolate=True")


class Isolated:
    """A file opened and decoded in another process.

    Args:
      kind: what is decoded: "video" or "sound".
      path: path of the file, or its address.
      stream: number of the stream of that kind, in the order of the file.
      timeout: limit for opening, seconds.
      content: bytes of the file, if they are in memory.
      memory: most bytes that the process may take for it, `content` included; None: `MEMORY`.
      patience: seconds of one call after which the process gives way to others; None: never.

    Raises:
      VideoError: if the file cannot be opened, opening takes too long or too much memory, or the process crashes.
    """

    def __init__(
        self,
        kind: str,
        path: str,
        stream: int,
        timeout: float,
        content: bytes | None,
        memory: int | None = None,
        patience: float | None = None,
    ):
        self._clock = Clock(path)
        self._process: _Process | None = None
        while self._process is None:
            self._process = _idle.take()
            # A reused process may have been started in another folder, where a relative path means another file.
            request = ("open", kind, path, stream, timeout, content, _folder(), memory or MEMORY, patience)
            self.facts: Any = self._ask(request, timeout)

    @property
    def closed(self) -> bool:
        """Whether the video cannot be read any more: it was closed, or its process was killed or crashed."""
        return self._process is None

    def close(self) -> None:
        """Close the file and free the process for the next one."""
        process, self._process = self._process, None
        if process is not None:
            process.release()

    def _ask(self, request: tuple, timeout: float, fd: int | None = None) -> Any:
        self._clock.start(timeout)
        try:
            answer, error, spent = self._open_process().ask(request, timeout + _GRACE, fd)
        except TimeoutError:
            self._process, process = None, self._process
            process.kill()
            raise self._clock.error() from None
        except (OSError, EOFError):
            self._process, process = None, self._process
            how = process.kill(1.0)
            if request[0] == "open" and process.retired:
                return None  # it has not even received the request
            raise VideoError(self._clock.path, f"crashed the process that decoded it ({how})") from None
        except BaseException:  # interrupted while the process works on: its late answer must not reach the next request
            self._process, process = None, self._process
            process.kill()
            raise
        if spent:  # it ends by itself
            self._process, process = None, self._process
            process.kill(1.0)
        if error is not None:
            if request[0] == "open":
                self.close()
            raise error
        return answer

    def _open_process(self) -> "_Process":
        if self._process is None:
            raise ValueError(f"{self._clock.path}: this reader is closed; open a new one")
        return self._process


class IsolatedDecoder(Isolated):
    """A video opened and decoded in another process; `Isolated` has its arguments, without the kind."""

    def __init__(self, path: str, stream: int, timeout: float, content: bytes | None, **limits: Any):
        super().__init__("video", path, stream, timeout, content, **limits)

    def read(self, numbers: list[int], height: int, width: int, timeout: float, crop: Box | None = None) -> np.ndarray:
        """Frames by number, or the part `crop` of each, uint8 `(T, height, width, 3)`.

        Raises:
          VideoError: if a frame does not decode, decoding takes too long or too much memory, or the process crashes.
        """
        process, shape = self._open_process(), (len(numbers), height, width, 3)
        memory = process.memory(int(np.prod(shape)))
        try:
            self._ask(("read", numbers, shape, timeout, crop, memory.number, memory.size), timeout, memory.new_fd())
        except BaseException:
            process.give_back(memory)
            raise
        return np.asarray(Lease(process, memory, memory.map, shape))


class IsolatedSound(Isolated):
    """A sound track opened and decoded in another process; `Isolated` has its arguments, without the kind."""

    def __init__(self, path: str, stream: int, timeout: float, content: bytes | None, **limits: Any):
        super().__init__("sound", path, stream, timeout, content, **limits)

    def read(self, starts: list[float], count: int, rate: int, speed: list[float], timeout: float) -> np.ndarray:
        """Read windows; see `SoundDecoder.read`.

        Raises:
          VideoError: if the track does not decode, decoding takes too long or too much memory, or the process crashes.
        """
        self._open_process()
        return self._ask(("hear", starts, count, rate, speed, timeout), timeout)


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed: only absolute paths are left
        return os.path.abspath(os.sep)


class _Process:
    """One decoding process, as seen by its parent."""

    def __init__(self):
        self._socket, theirs = socket.socketpair()
        with theirs:
            code = f"from vidjax.video.decoding_process import serve; serve({theirs.fileno()})"
            # The child finds modules where the parent does, but does not import the parent's __main__.
            paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
            with interrupts.left_to_this_process():
                self._child = subprocess.Popen(
                    [sys.executable, "-c", code],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    # No thread pool for linear algebra, which would take memory and never be used.
                    env=os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"},
                )
        self._dead = False
        self._spare: list[_Memory] = []
        self._numbers = iter(range(1 << 62))
        self._dropped: list[int] = []
        self._socket.settimeout(_START)
        try:
            receive(self._socket)
        except (OSError, EOFError):
            how = self.kill(1.0)
            raise RuntimeError(f"the process that decodes videos does not start ({how}): {sys.executable}") from None

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    @property
    def retired(self) -> bool:
        """Whether the process has ended because it was idle."""
        return self._child.poll() == 0

    def ask(self, request: tuple, timeout: float, fd: int | None = None) -> Any:
        self._socket.settimeout(timeout)
        dropped, self._dropped = self._dropped, []
        send(self._socket, (request, dropped), [] if fd is None else [fd])
        return receive(self._socket)[0]

    def release(self) -> None:
        try:
            self.ask(("close",), 5.0)
        except (OSError, EOFError):
            self.kill()
        else:
            _idle.give(self)

    def kill(self, wait: float = 0.0) -> str:
        """Kill the process unless it ends by itself within `wait` seconds, free its memory, and say how it ended."""
        try:
            code = self._child.wait(wait) if wait else self._child.poll()
        except subprocess.TimeoutExpired:
            code = None
        if code is None:
            self._child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # waiting for a disk that hangs, it cannot even die
                self._child.wait(5)
        self._socket.close()
        self._dead = True
        while self._spare:
            self._spare.pop().close()
        if code is None or code >= 0:
            return f"exit status {code}"
        name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
        return f"{name}{', out of memory?' if -code == signal.SIGKILL else ''}"

    def memory(self, size: int) -> "_Memory":
        """Shared memory of at least `size` bytes."""
        fitting = [m for m in self._spare if m.size >= size]
        if fitting:
            memory = min(fitting, key=lambda m: m.size)
            self._spare.remove(memory)
            return memory
        return _Memory(next(self._numbers), -(-max(size, 1) // _PAGE) * _PAGE)

    def give_back(self, memory: "_Memory") -> None:
        if self._dead:
            memory.close()
            return
        self._spare.append(memory)
        while len(self._spare) > _SPARE:
            smallest = min(self._spare, key=lambda m: m.size)
            self._spare.remove(smallest)
            self._dropped.append(smallest.number)
            smallest.close()


class _Idle:
    """The idle processes."""

    def __init__(self):
        self._processes: deque[_Process] = deque()
        self._owner = os.getpid()

    def take(self) -> _Process:
        if self._owner != os.getpid():  # after a fork, these belong to the parent
            self.__init__()
        while True:
            try:
                process = self._processes.pop()
            except IndexError:
                return _Process()
            if process.alive:
                return process
            process.kill()

    def give(self, process: _Process) -> None:
        self._processes.append(process)

    def end(self) -> None:
        if self._owner == os.getpid():
            while self._processes:
                self._processes.pop().kill()


_idle = _Idle()
atexit.register(_idle.end)


class _Memory:
    """A piece of memory that both processes share."""

    def __init__(self, number: int, size: int):
        self.number, self.size = number, size
        self._fd = _shared_file(size)
        self.map = mmap.mmap(self._fd, size)
        self._sent = False

    def new_fd(self) -> int | None:
        """File descriptor to send to the other process; None if it has been sent before."""
        self._sent, sent = True, self._sent
        return None if sent else self._fd

    def close(self) -> None:
        os.close(self._fd)
        with contextlib.suppress(BufferError):  # an array still uses it: it is freed with the array
            self.map.close()


def _shared_file(size: int) -> int:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("vidjax")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd
