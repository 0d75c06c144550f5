"""Why a training ends before its last update: a signal, or a loss that is not finite."""

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

_INTERRUPTED = 130  # as shells call a command that Ctrl-C has ended


class DivergedError(UserError):
    """The loss was not finite; the message names the step and the last good checkpoint."""


class Interrupted(SystemExit):
    """SIGTERM or Ctrl-C: the state is saved, and the process ends with status 0, or 130 after Ctrl-C."""

    def __init__(self, message: str, status: int = 0):
        super().__init__(status)
        self.message = message


class TermFlag:
    """Whether to stop: SIGTERM has come, or SIGINT (Ctrl-C). Elsewhere than in the main thread neither is ever seen.

    A second SIGINT, or one before there is an update to save, interrupts at once. Among several processes JAX catches
    SIGTERM, and all of them agree on the update after which they stop; SIGINT is passed on to it as one.

    Attributes:
      status: for the process to end with.
    """

    def __enter__(self) -> "TermFlag":
        self.status, self._set, self._again, self._training = 0, False, False, False
        self._previous: dict[int, Any] = {}
        alone = jax.process_count() == 1
        try:
            if alone:
                self._previous[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._note)
            if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as it is in the background of a script
                interrupted = self._interrupted if alone else self._interrupted_together
                self._previous[signal.SIGINT] = signal.signal(signal.SIGINT, interrupted)
        except ValueError:
            logger.debug("not in the main thread: signals are not caught")
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def after(self, step: int) -> bool:
        """Whether to stop after update `step`; to be asked after each."""
        self._training = True
        return parallel.stop_agreed(step) or self._set

    def end(self) -> None:
        """Note that no more updates come: from now on SIGINT interrupts at once."""
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
        # Not by a console, which may be in the middle of a line that it has locked.
        os.write(2, b"\nstopping: the state is saved after this update; once more, and it is not\n")


@contextlib.contextmanager
def interrupts_say_where(checkpoints: RunCheckpoints) -> Generator[None, None, None]:
    """A `KeyboardInterrupt` from within says from which update the same command goes on."""
    try:
        yield
    except KeyboardInterrupt as error:
        checkpoints.wait()
        kept = checkpoints.latest_step
        where = "starts from the beginning" if kept is None else f"continues from update {kept}"
        raise KeyboardInterrupt(f"the same command {where}") from error


def check_finite(state: TrainState, checkpoints: RunCheckpoints, workdir: Path, skip_bad_steps: int) -> None:
    """Stop a run that has diverged; waits for the update that gave `state`.

    Raises:
      DivergedError: if its loss or gradient was NaN or infinite in more updates than may be left out.
    """
    bad_step = int(state.metrics["bad_step"])
    if bad_step < 0:
        return
    checkpoints.wait()
    kept = checkpoints.latest_step
    good = f"the last good checkpoint is that of update {kept}" if kept is not None else "there is no checkpoint yet"
    times = f" (number {skip_bad_steps + 1} in a row; {skip_bad_steps} are left out)" if skip_bad_steps else ""
    also = "" if skip_bad_steps else ", or leave such updates out with config.train.skip_bad_steps"
    raise DivergedError(
        f"the loss or the gradient was NaN or infinite in update {bad_step + 1}{times}; {good} in "
        f"{workdir}. Lower config.optimizer.learning_rate, lengthen warmup_epochs, or set clip_norm{also}"
    )
