"""Features of a long video against the bare network: clips per second, decoding and files included; and their memory.

    python -m tests.benchmarks.features [--model r2plus1d_18] [--clips 48] [--rounds 5] [--minutes 0] [--processor]

The same compiled network runs on one batch in memory, again and again, and, taking turns with that, over the sliding
windows of a generated video of 320×240 pixels. The ratio is that of the medians. On a machine busy with other work,
`--processor` counts processor time, user and system, in the place of the clock's. `--minutes 60` instead writes a video
of that length, and one of a tenth of it, and prints the time and the largest memory of a process that computes the
features of each.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import jax
import numpy as np

import vidjax
from tests.benchmarks.data.processor import cpu_seconds
from vidjax import parallel
from vidjax.apps.clip_network import ClipNetwork
from vidjax.apps.features import Job, Writer
from vidjax.config import Config, ModelConfig
from vidjax.data.reading.windows import Windows
from vidjax.data.records import LabelSpace
from vidjax.models import get_spec
from vidjax.training.checkpoints import Meta, save_model

_SIZE, _RATE = (240, 320), 25


def write_video(path: Path, frames: int) -> Path:
    """Write a moving pattern with some noise, H.264."""
    rng = np.random.default_rng(0)
    height, width = _SIZE
    wide = rng.integers(0, 256, (height // 8, 2 * width // 8, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    noise = rng.integers(0, 12, (height, width, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_RATE, options={"preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for number in range(frames):
            shift = number % width
            pixels = wide[:, shift : shift + width] // 2 + np.roll(noise, number, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def save(model: str, folder: Path) -> Path:
    """Save a network with drawn weights."""
    config = Config(model=ModelConfig(name=model, compute_dtype="float32"))
    network = vidjax.create_model(model, num_classes=10)
    return save_model(folder, network, Meta(config, get_spec(model), LabelSpace(tuple("abcdefghij"))))


def throughput(run: Path, folder: Path, clips: int, rounds: int, clock: Callable[[], float]) -> tuple[float, float]:
    """Median clips per second, by this clock, of the bare network, and of `vidjax features`."""
    network = ClipNetwork(run)
    video = network.spec.video
    windows = Windows.of(video)
    job = Job(str(write_video(folder / "short.mp4", (clips - 1) * windows.stride + windows.window)), folder / "o.npz")
    writer = Writer(network, windows)
    clip = np.random.default_rng(0).integers(
        0, 256, (network.batch_size, video.num_frames, video.size, video.size, 3), np.uint8
    )
    numbers = np.zeros(network.batch_size, np.int32)
    placed = parallel.place(({"video": clip}, numbers), parallel.batch_sharding(network._mesh))

    def alone() -> None:
        for _ in range(clips // network.batch_size):
            jax.block_until_ready(network._forward(*network._weights, *placed))

    def whole() -> None:
        job.out.unlink(missing_ok=True)
        for _ in writer.write(job):
            pass

    taken: dict[str, list[float]] = {"alone": [], "whole": []}
    for number in range(rounds + 1):
        for name, call in (("alone", alone), ("whole", whole)):
            begin = clock()
            call()
            if number:  # the first one is compiled
                taken[name].append(clock() - begin)
    return clips / float(np.median(taken["alone"])), clips / float(np.median(taken["whole"]))


def of_long(run: Path, folder: Path, minutes: float) -> None:
    """Print time and memory of a long video."""
    video = write_video(folder / f"{minutes:g}.mp4", round(60 * minutes * _RATE))
    begin = time.perf_counter()
    command = [sys.executable, "-m", "tests.benchmarks.features", "--one", str(run), str(video), str(folder / "out")]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    taken = time.perf_counter() - begin
    print(f"{minutes:g} minutes: {taken:.0f} s, at most {said[-1]} MB; {said[0]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="r2plus1d_18")
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--processor", action="store_true")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        from vidjax.apps.features import features

        features(*args.one)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = save(args.model, folder / "run")
        if args.minutes:
            for minutes in (args.minutes / 10, args.minutes):
                of_long(run, folder, minutes)
            return
        clock, unit = (cpu_seconds, "processor second") if args.processor else (time.perf_counter, "s")
        bare, whole = throughput(run, folder, args.clips, args.rounds, clock)
        print(f"{args.model}: clips/{unit}: bare {bare:.2f}, vidjax features {whole:.2f}, ratio {whole / bare:.3f}")


if __name__ == "__main__":
    main()
