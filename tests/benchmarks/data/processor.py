"""Processor time, user and system, of a process and of those that it has started and that still run."""

import os
import time
from pathlib import Path


def cpu_seconds() -> float:
    """Seconds so far, to the nanosecond on Linux; elsewhere, of this process alone."""
    if not Path("/proc/self/schedstat").exists():
        return time.process_time()
    return time.process_time() + sum(map(_spent, descendants(os.getpid())))


def _spent(pid: int) -> float:
    """Of all threads, those that have ended included only in the coarser sum of the kernel."""
    try:
        threads = [int((t / "schedstat").read_text().split()[0]) for t in Path(f"/proc/{pid}/task").iterdir()]
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    coarse = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return max(sum(threads) / 1e9, coarse - 0.01)


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    try:
        children = [int(p) for t in Path(f"/proc/{pid}/task").iterdir() for p in (t / "children").read_text().split()]
    except FileNotFoundError:
        return []
    return children + [below for child in children for below in descendants(child)]
