"""The process that decodes for another one: it answers requests, and keeps within a limit of memory."""

import contextlib
import errno
import mmap
import os
import queue
import resource
import select
import socket
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter

from vidjax import interrupts
from vidjax.video.channel import receive, send
from vidjax.video.deadline import Clock
from vidjax.video.decoder import Decoder
from vidjax.video.errors import VideoError
from vidjax.video.pixels import write_frames
from vidjax.video.sound_decoder import SoundDecoder

_GIVING_WAY = 10  # niceness: a tenth of the processor time that others get
_REST = 60.0  # seconds after which a process without a video ends
_NO_MEMORY = os.strerror(errno.ENOMEM)  # in messages with FFmpeg's reason
_DECODERS: dict[str, Any] = {"video": Decoder, "sound": SoundDecoder}


def serve(fd: int) -> None:
    """Answer requests from the socket `fd` until its other end closes, or memory has run out."""
    interrupts.ignore()  # the parent ends this process
    channel = socket.socket(fileno=fd)
    threading.Thread(target=_end_with, args=(fd,), daemon=True).start()
    reformatter, memories = VideoReformatter(), {}
    clock, memory, worker = Clock(""), _Memory(), _Worker()
    decoder: Any = None
    send(channel, "ready")
    while True:
        channel.settimeout(_REST if decoder is None else None)
        try:
            ((kind, *rest), dropped), fds = receive(channel)
        except (EOFError, OSError):
            return
        channel.settimeout(None)
        for number in dropped:
            memories.pop(number).close()
        answer, error, spent = None, None, False
        try:
            if kind == "open":
                what, path, stream, timeout, content, folder, most, patience = rest
                memory.limit(most)
                os.chdir(folder)
                clock = Clock(path)
                clock.start(timeout)
                worker.patience = patience
                decoder = worker.run(_DECODERS[what], path, stream, clock, content)
                answer = decoder.facts()
            elif kind == "hear" and decoder is not None:
                *asked, timeout = rest
                clock.start(timeout)
                answer = worker.run(decoder.read, *asked)
            elif kind == "read":
                numbers, shape, timeout, crop, number, size = rest
                if fds:
                    memories[number] = mmap.mmap(fds[0], size)
                    os.close(fds[0])
                clock.start(timeout)
                out = np.frombuffer(memories[number], np.uint8, int(np.prod(shape))).reshape(shape)
                try:
                    worker.run(write_frames, out, numbers, decoder, reformatter, crop)
                finally:
                    del out
            elif decoder is not None:
                decoder.close()
                decoder = None
                memory.limit(None)
        except Exception as caught:
            error = caught if isinstance(caught, VideoError) else RuntimeError(f"{type(caught).__name__}: {caught}")
            if spent := _out_of_memory(caught):
                decoder = None  # what it holds makes room for the answer
                error = memory.error(clock.path)
        with contextlib.suppress(OSError):
            send(channel, (answer, error, spent))
        if spent:  # the state of libraries that found no memory is anyone's guess
            return


class _Worker:
    """A thread that decodes. One that takes longer than the patience of the parent gives way to all other work.

    Attributes:
      patience: seconds; None: without end.
    """

    def __init__(self):
        self.patience: float | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, job: Callable[..., Any], *arguments: Any) -> Any:
        """The result of `job(*arguments)`."""
        if self.patience is None:
            return job(*arguments)
        answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def answer() -> None:
            try:
                answers.put((job(*arguments), None))
            except BaseException as error:
                answers.put((None, error))

        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="vidjax-decode", daemon=True)
            self._thread.start()
        self._jobs.put(answer)
        try:
            result, error = answers.get(timeout=self.patience)
        except queue.Empty:
            # Of one thread, on Linux. Nobody may take it back, so that the next job gets a thread of its own.
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._thread.native_id or 0, _GIVING_WAY)
            result, error = answers.get()
            self._jobs.put(None)
            self._thread = None
        if error is not None:
            raise error
        return result

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job


class _Memory:
    """Limit of this process's own memory; what it shares with its parent, and the code of libraries, do not count."""

    def __init__(self):
        self._before = _own_bytes()
        self._most: int | None = None

    def limit(self, most: int | None) -> None:
        """Let the process take `most` bytes beyond those it began with; None: any number."""
        self._most = most
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        soft = hard if most is None else self._before + most
        if hard != resource.RLIM_INFINITY and not 0 <= soft <= hard:
            soft = hard
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))

    def error(self, path: str | os.PathLike) -> VideoError:
        """The `VideoError` to raise when there is no memory left; lifts the limit, so that it can be sent."""
        most = self._most
        self.limit(None)
        told = "there is" if most is None else f"{most / 2**20:,.0f} MiB, the limit,"
        return VideoError(path, f"needs more memory than {told} to decode", "encode it smaller, or leave it out")


def _own_bytes() -> int:
    """Bytes that count against RLIMIT_DATA at the moment; 0 where the system does not tell."""
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmData:"):
                return 1024 * int(line.split()[1])
    return 0


def _out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it comes from, says that there is no memory: Python's, FFmpeg's, or in words."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, VideoError) and _NO_MEMORY in error.reason):
            return True
        error = error.__cause__ or error.__context__
    return False


def _end_with(fd: int) -> None:
    """End this process once the other end of the socket is closed, whatever the decoder is doing."""
    watch = select.poll()
    watch.register(fd, 0)  # a hang-up is always reported
    watch.poll()
    os._exit(1)
