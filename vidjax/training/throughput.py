"""What a log line says of the updates since the one before: how well they did, and how fast."""

import logging
import math
import time
from collections.abc import Mapping

from vidjax.tasks.task import Sum

logger = logging.getLogger("vidjax")


class Meter:
    """Counts updates, and the time that they take.

    Args:
      clips_per_update: over all devices.
    """

    def __init__(self, clips_per_update: int):
        self._clips = clips_per_update
        self._seen: dict[str, float] = {}
        self.restart()

    def restart(self) -> None:
        """Count anew, from now on."""
        self._updates, self._since = 0, time.perf_counter()

    def count(self) -> None:
        """Note one update."""
        self._updates += 1

    def leave_out(self, seconds: float) -> None:
        """Do not count so much of the time passed, in which there was no training."""
        self._since += seconds

    def keep(self, sums: Mapping[str, float]) -> None:
        """Note the state's sums as they are at a log line, after which they begin anew."""
        self._seen = {name: self._seen.get(name, 0.0) + value for name, value in sums.items()}

    def since_evaluation(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Sums over all updates since this was last asked for, of which `sums` are those since the last log line."""
        total = {name: self._seen.get(name, 0.0) + value for name, value in sums.items()}
        self._seen = {name: -value for name, value in sums.items()}
        return total

    def read(self, waited: float) -> dict[str, float]:
        """`clips_per_second`, and `data_wait`, the share of the time that the `waited` seconds are."""
        seconds = max(time.perf_counter() - self._since, 1e-9)
        return {"clips_per_second": self._updates * self._clips / seconds, "data_wait": waited / seconds}


def averages(sums: Mapping[str, float], shown: Mapping[str, Sum], *, skips: bool, done: int) -> dict[str, float]:
    """Means over the updates since the last log line, NaN if all of them were left out.

    Args:
      sums: the state's metrics, from the devices.
      shown: which of them are the objective's, and how these are called.
      skips: whether updates may be left out; a warning says so if the last one was.
      done: its number.
    """

    def mean(name: str, over: str) -> float:
        return sums[name] / sums[over] if sums[over] else math.nan

    values = {name: mean(name, "updates") for name in ("loss", "grad_norm")}
    values |= {how.log: mean(name, "weight") for name, how in shown.items()}
    if skips:
        values["skipped"] = sums["skipped"]
        if sums["skipped_in_row"]:
            logger.warning(
                "update %d is left out: its loss or gradient was not finite (%d in all)", done, sums["skipped"]
            )
    return values


def in_words(values: Mapping[str, float], shown: Mapping[str, Sum]) -> str:
    """A log line for people."""
    return (
        f"{in_short(values, shown)}  {values['clips_per_second']:.1f} clips/s  "
        f"waiting for data {100 * values['data_wait']:.0f} %"
    )


def in_short(values: Mapping[str, float], shown: Mapping[str, Sum]) -> str:
    """Loss, and what else the objective has."""
    further = "".join(f"  {how.short} {100 * values[how.log]:.1f} %" for how in shown.values())
    return f"loss {values['loss']:.3f}{further}"
