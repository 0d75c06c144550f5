"""Display of errors that a user can fix, as messages instead of tracebacks, and of warnings, each once."""

import logging
import sys
from collections.abc import Callable

from rich.console import Console
from rich.logging import RichHandler

from vidjax.errors import UserError
from vidjax.launch import skip_tpu_search


def explain(run: Callable[[], int | None]) -> int:
    """Call `run` and return its exit status; for an error that a user can fix, print its message and return 1.

    Errors of other kinds are defects and keep their traceback.
    """
    _show_warnings()
    skip_tpu_search()
    try:
        return run() or 0
    except KeyboardInterrupt as error:
        print("; ".join(["interrupted", *map(str, error.args)]), file=sys.stderr)
        return 130
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


class _Warnings(RichHandler):
    """Log handler of the commands: shows all of vidjax's own records, and the warnings of others."""

    def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        own = record.name.split(".")[0] == "vidjax"
        return (own or record.levelno >= logging.WARNING) and super().filter(record)


def _show_warnings() -> None:
    """Show every warning once on standard error, whatever its origin."""
    # Attached to the root logger: if that has no handler, absl adds its own as soon as Orbax logs a line, which would
    # show everything a second time.
    for handler in logging.root.handlers[:]:
        if _is_second(handler):
            logging.root.removeHandler(handler)
    logging.root.addHandler(_Warnings(console=Console(stderr=True), show_time=False, show_path=False))
    for chatty in ("absl", "jax"):  # Orbax logs every step of a save, JAX every backend that it does not find
        logging.getLogger(chatty).setLevel(logging.ERROR)


def _is_second(handler: logging.Handler) -> bool:
    """Whether a handler is absl's own, the one that absl adds to a root logger without any, or from an earlier call."""
    absl = sys.modules.get("absl.logging")
    plain = type(handler) is logging.StreamHandler and handler.stream is sys.stderr
    return plain or isinstance(handler, _Warnings) or (absl is not None and handler is absl.get_absl_handler())
