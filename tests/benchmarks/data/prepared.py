"""CPU-seconds to fetch training clips: JPEG ArrayRecord against the mp4 files it was prepared from, in one run.

    python -m tests.benchmarks.data.prepared [--repeats 15]

Each clip is 16 frames at stride 4 from a random start, at short side 256 (what most models crop from), opening
included; all ways go through `open_video`, as training does. JPEG frames are stored at short side 256, in two
qualities. Also measured: the same files inside ArrayRecords. Exits with 1 where the gate is missed.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.benchmarks.data.files import benchmark_files
from vidjax.data.prepared.encode import Encoding
from vidjax.data.prepared.write import prepare
from vidjax.data.reading.open_video import address, open_video
from vidjax.data.records import Labels, LabelSpace, Record, VideoSet

GATE = 3.0
CLIP = 4 * np.arange(16)
JPEGS = {f"jpeg_{quality}": Encoding(jpeg=True, quality=quality) for quality in (75, 90)}


def fetch(path: str, start: int) -> np.ndarray:
    with open_video(path, isolate=False) as reader:
        return reader.read(CLIP + start, resize=256)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="clips per file")
    repeats = parser.parse_args().repeats
    ratios: dict[str, list[float]] = {name: [] for name in JPEGS}
    jpegs = " | ".join(f"JPEG {q} ms | mp4 ÷ JPEG {q} | disk" for q in (75, 90))
    print(f"| file | mp4 ms | mp4 in ArrayRecord ms | {jpegs} |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        files = benchmark_files(Path(folder))
        videos = VideoSet(tuple(Record(str(f), Labels((i % 2,))) for i, f in enumerate(files)), LabelSpace(("a", "b")))
        stored = {
            name: prepare({"train": videos}, Path(folder) / name, encoding, shard_bytes=1).folder
            for name, encoding in {"files": Encoding(), **JPEGS}.items()
        }
        for index, file in enumerate(files):
            ways = {"mp4": str(file)} | {k: address(f, "train", index, file.name) for k, f in stored.items()}
            ms = measure(ways, repeats)
            cells = [file.name, f"{ms['mp4']:.1f}", f"{ms['files']:.1f}"]
            for name in JPEGS:
                ratios[name].append(ms["mp4"] / ms[name])
                (shard,) = Path(stored[name]).glob(f"*-{index:05d}-of-*")
                disk = shard.stat().st_size / file.stat().st_size
                cells += [f"{ms[name]:.1f}", f"{ratios[name][-1]:.2f}", f"{disk:.1f}×"]
            print(f"| {' | '.join(cells)} |", flush=True)
    means = {name: statistics.geometric_mean(r) for name, r in ratios.items()}
    print(f"geometric means {', '.join(f'{name}: {mean:.2f}' for name, mean in means.items())}; gate {GATE}")
    return int(means["jpeg_75"] < GATE)


def measure(ways: dict[str, str], repeats: int) -> dict[str, float]:
    """Median CPU milliseconds per clip and way, the ways taking turns."""
    with open_video(ways["mp4"], isolate=False) as reader:
        starts = np.random.default_rng(1).integers(0, len(reader) - CLIP[-1], repeats).tolist()
    first = {name: fetch(path, starts[0]) for name, path in ways.items()}
    assert np.array_equal(first["mp4"], first["files"])
    error = np.abs(first["mp4"].astype(int) - first["jpeg_75"]).mean()
    assert error < 4, f"{ways['mp4']}: JPEG frames are off by {error:.1f} on average"
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for start in starts:
        for name, path in ways.items():
            begin = time.process_time()
            fetch(path, start)
            seconds[name].append(time.process_time() - begin)
    return {name: 1e3 * statistics.median(s) for name, s in seconds.items()}


if __name__ == "__main__":
    sys.exit(main())
