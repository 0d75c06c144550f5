"""A trained run behind HTTP (`vidjax serve RUN`)."""

import tempfile
from collections.abc import Sequence
from types import ModuleType

from rich.console import Console

from vidjax.apps.http_server import ending_quietly, listening
from vidjax.errors import UserError, install
from vidjax.serving.app import Server
from vidjax.serving.limits import Limits
from vidjax.serving.task_run import open_run
from vidjax.wording import things

HOST, PORT = "127.0.0.1", 8000


def serve(
    run: str,
    limits: Limits,
    *,
    host: str = HOST,
    port: int = PORT,
    allow_hosts: Sequence[str] = (),
    num_clips: int | None = None,
    num_crops: int | None = None,
    step: int | None = None,
    top: int | None = None,
) -> int:
    """Answer requests until SIGTERM or Ctrl-C; those under way are answered first.

    Args:
      run: work directory of a run, or folder written by `convert`, `export` or `quantize`.
      limits: limits of the server.
      host: address to listen at; the default is reached only from this machine.
      port: port to listen at; 0: a free one, which is printed.
      allow_hosts: hosts of addresses that clients may give instead of files; empty: none.
      num_clips, num_crops, step, top: as for `open_run`.

    Returns:
      0.

    Raises:
      UserError: if the run cannot be served, an extra is not installed, or the port is in use.
    """
    uvicorn = _uvicorn()
    served = open_run(run, limits, num_clips=num_clips, num_crops=num_crops, step=step, top=top)
    with tempfile.TemporaryDirectory(prefix="vidjax-serve-") as folder, listening(host, port) as listener:
        server = Server(served, limits, folder, allow_hosts)
        config = uvicorn.Config(
            server.app, log_config=None, access_log=False, timeout_graceful_shutdown=int(limits.drain) or 1,
            server_header=False, proxy_headers=False, timeout_keep_alive=5, lifespan="on", ws="none", http="h11",
        )  # fmt: skip
        number = listener.getsockname()[1]
        answers = ", ".join(f"POST /{name}" for name in served.answers)
        Console(stderr=True).print(
            f"{served.facts['model']} at http://{f'[{host}]' if ':' in host else host}:{number}: {answers}; "
            "GET /health, /ready, /metrics, /openapi.json",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        with ending_quietly():
            uvicorn.Server(config).run(sockets=[listener])
    print(f"stopped after {things(server.answered, 'request')}")
    return 0


def _uvicorn() -> ModuleType:
    try:
        import uvicorn
    except ImportError:
        raise UserError(f"serving needs the package uvicorn: {install('serve')}") from None
    return uvicorn
