"""Which files of a folder anyone opens, be it Python, FFmpeg or another process, as the kernel tells it."""

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

_OPENED = 0x20  # IN_OPEN
_HEAD = struct.Struct("iIII")


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[list[str]]:
    """The names of the files of a folder that are opened in the meantime; complete at the end."""
    library = ctypes.CDLL(None, use_errno=True)
    handle = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert handle >= 0 and library.inotify_add_watch(handle, os.fsencode(folder), _OPENED) >= 0
    names: list[str] = []
    try:
        yield names
    finally:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(handle, 1 << 16):
                at = 0
                while at < len(data):
                    *_, length = _HEAD.unpack_from(data, at)
                    name = data[at + _HEAD.size : at + _HEAD.size + length].rstrip(b"\0")
                    names.extend([os.fsdecode(name)] if name else [])
                    at += _HEAD.size + length
        os.close(handle)
