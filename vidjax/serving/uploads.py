"""Files that clients send: received into a folder of the server's own, under a name of its own, up to a limit."""

import asyncio
import json
import os
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidjax.serving.addresses import fetch
from vidjax.serving.limits import Limits

# Raw bodies. Names and types that a client states are otherwise unused: decoding tells what a file is.
TYPES = ("application/octet-stream", "video/*", "audio/*")
_FORM, _ADDRESS = "multipart/form-data", "application/json"
_PIECE = 1 << 20  # bytes copied at a time
_MOST_TEXT = 1 << 16  # bytes of a body that is an address


class Refused(Exception):
    """A request that is not answered: status, and what is wrong, for the client."""

    def __init__(self, status: int, detail: str):
        super().__init__(detail)
        self.status, self.detail = status, detail


@dataclass(frozen=True)
class Upload:
    """What a client has sent.

    Attributes:
      path: path of the file.
      fields: what it gives beside the file, text by name: in the address of the request, in a form, or beside the
        address of a file.
    """

    path: str
    fields: Mapping[str, str]


class Uploads:
    """Receiver of uploads.

    Args:
      folder: folder for the files, which only this process uses.
      limits: limits of the server.
      hosts: hosts from which addresses that clients give are fetched; empty: addresses are refused.
    """

    def __init__(self, folder: str | Path, limits: Limits, hosts: Sequence[str] = ()):
        self._folder, self._limits, self._hosts = Path(folder), limits, tuple(hosts)

    @property
    def types(self) -> tuple[str, ...]:
        """Media types that are taken."""
        return (*TYPES, _FORM, *((_ADDRESS,) if self._hosts else ()))

    @asynccontextmanager
    async def receive(self, request: Any) -> AsyncIterator[Upload]:
        """Context with a request's file, which is removed at its end, and its fields.

        Args:
          request: Starlette request.

        Raises:
          Refused: if it has no file (422), its type is not taken (415), or it is too large (413).
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not self._takes(kind):
            raise Refused(415, f"content type {kind or 'missing'}: send {', '.join(self.types)}")
        stated = request.headers.get("content-length", "")
        if stated.isdigit() and int(stated) > self._limits.max_bytes + (_PIECE if kind == _FORM else 0):
            raise self._too_large()
        path, fields = self._folder / uuid.uuid4().hex, dict(request.query_params)
        try:
            if kind == _ADDRESS:
                fields |= await self._fetched(request, path)
            elif kind == _FORM:
                fields |= await self._from_form(request, path)
            else:
                await self._copy(request.stream(), path)
            if not path.stat().st_size:
                raise Refused(422, "the file is empty (0 bytes)")
            yield Upload(str(path), fields)
        finally:
            path.unlink(missing_ok=True)

    def _takes(self, kind: str) -> bool:
        family = kind.partition("/")[0]
        return kind in self.types or (f"{family}/*" in self.types and kind != f"{family}/")

    def _too_large(self) -> Refused:
        return Refused(413, f"the file is larger than {self._limits.max_bytes:,} bytes, the limit of this server")

    async def _copy(self, stream: AsyncIterator[bytes], path: Path) -> None:
        size = 0
        with open(path, "xb", opener=_private) as file:
            async for piece in stream:
                if (size := size + len(piece)) > self._limits.max_bytes:
                    raise self._too_large()
                file.write(piece)

    async def _from_form(self, request: Any, path: Path) -> dict[str, str]:
        from starlette.formparsers import MultiPartException, MultiPartParser

        try:
            parser = MultiPartParser(request.headers, self._counted(request.stream()), max_files=1, max_fields=4)
            form = await parser.parse()
        except (MultiPartException, KeyError, ValueError) as error:
            told = getattr(error, "message", "no boundary between its parts")
            raise Refused(422, f"the form cannot be read ({told}); send one file") from None
        try:
            files = [value for _, value in form.multi_items() if not isinstance(value, str)]
            fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
            if not files:
                raise Refused(422, "the form has no file: send one, in a part with a file name")
            await asyncio.to_thread(_copied, files[0].file, path)
        finally:
            await form.close()
        if path.stat().st_size > self._limits.max_bytes:
            raise self._too_large()
        return fields

    async def _counted(self, stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        size = 0
        async for piece in stream:
            if (size := size + len(piece)) > self._limits.max_bytes + _PIECE:  # what surrounds the file is small
                raise self._too_large()
            yield piece

    async def _fetched(self, request: Any, path: Path) -> dict[str, str]:
        text = b""
        async for piece in request.stream():
            if len(text := text + piece) > _MOST_TEXT:
                raise Refused(413, f"an address and what is beside it has {_MOST_TEXT:,} bytes at most")
        try:
            fields = json.loads(text)
            address = fields.pop("url")
            fields = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise Refused(422, 'the body must be {"url": "https://…"}') from None
        limits = self._limits
        try:
            await asyncio.to_thread(
                fetch, address, path, hosts=self._hosts, most=limits.max_bytes, seconds=limits.seconds
            )
        except OverflowError:
            raise self._too_large() from None
        except ValueError as error:
            raise Refused(422, str(error)) from None
        return fields


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _copied(file: Any, path: Path) -> None:
    file.seek(0)
    with open(path, "xb", opener=_private) as own:
        while piece := file.read(_PIECE):
            own.write(piece)
