"""CPU-seconds to fetch clips from H.264 files: VideoReader against other libraries, same frames, one run.

    python -m tests.benchmarks.data.decoding [--repeats 30] [--python /path/to/python] [--peers decord torchcodec pyav]

Opening the file is part of every timing. Each library decodes with one thread, in a process of its own, and they take
turns clip by clip; the median over the clips counts. Checksums show that all give the same pixels. torchcodec runs on
the FFmpeg that PyAV brings. `--python` names the interpreter that has the peers (the extra `bench`), if it is not
this one. Exits with 1 where a gate is missed.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks.data.files import benchmark_files
from tests.benchmarks.data.peers import PEERS, Peer, open_peers
from vidjax.video import VideoReader

GATES = {"decord": (1.3, 1.0), "torchcodec": (1.1, 0.95), "pyav": (1.1, 1.0)}  # geometric mean, worst case


def patterns(length: int, repeats: int) -> dict[str, list[np.ndarray]]:
    """Clips of a file with `length` frames, by what is read."""
    rng = np.random.default_rng(1)
    starts = rng.integers(0, length - 15, repeats)
    return {
        # One frame at the same random place of each eighth; rows from random starts; ten rows all over the video.
        "8 uniform": [(np.arange(8) * length / 8 + rng.uniform(0, length / 8)).astype(int) for _ in range(repeats)],
        "16 in a row": [np.arange(16) + start for start in starts],
        "16 × 4": [4 * np.arange(16) + rng.integers(0, length - 60) for _ in range(repeats)],
        "10 × 16": [
            (np.linspace(0, length - 16 - shift, 10).astype(int)[:, None] + np.arange(16) + shift).ravel()
            for shift in rng.integers(0, 4, max(3, repeats // 3))
        ],
    }


def measure(peers: dict[str, Peer], path: Path, clips: list[np.ndarray]) -> dict[str, float]:
    """Median processor milliseconds per clip and peer."""
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    for peer in peers.values():  # the first reading warms caches up
        peer.read(path, clips[0].tolist())
    for turn, clip in enumerate(clips):
        digests = {}
        names = list(peers)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            spent, digests[name] = peers[name].read(path, clip.tolist())
            seconds[name].append(spent)
        assert len(set(digests.values())) == 1, f"{path.name}: not the same pixels at {clip}: {digests}"
    return {name: 1e3 * statistics.median(s) for name, s in seconds.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30, help="clips per file and pattern")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has decord and torchcodec")
    parser.add_argument("--peers", nargs="*", default=["decord", "torchcodec", "pyav"], choices=[*PEERS])
    args = parser.parse_args()
    peers = open_peers(["vidjax", *args.peers], args.python)
    others = [name for name in peers if name != "vidjax"]
    ratios: dict[str, dict[str, float]] = {name: {} for name in others}
    print(f"| file | frames | vidjax ms | {' | '.join(f'{peers[name].title} ÷ vidjax' for name in others)} |")
    print("|---|---|---|" + "---|" * len(others))
    with tempfile.TemporaryDirectory() as folder:
        for path in benchmark_files(Path(folder)):
            with VideoReader(path) as reader:
                length = len(reader)
            for what, clips in patterns(length, args.repeats).items():
                ms = measure(peers, path, clips)
                for name in others:
                    ratios[name][f"{path.name}, {what}"] = ms[name] / ms["vidjax"]
                cells = " | ".join(f"{ms[name] / ms['vidjax']:.2f}" for name in others)
                print(f"| {path.name} | {what} | {ms['vidjax']:.1f} | {cells} |", flush=True)
    missed = False
    for name, found in ratios.items():
        mean, worst = statistics.geometric_mean(found.values()), min(found, key=found.get)
        gate, floor = GATES.get(name, (0.0, 0.0))
        verdict = "reached" if mean >= gate and found[worst] >= floor else "MISSED"
        missed |= verdict == "MISSED"
        print(
            f"{peers[name].title}: geometric mean {mean:.2f} (gate {gate}), "
            f"worst {found[worst]:.2f} at {worst} (gate {floor}): {verdict}"
        )
    for peer in peers.values():
        peer.close()
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
