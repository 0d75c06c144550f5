"""Messages between a process and the one that decodes for it."""

import pickle
import socket
import struct
from collections.abc import Sequence
from typing import Any

_HEAD = struct.Struct(">Q")


def send(channel: socket.socket, message: Any, fds: Sequence[int] = ()) -> None:
    """Send an object, and file descriptors with it.

    Raises:
      OSError: if the other end is closed.
    """
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    socket.send_fds(channel, [_HEAD.pack(len(data))], list(fds))
    channel.sendall(data)


def receive(channel: socket.socket) -> tuple[Any, list[int]]:
    """Receive an object, and the file descriptors sent with it.

    Raises:
      EOFError, OSError: if the other end is closed.
    """
    head, fds, _, _ = socket.recv_fds(channel, _HEAD.size, 1)
    while head and len(head) < _HEAD.size:
        head += channel.recv(_HEAD.size - len(head))
    if not head:
        raise EOFError
    data = bytearray(_HEAD.unpack(head)[0])
    at = 0
    while at < len(data):
        count = channel.recv_into(memoryview(data)[at:])
        if not count:
            raise EOFError
        at += count
    return pickle.loads(data), fds
