"""Early ends of a training: by a signal, or by a loss that is not finite."""

import contextlib
import logging
import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import jax

from vidjax import parallel
from vidjax.errors import UserError
from vidjax.training.saving import RunCheckpoints
from vidjax.training.step import TrainState

logger = logging.getLogger("vidjax")

_INTERRUPTED = 130  # the shells' exit status of a command ended by Ctrl-C


class DivergedError(UserError):
    """Raised if the loss or gradient is not finite; names the update and the last good checkpoint."""


class Interrupted(SystemExit):
    """Raised after SIGTERM or Ctrl-C, once the state is saved; the exit status is 0, or 130 after Ctrl-C."""

    def __init__(self, message: str, status: int = 0):
        super().__init__(status)
        self.message = message


class TermFlag:
    """Context that catches SIGTERM and SIGINT (Ctrl-C) as a request to stop. Works in the main thread only.

    A second SIGINT, or one before there is an update to save, interrupts at once. With several processes JAX catches
    SIGTERM, and all of them agree on the update after which they stop; SIGINT is passed on as SIGTERM.

    Attributes:
      status: exit status of the process.
    """

    def __enter__(self) -> "TermFlag":
        self.status, self._set, self._again, self._training = 0, False, False, False
        self._previous: dict[int, Any] = {}
        alone = jax.process_count() == 1
        try:
            if alone:
                self._previous[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._note)
            if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # ignored in the background of a script
                interrupted = self._interrupted if alone else self._interrupted_together
                self._previous[signal.SIGINT] = signal.signal(signal.SIGINT, interrupted)
        except ValueError:
            logger.debug("not in the main thread: signals are not caught")
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def after(self, step: int) -> bool:
        """Whether to stop after update `step`; call it after every update."""
        self._training = True
        return parallel.stop_agreed(step) or self._set

    def end(self) -> None:
        """Mark the end of the updates: from now on SIGINT interrupts at once."""
        self._training = False

    def _note(self, *_: object) -> None:
        self._set = True

    def _interrupted(self, *_: object) -> None:
        self._once()
        self.status, self._set = _INTERRUPTED, True

    def _interrupted_together(self, *_: object) -> None:
        self._once()
        os.kill(os.getpid(), signal.SIGTERM)

    def _once(self) -> None:
        if not self._training or self._again:
            raise KeyboardInterrupt
        self._again = True
        # Not through the console, which may hold its lock in the middle of a line.
        os.write(2, b"\nstopping: the state is saved after this update; interrupt again to stop without saving\n")


@contextlib.contextmanager
def interrupts_say_where(checkpoints: RunCheckpoints) -> Generator[None, None, None]:
    """Context that adds to a `KeyboardInterrupt` from which update the same command continues."""
    try:
        yield
    except KeyboardInterrupt as error:
        checkpoints.wait()
        kept = checkpoints.latest_step
        where = "starts from the beginning" if kept is None else f"continues from update {kept}"
        raise KeyboardInterrupt(f"the same command {where}") from error


def check_finite(state: TrainState, checkpoints: RunCheckpoints, workdir: Path, skip_bad_steps: int) -> None:
    """Stop a run that has diverged; waits for the update that produced `state`.

    Raises:
      DivergedError: if loss or gradient was NaN or infinite in more updates in a row than may be skipped.
    """
    bad_step = int(state.metrics["bad_step"])
    if bad_step < 0:
        return
    checkpoints.wait()
    kept = checkpoints.latest_step
    good = f"the last good checkpoint is that of update {kept}" if kept is not None else "there is no checkpoint yet"
    times = f" (number {skip_bad_steps + 1} in a row; {skip_bad_steps} are skipped)" if skip_bad_steps else ""
    also = "" if skip_bad_steps else ", or skip such updates with config.train.skip_bad_steps"
    raise DivergedError(
        f"the loss or the gradient was NaN or infinite in update {bad_step + 1}{times}; {good} in "
        f"{workdir}. Lower config.optimizer.learning_rate, lengthen warmup_epochs, or set clip_norm{also}"
    )
