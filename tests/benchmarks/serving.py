"""A server under attack and under load: `python -m tests.benchmarks.serving --out FOLDER`.

A client sends good requests one after the other, first alone, then while others send hostile and broken files; then
many send good requests at a time. Files that the hostile ones name are watched, and so is the memory of all processes.
"""

import argparse
import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tests import hostile
from tests.apps.test_embed import save, scene
from tests.client import ask, serving, tree_memory
from tests.videos import write_video
from tests.watching import opened


def timed(port: int, content: bytes, seconds: list[float]) -> int:
    """Status of a request; its time is added to `seconds`."""
    begin = time.perf_counter()
    status, _ = ask(port, "/predict", content)
    seconds.append(time.perf_counter() - begin)
    return status


def told(seconds: list[float]) -> dict[str, float]:
    """Quantiles of times, in milliseconds."""
    return {name: round(1000 * float(np.quantile(seconds, q)), 1) for name, q in (("p50", 0.5), ("p99", 0.99))}


def batches(port: int) -> tuple[float, float, float]:
    """Number of batches so far, of their views, and of decoders that broke unexpectedly."""
    figures = dict(line.rsplit(" ", 1) for line in ask(port, "/metrics")[1].splitlines() if line[0] != "#")
    names = ("batch_views_count", "batch_views_sum", "decoding_defects_total")
    count, views, defects = (float(figures[f"vidjax_{name}"]) for name in names)
    return count, views, defects


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run", default="", help="run to serve (default: a tiny network)")
    parser.add_argument("--uploads", type=int, default=500)
    parser.add_argument("--attackers", type=int, default=2)
    parser.add_argument("--good", type=int, default=300)
    parser.add_argument("--parallel", type=int, default=64)
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    run = args.run or save(args.out / "run")
    others = hostile.write_others(args.out / "others")
    good = write_video(args.out / "good.mp4", scene(0, 12)).read_bytes()
    attacks = list(hostile.uploads(others, args.uploads))
    result: dict = {}
    with serving(run, "--decode-seconds", "5") as served:
        port, pid = served.port, served.process.pid
        for _ in range(20):
            ask(port, "/predict", good)
        memory, over = [tree_memory(pid)], threading.Event()

        def watch() -> None:
            while not over.wait(0.2):
                memory.append(tree_memory(pid))

        watching = threading.Thread(target=watch)
        watching.start()
        quiet: list[float] = []
        quiet_statuses = Counter(timed(port, good, quiet) for _ in range(args.good))
        loud: list[float] = []
        with opened(others) as names, ThreadPoolExecutor(args.attackers) as pool:
            begin = time.perf_counter()
            futures = [pool.submit(ask, port, "/predict", content) for _, content in attacks]
            loud_statuses: Counter = Counter()
            while not all(future.done() for future in futures) or len(loud) < args.good:
                loud_statuses[timed(port, good, loud)] += 1
            attack_seconds = time.perf_counter() - begin
            outcomes = Counter(future.result()[0] for future in futures)
        by_kind = {name: future.result()[0] for (name, _), future in zip(attacks, futures, strict=True)}
        before = batches(port)
        with ThreadPoolExecutor(args.parallel) as pool:
            times: list[float] = []
            begin = time.perf_counter()
            parallel = Counter(pool.map(lambda _: timed(port, good, times), range(4 * args.parallel)))
            seconds = time.perf_counter() - begin
        count, views, defects = (late - early for late, early in zip(batches(port), before, strict=True))
        over.set()
        watching.join()
        result = {
            "hostile uploads": dict(outcomes),
            "answered with 200": sorted({name for name, status in by_kind.items() if status == 200}),
            "seconds of the attack": round(attack_seconds, 1),
            "other files read": sorted(set(names)),
            "server alive": served.process.poll() is None,
            "defects": before[2] + defects,
            "memory before, most, MiB": [memory[0] >> 20, max(memory) >> 20],
            "good requests, quiet, ms": told(quiet) | {"statuses": dict(quiet_statuses)},
            "good requests, attacked, ms": told(loud) | {"statuses": dict(loud_statuses), "count": len(loud)},
            "parallel": {"statuses": dict(parallel), "per second": round(len(times) / seconds, 1), **told(times)},
            "views per batch, parallel": round(views / count, 2),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
