"""Figures of a log line about the updates since the previous one: losses, metrics and speed."""

import logging
import math
import time
from collections.abc import Mapping

from vidjax.tasks.task import Sum

logger = logging.getLogger("vidjax")


class Meter:
    """Counter of updates and of the time they take.

    Args:
      clips_per_update: clips per update over all devices.
    """

    def __init__(self, clips_per_update: int):
        self._clips = clips_per_update
        self._seen: dict[str, float] = {}
        self.restart()

    def restart(self) -> None:
        """Reset the count and the clock."""
        self._updates, self._since = 0, time.perf_counter()

    def count(self) -> None:
        """Count one update."""
        self._updates += 1

    def leave_out(self, seconds: float) -> None:
        """Exclude `seconds` of the time passed, in which there was no training."""
        self._since += seconds

    def keep(self, sums: Mapping[str, float]) -> None:
        """Add the state's sums at a log line, after which they are reset."""
        self._seen = {name: self._seen.get(name, 0.0) + value for name, value in sums.items()}

    def since_evaluation(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Sums over all updates since the last call; `sums` are those since the last log line."""
        total = {name: self._seen.get(name, 0.0) + value for name, value in sums.items()}
        self._seen = {name: -value for name, value in sums.items()}
        return total

    def read(self, waited: float) -> dict[str, float]:
        """Speed since the last reset: `clips_per_second`, and `data_wait`, the `waited` seconds as a share of it."""
        seconds = max(time.perf_counter() - self._since, 1e-9)
        return {"clips_per_second": self._updates * self._clips / seconds, "data_wait": waited / seconds}


def averages(sums: Mapping[str, float], shown: Mapping[str, Sum], *, skips: bool, done: int) -> dict[str, float]:
    """Means over the updates since the last log line, NaN if all of them were skipped.

    Args:
      sums: metrics of the state, from the devices.
      shown: names under which the objective's sums are shown, by sum.
      skips: whether updates may be skipped; a warning is logged if the last one was.
      done: number of the last update.
    """

    def mean(name: str, over: str) -> float:
        return sums[name] / sums[over] if sums[over] else math.nan

    values = {name: mean(name, "updates") for name in ("loss", "grad_norm")}
    values |= {how.log: mean(name, "weight") for name, how in shown.items()}
    if skips:
        values["skipped"] = sums["skipped"]
        if sums["skipped_in_row"]:
            logger.warning(
                "update %d was skipped: its loss or gradient was not finite (%d in all)", done, sums["skipped"]
            )
    return values


def in_words(values: Mapping[str, float], shown: Mapping[str, Sum]) -> str:
    """Format a log line for the console."""
    return (
        f"{in_short(values, shown)}  {values['clips_per_second']:.1f} clips/s  "
        f"waiting for data {100 * values['data_wait']:.0f} %"
    )


def in_short(values: Mapping[str, float], shown: Mapping[str, Sum]) -> str:
    """Format the loss and the objective's further figures."""
    figures = (f"{100 * values[how.log]:.1f} %" if how.share else f"{values[how.log]:.3f}" for how in shown.values())
    further = "".join(f"  {how.short} {figure}" for how, figure in zip(shown.values(), figures, strict=True))
    return f"loss {values['loss']:.3f}{further}"
