"""CPU-seconds to fetch clips from H.264 files: VideoReader against plain PyAV, same frames, one run.

    python tests/benchmarks/decoding.py [--repeats 15]

The rival opens the file, knows the frame rate and (from the container's own index) the keyframes, seeks only when that
saves decoding, decodes everything from there and converts the frames wanted: the best that PyAV gives without skipping
pictures. Opening is part of every timing, ours includes indexing the file. A second rival decodes from the start.
Frames are compared bit by bit before anything is timed. Exits with 1 where the gate of 1.1 times is missed.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from vidjax.video import VideoReader

GATE = 1.1


def write_video(path: Path, gop: int, frames: int = 300, height: int = 256, width: int = 340) -> Path:
    """H.264 with B-frames: a camera drifting over a rough landscape, something crossing it, and sensor noise."""
    rng = np.random.default_rng(0)
    land = np.zeros((512, 1024, 3), np.float32)
    for cell in (4, 16, 64):
        rough = rng.uniform(-1, 1, (512 // cell, 1024 // cell, 3))
        land += 20 * np.log2(cell) * np.kron(rough, np.ones((cell, cell, 1))).astype(np.float32) / 3
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "23", "sc_threshold": "0", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, "yuv420p", gop
        for t in range(frames):
            x, y = t, int(60 + 40 * np.sin(t / 20))
            image = 128 + land[y : y + height, x : x + width] + rng.normal(0, 2, (height, width, 1)).astype(np.float32)
            left = 3 * t % width
            image[90:150, left : left + 40] = (200, 60, 40)
            frame = av.VideoFrame.from_ndarray(image.clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def ours(path: Path, wanted: np.ndarray) -> np.ndarray:
    with VideoReader(path) as reader:
        return reader.read(wanted)


def plain(path: Path, wanted: np.ndarray) -> np.ndarray:
    """Seek to the keyframe, decode everything, convert what is wanted."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        tick = 1 / (stream.average_rate * stream.time_base)
        keys = [entry.timestamp for entry in stream.index_entries if entry.is_keyframe]
        out, position, frames = [], None, None
        for pts in (round(i * tick) for i in wanted.tolist()):
            key = max(k for k in [keys[0], *keys] if k <= max(pts, keys[0]))
            if position is None or key > position:
                container.seek(pts, stream=stream)
                frames = container.decode(stream)
            frame = next(f for f in frames if f.pts == pts)
            position = pts
            out.append(frame.to_ndarray(format="rgb24"))
        return np.stack(out)


def from_the_start(path: Path, wanted: np.ndarray) -> np.ndarray:
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        rows = set(wanted.tolist())
        out = []
        for i, frame in enumerate(container.decode(video=0)):
            if i in rows:
                out.append(frame.to_ndarray(format="rgb24"))
            if i == wanted[-1]:
                return np.stack(out)
    raise AssertionError("a wanted frame never came")


def measure(path: Path, clips: list[np.ndarray]) -> dict[str, float]:
    """Median CPU milliseconds per clip and way, the ways taking turns clip by clip."""
    ways = {"ours": ours, "plain": plain, "start": from_the_start}
    reference = from_the_start(path, np.arange(max(c[-1] for c in clips) + 1))
    for clip in clips[:3]:
        for name, way in ways.items():
            assert np.array_equal(way(path, clip), reference[clip]), f"{path.name}: {name} is not bit-exact at {clip}"
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for clip in clips:
        for name, way in ways.items():
            begin = time.process_time()
            got = way(path, clip)
            seconds[name].append(time.process_time() - begin)
            assert np.array_equal(got, reference[clip]), f"{path.name}: {name} is not bit-exact at {clip}"
    return {name: 1e3 * statistics.median(s) for name, s in seconds.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="clips per file and pattern")
    repeats = parser.parse_args().repeats
    shared = Path(os.environ.get("VIDJAX_SHARED", Path(__file__).parents[3] / "shared"))
    missed = []
    print("| file | frames | ours ms | plain ms | from the start ms | plain ÷ ours | start ÷ ours |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        files = [write_video(Path(folder) / f"gop{gop}.mp4", gop) for gop in (12, 250)]
        kinetics = ("R6llTwEh07w.mp4", "SOX5yA1l24A.mp4", "WUzgd7C1pWA.mp4")
        files += [f for f in (shared / "data" / "clips" / name for name in kinetics) if f.is_file()]
        for path in files:
            with VideoReader(path) as reader:
                length = len(reader)
            rng = np.random.default_rng(1)
            # Eight frames, one at the same random place of each eighth; sixteen in a row from a random start.
            uniform = [(np.arange(8) * length / 8 + rng.uniform(0, length / 8)).astype(int) for _ in range(repeats)]
            row = [np.arange(16) + rng.integers(0, length - 15) for _ in range(repeats)]
            for what, clips in (("8 uniform", uniform), ("16 consecutive", row)):
                ms = measure(path, clips)
                ratio, start = ms["plain"] / ms["ours"], ms["start"] / ms["ours"]
                cells = f"{ms['ours']:.1f} | {ms['plain']:.1f} | {ms['start']:.1f} | {ratio:.2f} | {start:.2f}"
                print(f"| {path.name} | {what} | {cells} |", flush=True)
                if ratio < GATE:
                    missed.append(f"{path.name}, {what}: {ratio:.2f}")
    print(f"every frame bit-exact; gate {GATE}: " + ("missed by " + "; ".join(missed) if missed else "reached by all"))
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
