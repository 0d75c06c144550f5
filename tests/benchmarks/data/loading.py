"""CPU-seconds per training clip, file to batch: vidjax's pipeline against a torch DataLoader that reads with decord.

    python -m tests.benchmarks.data.loading [--batches 16] [--workers 2] [--python /path/to/python] [--in-process]

Both give uint8 batches of 8 clips of 16 frames at stride 4, from a random start, at a random short side of 256…320,
with a random crop of 224² and mirrored half of the time, from the same files. The rival decodes with one thread and
resizes with torch's uint8 kernels, as torchvision does. Each runs in a process of its own, with the same
number of worker processes, in turns; processor time, user and system, of the process and all that it started, once
the workers are up. `--in-process`: vidjax decodes in its workers instead of in processes that can be killed. Exits
with 1 where the gate is missed.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.data.files import benchmark_files
from tests.benchmarks.data.processor import cpu_seconds, descendants

GATE = 1.25
BATCH, FRAMES, STRIDE, SIZE, SHORT_SIDE = 8, 16, 4, 224, (256, 320)
COPIES = 200  # of each file in the list: an epoch that does not end


def vidjax_batches(files: list[str], workers: int, isolate: bool) -> Iterator[object]:
    from vidjax.config import AugmentConfig, DataConfig, ReadingConfig, SamplingConfig, Spec
    from vidjax.data.pipeline import train_batches
    from vidjax.data.reading.examples import ExampleReader
    from vidjax.data.records import Labels, LabelSpace, Record, VideoSet
    from vidjax.tasks.classify.targets import ClassTargets

    spec = Spec.of_video("loading", num_frames=FRAMES, stride=STRIDE, size=SIZE, resize=(256,))
    config = DataConfig(
        sampling=SamplingConfig(train="random"),
        augment=AugmentConfig(crop="short_side", short_side=SHORT_SIDE),
        reading=ReadingConfig(num_workers=workers, num_threads=1, prefetch=2, isolate=isolate),
    )
    rows = enumerate(files * COPIES)  # mixing a handful of rows takes Grain 2 ms per clip, a thousand 0.03
    videos = VideoSet(tuple(Record(f, Labels((i % 2,))) for i, f in rows), LabelSpace(("a", "b")))
    targets = ClassTargets(videos.labels)
    return train_batches(videos, ExampleReader(spec, config), targets, batch_size=BATCH, seed=0)


def torch_batches(files: list[str], workers: int, isolate: bool) -> Iterator[object]:
    import torch

    return iter(
        torch.utils.data.DataLoader(
            TorchClips(files * COPIES),
            batch_size=BATCH,
            shuffle=True,
            num_workers=workers,
            prefetch_factor=2,
            worker_init_fn=_one_thread,
        )
    )


def _one_thread(_: int) -> None:
    import torch

    torch.set_num_threads(1)


class TorchClips:
    """A map-style data set, as torch wants it."""

    def __init__(self, files: list[str]):
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int):
        import decord
        import torch

        reader = decord.VideoReader(self._files[index], num_threads=1)
        start = int(torch.randint(0, len(reader) - (FRAMES - 1) * STRIDE, ()))
        clip = reader.get_batch(range(start, start + FRAMES * STRIDE, STRIDE)).asnumpy()
        frames = torch.from_numpy(clip).permute(0, 3, 1, 2)
        short = int(torch.randint(SHORT_SIDE[0], SHORT_SIDE[1] + 1, ()))
        scale = short / min(frames.shape[2:])
        size = [round(side * scale) for side in frames.shape[2:]]
        frames = torch.nn.functional.interpolate(frames, size, mode="bilinear")  # torchvision's own, without its checks
        top = int(torch.randint(0, frames.shape[2] - SIZE + 1, ()))
        left = int(torch.randint(0, frames.shape[3] - SIZE + 1, ()))
        frames = frames[:, :, top : top + SIZE, left : left + SIZE]
        if torch.rand(()) < 0.5:
            frames = frames.flip(3)
        return frames, index % 2


WAYS = {"vidjax": vidjax_batches, "torch": torch_batches}


def work(name: str, files: list[str], workers: int, batches: int, isolate: bool) -> None:
    """In a process of its own: prints the processor seconds per clip of each quarter, when asked for it."""
    batch = WAYS[name](files, workers, isolate)
    for _ in range(2 * max(workers, 1)):  # until all are up
        next(batch)
    print("ready", flush=True)
    for _ in sys.stdin:
        # From full buffers to full buffers: what is made ahead costs as well.
        begin = settled()
        for _ in range(batches):
            next(batch)
        print(json.dumps((settled() - begin) / (batches * BATCH)), flush=True)
    for worker in descendants(os.getpid()):  # neither library is quick to end them
        os.kill(worker, signal.SIGKILL)
    os._exit(0)


def settled() -> float:
    """Processor seconds so far, once no worker is at work any more."""
    before = -1.0
    while (now := cpu_seconds()) - before > 0.004:
        before = now
        time.sleep(0.5)
    return now


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=16, help="per turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has torch and decord")
    parser.add_argument("--in-process", action="store_true")
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work[0], args.work[1:], args.workers, args.batches, not args.in_process)
    with tempfile.TemporaryDirectory() as folder:
        files = list(map(str, benchmark_files(Path(folder))))
        processes = {}
        for name in WAYS:
            command = [args.python if name == "torch" else sys.executable, "-m", "tests.benchmarks.data.loading"]
            command += ["--batches", str(args.batches), "--workers", str(args.workers)]
            command += ["--in-process"] * args.in_process + ["--work", name, *files]
            processes[name] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name, process in processes.items():
            if "ready" not in process.stdout.readline():
                from vidjax.errors import install

                print(f"left out: {name} does not run here; {install('bench')}, or give --python")
                for running in processes.values():
                    running.stdin.close()
                return 1
        seconds: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(args.turns):
            for name, process in processes.items():
                process.stdin.write("go\n")
                process.stdin.flush()
                seconds[name].append(json.loads(process.stdout.readline()))
        for process in processes.values():
            process.stdin.close()
            process.wait()
    ms = {name: 1e3 * statistics.median(s) for name, s in seconds.items()}
    ratio = ms["torch"] / ms["vidjax"]
    print("| torch DataLoader + decord, ms per clip | vidjax, ms per clip | ratio |\n|---|---|---|")
    print(f"| {ms['torch']:.1f} | {ms['vidjax']:.1f} | {ratio:.2f} |")
    print(f"gate {GATE}: {'reached' if ratio >= GATE else 'MISSED'}")
    return int(ratio < GATE)


if __name__ == "__main__":
    sys.exit(main())
