"""Files at addresses that clients give: only from hosts that are allowed, looked up once, without redirects."""

import http.client
import ipaddress
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_PIECE = 1 << 16


class AddressError(ValueError):
    """Error: an address is not fetched, or not there; for the client."""


def fetch(address: Any, path: Path, *, hosts: Sequence[str], most: int, seconds: float) -> None:
    """Fetch a file to a path.

    A host is looked up once, and connected to where it was found. It must have a public address, unless it is allowed
    by its number: so no name leads into the server's own network.

    Args:
      address: address that a client gives, http:// or https://.
      path: path of the new file.
      hosts: names or numbers of hosts that are allowed, exactly as they stand in addresses, without ports.
      most: most bytes.
      seconds: most time.

    Raises:
      AddressError: if the address is not allowed, or there is no file.
      OverflowError: if the file is larger than `most`.
    """
    until = time.monotonic() + seconds
    try:
        parts = urlsplit(address)
        host, port = (parts.hostname or "").lower(), parts.port
    except (ValueError, AttributeError, TypeError):
        raise AddressError("the address cannot be read; give one such as https://host/clip.mp4") from None
    if parts.scheme not in ("http", "https") or not host or parts.username is not None:
        raise AddressError("the address must be http:// or https:// and without a user")
    if host not in {each.lower() for each in hosts}:
        raise AddressError(f"files of the host {host} are not taken by this server")
    secure = parts.scheme == "https"
    number = _number(host, port or (443 if secure else 80))
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection: Any = kind(host, port, timeout=max(until - time.monotonic(), 0.1))
    # Names of certificates are still compared with the host's own.
    connection._create_connection = lambda place, *rest, **more: socket.create_connection(
        (number, place[1]), *rest, **more
    )
    try:
        connection.request("GET", f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}")
        response = connection.getresponse()
        if response.status != 200:
            raise AddressError(f"{host} answers with {response.status}, not with a file; redirects are not followed")
        _save(response, connection, path, most, until)
    except (OSError, http.client.HTTPException) as error:
        raise AddressError(f"{host} gives no file ({type(error).__name__})") from None
    finally:
        connection.close()


def _number(host: str, port: int) -> str:
    """Number of a host, which is public, or is what the host is called by."""
    try:
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except OSError:
        raise AddressError(f"the host {host} is not found") from None
    public = [number for number in found if number == host or ipaddress.ip_address(number.partition("%")[0]).is_global]
    if not public or len(public) < len(found):
        raise AddressError(f"the host {host} is not public")
    return public[0]


def _save(response: Any, connection: Any, path: Path, most: int, until: float) -> None:
    size = 0
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        while True:
            if (left := until - time.monotonic()) <= 0:
                raise TimeoutError
            if connection.sock is not None:
                connection.sock.settimeout(left)
            if not (piece := response.read1(_PIECE)):
                return
            if (size := size + len(piece)) > most:
                raise OverflowError
            file.write(piece)
