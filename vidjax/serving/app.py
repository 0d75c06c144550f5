"""The HTTP interface of a trained run, a FastAPI application.

A request's file is received, decoded in a process of its own, and goes through the network together with those of
other requests. What a client does wrong is answered with 4xx: 408 (sends too slowly), 413 (too large), 415 (another
type), 422 (no video that can be decoded, or a wrong field beside it), 429 (too many requests). 504 says that the time
was not enough, 503 that the server is not ready.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vidjax import __version__
from vidjax.errors import UserError, install
from vidjax.serving.answers import Run, reason_of
from vidjax.serving.batcher import Batcher
from vidjax.serving.limits import Limits
from vidjax.serving.metrics import Metrics
from vidjax.serving.uploads import Refused, Upload, Uploads
from vidjax.tasks.service import Answer, Read, object_schema
from vidjax.view_batches import split_views

logger = logging.getLogger("vidjax")

_RETRY = {"Retry-After": "1"}
_WRONG = {
    408: "The file came too slowly.",
    413: "The file is too large.",
    415: "The content type is not taken.",
    422: "The file is no video that can be decoded, or a field beside it cannot be used.",
    429: "There are too many requests at the moment.",
    503: "The server is not ready.",
    504: "The time was not enough.",
}
_DETAIL = object_schema(detail={"type": "string"})


class Server:
    """A run behind HTTP.

    Args:
      run: run to serve.
      limits: limits of the server.
      folder: folder for uploads, which only this process uses.
      hosts: hosts of addresses that clients may give instead of files.

    Attributes:
      app: the application, for an ASGI server.
      answered: number of requests answered so far.

    Raises:
      UserError: if FastAPI is not installed.
    """

    def __init__(self, run: Run, limits: Limits, folder: str | Path, hosts: Sequence[str] = ()):
        self._run, self._limits, self.metrics = run, limits, Metrics()
        self._uploads = Uploads(folder, limits, hosts)
        self._pool = ThreadPoolExecutor(limits.threads, thread_name_prefix="vidjax-decode")
        self._batcher = Batcher(run.compute, limits.buckets, wait=limits.wait, seen=self.metrics.batches.observe)
        self._warming: threading.Thread | None = None
        self._in_flight, self.answered = 0, 0
        self._ready, self._failed = False, ""
        self.app = self._make()

    def warm_up(self) -> None:
        """Compile the network for all sizes of batches, in a thread; the server is ready then."""

        def compile_all() -> None:
            try:
                self._ready = self._batcher.warm_up(self._run.blank())
            except Exception as error:
                self._failed = f"{type(error).__name__}: {error}"
                logger.exception("the network cannot be compiled")

        self._warming = threading.Thread(target=compile_all, name="vidjax-warm-up", daemon=True)
        self._warming.start()

    def close(self) -> None:
        """End the threads, after what is under way."""
        self._ready = False
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._batcher.close()
        if self._warming is not None:
            self._warming.join()

    def _make(self) -> Any:
        try:
            from fastapi import FastAPI, Request
            from fastapi.responses import JSONResponse, Response
        except ImportError:
            raise UserError(f"serving needs the package fastapi: {install('serve')}") from None

        @contextlib.asynccontextmanager
        async def lifespan(_: Any) -> AsyncIterator[None]:
            self.warm_up()
            yield
            await asyncio.to_thread(self.close)

        # Pages that show the interface would fetch scripts from other hosts.
        app = FastAPI(
            title="vidjax", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan,
            description=f"Answers of the network {self._run.facts['model']} about videos.",
        )  # fmt: skip

        @app.get("/health", summary="Whether the server runs.")
        async def health() -> dict[str, Any]:
            return {"status": "ok"} | self._run.facts

        @app.get("/ready", summary="Whether requests are answered: after the network is compiled, until the end.")
        async def ready() -> Any:
            if self._ready:
                return {"status": "ready"}
            return JSONResponse({"detail": self._failed or "starting or stopping"}, 503, _RETRY)

        @app.get("/metrics", summary="Figures for Prometheus.")
        async def figures() -> Any:
            content, kind = self.metrics.text()
            return Response(content, headers={"Content-Type": kind})

        def add(name: str) -> None:
            answer = self._run.answers[name]

            async def endpoint(request: Any) -> Any:
                status, content = await self._respond(name, request)
                return JSONResponse(content, status, _RETRY if status in (429, 503) else None)

            endpoint.__annotations__["request"] = Request  # known only now
            responses: dict[int | str, dict[str, Any]] = {
                status: {"description": text, "content": {"application/json": {"schema": _DETAIL}}}
                for status, text in _WRONG.items()
            }
            responses[200] = {
                "description": "The answer.",
                "content": {"application/json": {"schema": dict(answer.schema)}},
            }
            app.post(
                f"/{name}", summary=answer.summary, name=name, responses=responses, response_model=None,
                openapi_extra=self._asked(answer),
            )(endpoint)  # fmt: skip

        for name in self._run.answers:
            add(name)
        return app

    def _asked(self, answer: Answer) -> dict[str, Any]:
        """Bodies and parameters of requests for an answer, for OpenAPI."""
        binary, fields = {"type": "string", "format": "binary"}, {n: dict(s) for n, s in answer.fields.items()}
        own = {
            "multipart/form-data": object_schema(file=binary, **fields) | {"required": ["file"]},
            "application/json": object_schema(url={"type": "string"}, **fields) | {"required": ["url"]},
        }
        found: dict[str, Any] = {
            "requestBody": {
                "required": True,
                "content": {kind: {"schema": own.get(kind, binary)} for kind in self._uploads.types},
            }
        }
        if fields:  # beside a body that is the file
            found["parameters"] = [{"name": name, "in": "query", "schema": schema} for name, schema in fields.items()]
        return found

    async def _respond(self, name: str, request: Any) -> tuple[int, dict[str, Any]]:
        """Status and content of the response to a request for an answer."""
        begin = time.monotonic()
        if self._in_flight >= self._limits.queue:
            await _drained(request, self._limits)
            return self._counted(name, 429, {"detail": "too many requests at the moment; try again"})
        if not self._ready:
            return self._counted(name, 503, {"detail": self._failed or "starting or stopping"})
        self._in_flight += 1
        self.metrics.in_flight.set(self._in_flight)
        try:
            status, content = 200, await self._answer(name, request, begin + self._limits.seconds)
        except Refused as refused:
            if refused.status in (413, 415):
                await _drained(request, self._limits)
            status, content = refused.status, {"detail": refused.detail}
        except Exception:
            logger.exception("a request failed")
            status, content = 500, {"detail": "a defect of the server, see its log"}
        finally:
            self._in_flight -= 1
            self.metrics.in_flight.set(self._in_flight)
        self.metrics.seconds.labels(name).observe(time.monotonic() - begin)
        return self._counted(name, status, content)

    def _counted(self, name: str, status: int, content: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.metrics.requests.labels(name, status).inc()
        self.answered += 1
        return status, content

    async def _answer(self, name: str, request: Any, until: float) -> dict[str, Any]:
        """The answer to a request.

        Raises:
          Refused: if there is none.
        """
        answer, limit = self._run.answers[name], f"within {self._limits.seconds:g} s, the limit of this server"
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    upload = await stack.enter_async_context(self._uploads.receive(request))
            except TimeoutError:
                raise Refused(408, f"the file did not arrive {limit}") from None
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    loop = asyncio.get_running_loop()
                    read = await loop.run_in_executor(self._pool, self._read, answer, upload)
                    views = split_views(read[0])
                    outputs = await asyncio.wrap_future(self._batcher.submit(views))
            except TimeoutError:
                raise Refused(504, f"there was no answer {limit}") from None
        return await asyncio.to_thread(answer.of, read, outputs)

    def _read(self, answer: Answer, upload: Upload) -> Read:
        if unknown := [name for name in upload.fields if name not in answer.fields]:
            takes = ", ".join(answer.fields) or "nothing beside the file"
            raise Refused(422, f"the field {unknown[0]} is unknown; this answer takes {takes}")
        begin, path = time.monotonic(), upload.path
        try:
            return answer.read(path, upload.fields)
        except Exception as error:  # whatever a file does to its decoder, the file is to blame
            if not isinstance(error, UserError):
                self.metrics.defects.inc()
                logger.warning("a file broke its decoder: %s: %s", type(error).__name__, error)
            raise Refused(422, reason_of(error, path)) from None
        finally:
            self.metrics.decoding.observe(time.monotonic() - begin)


async def _drained(request: Any, limits: Limits) -> None:
    """Receive what a client still sends, up to a limit, so that it sees the response instead of a broken connection."""
    size = 0
    with contextlib.suppress(Exception):
        async with asyncio.timeout(min(limits.seconds, 5.0)):
            async for piece in request.stream():
                if (size := size + len(piece)) > limits.max_bytes:
                    return
