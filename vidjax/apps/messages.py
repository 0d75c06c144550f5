"""Errors that a user can mend, shown as a message instead of a traceback."""

import logging
import sys
from collections.abc import Callable

from rich.console import Console
from rich.logging import RichHandler

from vidjax.errors import UserError


def explain(run: Callable[[], int | None]) -> int:
    """Call `run` and return its exit status; 1 with the message on standard error for an error that names its mend.

    Errors of other kinds are defects and keep their traceback.
    """
    logging.getLogger("vidjax").handlers = [RichHandler(console=Console(stderr=True), show_time=False, show_path=False)]
    for chatty in ("absl", "jax"):  # Orbax reports every step of a save, JAX every backend it does not find
        logging.getLogger(chatty).setLevel(logging.ERROR)
    try:
        return run() or 0
    except KeyboardInterrupt as error:
        print("; ".join(["interrupted", *map(str, error.args)]), file=sys.stderr)
        return 130
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
