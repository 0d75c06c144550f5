"""Why a training ends before its last update: a signal, or a loss that is not finite."""

import logging
import signal
from pathlib import Path

import jax

from vidjax import parallel
from vidjax.errors import UserError
from vidjax.training.saving import RunCheckpoints
from vidjax.training.step import TrainState

logger = logging.getLogger("vidjax")


class DivergedError(UserError):
    """The loss was not finite; the message names the step and the last good checkpoint."""


class Interrupted(SystemExit):
    """SIGTERM: the state is saved, and the process ends with status 0."""

    def __init__(self, message: str):
        super().__init__(0)
        self.message = message


class TermFlag:
    """Whether to stop: SIGTERM has come. Outside the main thread signals cannot be caught, and it never has.

    Among several processes JAX catches the signal, and all of them agree on the update after which they stop.
    """

    def __enter__(self) -> "TermFlag":
        self._set, self._previous = False, None
        if jax.process_count() == 1:
            try:
                self._previous = signal.signal(signal.SIGTERM, self._note)
            except ValueError:
                logger.debug("not in the main thread: SIGTERM is not caught")
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def after(self, step: int) -> bool:
        """Whether to stop after update `step`; to be asked after each."""
        return parallel.stop_agreed(step) or self._set

    def _note(self, *_: object) -> None:
        self._set = True


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
