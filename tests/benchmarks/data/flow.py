"""Clips per CPU-second with optical flow (dis_fast) against clips without, from the same files, in one process.

    python -m tests.benchmarks.data.flow [--clips 8] [--turns 5]

Clips are of 16 frames, at 64² and 224², from a random start, cropped at random and mirrored half of the time; flow is
one field per frame, computed from the resized frames. Turns alternate; the median of each counts. Flow instead of the
colours decides about the gate; colours and flow together are printed beside it. Exits with 1 where it is missed.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.benchmarks.data.files import benchmark_files
from vidjax.config import AugmentConfig, DataConfig, ReadingConfig, Spec
from vidjax.config.spec import resolve_spec
from vidjax.data.reading.clips import ClipReader
from vidjax.data.records import Record

GATE = 0.6
FRAMES, SIZES = 16, {64: 72, 224: 256}  # sides of the clips → short sides of the resized frames
STRIDES = (1, 4)
INPUTS = ("rgb", "flow", "rgb+flow")


def reader(input: str, size: int, stride: int) -> ClipReader:
    """Reader of training clips of one input."""
    spec = Spec.of_video("loading", num_frames=FRAMES, stride=stride, size=size, resize=(SIZES[size],))
    short = (SIZES[size], SIZES[size])
    config = DataConfig(
        augment=AugmentConfig(crop="short_side", short_side=short), reading=ReadingConfig(isolate=False)
    )
    if input != "rgb":
        config.flow = "dis_fast"
    return ClipReader(resolve_spec(spec, config, input), config)


def seconds(clips: ClipReader, files: list[Path], count: int) -> float:
    """Processor seconds per clip."""
    begin = time.process_time()
    for number in range(count):
        clips.train(Record(str(files[number % len(files)])), np.random.default_rng(number))
    return (time.process_time() - begin) / count


def main() -> int:
    """Measure, print the ratios, and compare them with the gate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=8, help="per turn")
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    missed = False
    print("| clip | colours, ms | flow, ms | both, ms | flow | both |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        files = benchmark_files(Path(folder))
        for size, stride in ((size, stride) for size in SIZES for stride in STRIDES):
            readers = {input: reader(input, size, stride) for input in INPUTS}
            taken: dict[str, list[float]] = {input: [] for input in INPUTS}
            for turn in range(args.turns + 1):
                for input, clips in readers.items():
                    spent = seconds(clips, files, args.clips)
                    taken[input] += [spent] if turn else []  # the first turn warms up
            ms = {input: 1e3 * statistics.median(times) for input, times in taken.items()}
            ratios = [ms["rgb"] / ms[input] for input in INPUTS[1:]]
            missed |= ratios[0] < GATE
            figures = " | ".join(f"{ms[input]:.1f}" for input in INPUTS)
            print(f"| 16×{stride}, {size}² | {figures} | {ratios[0]:.2f} | {ratios[1]:.2f} |", flush=True)
    print(f"gate {GATE}: {'MISSED' if missed else 'reached'}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
