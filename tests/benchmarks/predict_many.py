"""Batch inference that is killed again and again: `python -m tests.benchmarks.predict_many --out FOLDER`.

Makes many small videos, some of them broken, classifies them with a tiny network, kills the process at random times,
and compares what is there in the end with a run that nobody kills. What writing costs is the time that the process
spends on it, of the time for everything once the network is loaded.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tests.apps.test_embed import save, scene
from tests.videos import write_video


def make_inputs(folder: Path, count: int, bad: float) -> Path:
    """A list of `count` files, of which a share is broken: copies of 50 videos under names of their own."""
    sources = [write_video(folder / "sources" / f"{n}.mp4", scene(n, 6)) for n in range(50)]
    (folder / "videos").mkdir()
    draw, lines = random.Random(0), []
    for number in range(count):
        path = folder / "videos" / f"{number:06d}.mp4"
        content = sources[number % len(sources)].read_bytes()
        path.write_bytes(content if draw.random() >= bad else content[: draw.randrange(len(content) // 2)])
        lines.append(str(path))
    (folder / "list.csv").write_text("path\n" + "\n".join(lines) + "\n")
    return folder / "list.csv"


def contents(folder: Path) -> dict[str, bytes]:
    """The parts of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*"))}


def measured(run: str, source: Path, out: Path) -> dict[str, float]:
    """Seconds for all the work on a list, and those of them spent on writing, in this process."""
    from vidjax.apps import predict_many
    from vidjax.parts.folder import PartFolder

    spent = {"writing": 0.0, "all": 0.0}

    @contextlib.contextmanager
    def timed(what):
        begin = time.perf_counter()
        yield
        spent[what] += time.perf_counter() - begin

    to_bytes, write, work = predict_many.PredictionTable.to_bytes, PartFolder.write, predict_many.work

    def slow_to_bytes(*args):
        with timed("writing"):
            return to_bytes(*args)

    def slow_write(*args):
        with timed("writing"):
            write(*args)

    def slow_work(*args):
        with timed("all"):
            work(*args)

    predict_many.PredictionTable.to_bytes, PartFolder.write, predict_many.work = slow_to_bytes, slow_write, slow_work
    predict_many.predict_many(run, str(source), str(out), predict_many.Views(num_clips=1))
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--bad", type=float, default=0.02)
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    run = save(args.out / "run")
    source = make_inputs(args.out, args.inputs, args.bad)
    spent = measured(run, source, args.out / "calm")
    calm = contents(args.out / "calm")

    killed, draw, done = args.out / "killed", random.Random(1), []
    command = [sys.executable, "-m", "vidjax", "predict-many", run, str(source), str(killed), "--num-clips", "1"]
    room = spent["all"] / (args.kills + 1)  # seconds of work between two kills, so that all of them hit
    while len(done) < args.kills:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = time.monotonic()
        while not (killed / "_plan.json").exists() or len(contents_names(killed)) == (done[-1] if done else 0):
            if process.poll() is not None or time.monotonic() - before > 120:
                break
            time.sleep(0.02)
        time.sleep(draw.random() * room)
        if process.poll() is not None:
            break  # it was done before
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        done.append(len(contents_names(killed)))
    last = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = [row for part in sorted(killed.glob("part-*")) for row in pq.read_table(part).to_pylist()]
    listed = source.read_text().split()[1:]
    result = {
        "inputs": args.inputs,
        "kills": len(done),
        "parts after each kill": done,
        "bad": sum(bool(row["error"]) for row in rows),
        "every input once, in order": [row["path"] for row in rows] == listed,
        "bytes as without kills": contents(killed) == calm,
        "seconds of work": round(spent["all"], 1),
        "share spent on writing": round(spent["writing"] / spent["all"], 4),
        "finite": bool(np.isfinite([row["score"] for row in rows if not row["error"]]).all()),
        "last line": last.strip().splitlines()[-1],
    }
    print(json.dumps(result, indent=2))


def contents_names(folder: Path) -> list[str]:
    """Names of the parts of a folder."""
    return [path.name for path in folder.glob("part-*")]


if __name__ == "__main__":
    main()
