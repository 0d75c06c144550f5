"""What commands that answer over HTTP share: the port they listen at, and a quiet end."""

import contextlib
import signal
import socket
from collections.abc import Iterator

from vidjax.errors import UserError


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Context with a socket that listens, so that a port in use is one clear line.

    Args:
      host: address to listen at.
      port: port; 0: a free one.

    Raises:
      UserError: if that is not possible.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(1024)
            yield listener
    except OSError as error:
        raise UserError(
            f"cannot listen at {host}:{port} ({error.strerror or error}); give another --port or --host"
        ) from None


@contextlib.contextmanager
def ending_quietly() -> Iterator[None]:
    """Context in which signals that end a server do so without ending the process, or printing a traceback."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in kept:
        signal.signal(number, lambda *_: None)  # uvicorn sends the signal again when it is done
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
