"""Ctrl-C, which reaches every process of a terminal, left to the process that can act on it."""

import contextlib
import signal
from collections.abc import Generator


@contextlib.contextmanager
def left_to_this_process() -> Generator[None, None, None]:
    """Context in which to start processes that Ctrl-C must not end.

    A process takes seconds before it can ignore a signal. It begins with the blocked signals of the thread that starts
    it, so that Ctrl-C cannot end it in between either.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def ignore(*_: int) -> None:
    """Ignore Ctrl-C from now on; the arguments, if any, are not used."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
