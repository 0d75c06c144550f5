"""Time of exported programs on the CPU."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from vidjax.export.clips import Clips

ROUNDS = 15


def cpu_times(
    runs: Mapping[str, Callable[[Clips], Any]], clips: Clips, batches: tuple[int, ...] = (1, 8), rounds: int = ROUNDS
) -> dict[str, dict[str, float]]:
    """CPU time per clip of several programs, milliseconds: by name of the program and number of clips at a time.

    They take turns, so that whatever else the machine does meets all of them; the least of the rounds counts.

    Args:
      runs: programs by name.
      clips: inputs as read, as many clips as the largest batch.
      batches: numbers of clips at a time.
      rounds: number of measurements of each.
    """
    found: dict[str, dict[str, float]] = {name: {} for name in runs}
    for count in batches:
        part = {name: array[:count] for name, array in clips.items()}
        times: dict[str, list[float]] = {name: [] for name in runs}
        for turn in range(rounds + 2):
            for name, run in runs.items():
                start = time.process_time()
                run(part)
                if turn > 1:  # the first ones allocate
                    times[name].append(time.process_time() - start)
        for name, values in times.items():
            found[name][str(count)] = 1000 * min(values) / count
    return found
