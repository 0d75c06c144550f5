"""The process that decodes for another one: it answers requests, and keeps within a limit of memory."""

import contextlib
import errno
import mmap
import os
import resource
import select
import signal
import socket
import threading
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter

from vidjax.video.channel import receive, send
from vidjax.video.deadline import Clock
from vidjax.video.decoder import Decoder
from vidjax.video.errors import VideoError
from vidjax.video.pixels import write_frames
from vidjax.video.sound_decoder import SoundDecoder

_REST = 60.0  # seconds after which a process without a video ends
_NO_MEMORY = os.strerror(errno.ENOMEM)  # in messages with FFmpeg's reason
_DECODERS: dict[str, Any] = {"video": Decoder, "sound": SoundDecoder}


def serve(fd: int) -> None:
    """Answer requests from the socket `fd` until its other end closes, or memory has run out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    channel = socket.socket(fileno=fd)
    threading.Thread(target=_end_with, args=(fd,), daemon=True).start()
    reformatter, decoder, memories = VideoReformatter(), None, {}
    clock, memory = Clock(""), _Memory()
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
        answer = error = None
        try:
            if kind == "open":
                what, path, stream, timeout, content, folder, most = rest
                memory.limit(most)
                os.chdir(folder)
                clock = Clock(path)
                clock.start(timeout)
                decoder = _DECODERS[what](path, stream, clock, content)
                answer = decoder.facts()
            elif kind == "hear" and decoder is not None:
                *asked, timeout = rest
                clock.start(timeout)
                answer = decoder.read(*asked)
            elif kind == "read":
                numbers, shape, timeout, crop, number, size = rest
                if fds:
                    memories[number] = mmap.mmap(fds[0], size)
                    os.close(fds[0])
                clock.start(timeout)
                out = np.frombuffer(memories[number], np.uint8, int(np.prod(shape))).reshape(shape)
                try:
                    write_frames(out, numbers, decoder, reformatter, crop)
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
        else:
            spent = False
        with contextlib.suppress(OSError):
            send(channel, (answer, error, spent))
        if spent:  # the state of libraries that found no memory is anyone's guess
            return


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
