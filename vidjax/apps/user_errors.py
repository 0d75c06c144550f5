"""Errors that a user can mend, shown as a message instead of a traceback, and warnings, each once."""

import logging
import sys
from collections.abc import Callable

from rich.console import Console
from rich.logging import RichHandler

from vidjax.errors import UserError
from vidjax.launch import skip_tpu_search


def explain(run: Callable[[], int | None]) -> int:
    """Call `run` and return its exit status; 1 with the message on standard error for an error that names its mend.

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
    """What a command shows of the log: all of vidjax's own, and the warnings of others."""

    def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        own = record.name.split(".")[0] == "vidjax"
        return (own or record.levelno >= logging.WARNING) and super().filter(record)


def _show_warnings() -> None:
    """Have standard error show every warning once, whoever gives it."""
    # At the root, since a log without any handler there is given one by absl as soon as Orbax writes a line: a second
    # one, that shows everything again.
    for handler in logging.root.handlers[:]:
        if _is_second(handler):
            logging.root.removeHandler(handler)
    logging.root.addHandler(_Warnings(console=Console(stderr=True), show_time=False, show_path=False))
    for chatty in ("absl", "jax"):  # Orbax reports every step of a save, JAX every backend it does not find
        logging.getLogger(chatty).setLevel(logging.ERROR)


def _is_second(handler: logging.Handler) -> bool:
    """Whether it is absl's own, the one that absl gives to a root without any, or of an earlier call."""
    absl = sys.modules.get("absl.logging")
    plain = type(handler) is logging.StreamHandler and handler.stream is sys.stderr
    return plain or isinstance(handler, _Warnings) or (absl is not None and handler is absl.get_absl_handler())
