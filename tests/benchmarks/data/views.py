"""CPU-seconds for the 30 views of an evaluation, decoded in one pass against decoded view by view.

    python -m tests.benchmarks.data.views [--repeats 5]

Ten clips of 16 frames at stride 4, three crops each, at short side 256 and 224². View by view, the file is opened, the
frames of one clip are read and one crop is kept, 30 times over; both ways use the same reader and give the same pixels.
Opening is part of every timing; medians. Exits with 1 where a gate is missed.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.benchmarks.data.files import benchmark_files
from vidjax.config import DataConfig, ReadingConfig, SamplingConfig, Spec
from vidjax.data.reading.clips import ClipReader
from vidjax.data.reading.transforms import crop
from vidjax.data.records import Record
from vidjax.video import VideoReader
from vidjax.video.crops import spatial_views

GATES = {"gop12.mp4": 3.0, "gop250.mp4": 7.0}
CLIPS, CROPS = 10, 3


def view_by_view(path: Path, frames: np.ndarray, size: int) -> np.ndarray:
    """The views of clips `(V, T)`, each from a reading of its own."""
    views = []
    for v, numbers in enumerate(frames):
        with VideoReader(path) as reader:
            clip = reader.read(numbers, resize=256)
        box = spatial_views(*clip.shape[1:3], size, "three")[v % CROPS]
        views.append(crop(clip, tuple(box.tolist()), size))
    return np.stack(views)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    spec = Spec.of_video("views", num_frames=16, stride=4, size=224, resize=(256,))
    reader = ClipReader(
        spec, DataConfig(sampling=SamplingConfig(eval="multi_clip"), reading=ReadingConfig(isolate=False))
    )
    missed = []
    print("| file | one pass ms | view by view ms | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for path in benchmark_files(Path(folder)):
            once, views = reader.evaluate(record := Record(str(path)), CLIPS, CROPS)
            ways = {
                "once": lambda record=record: reader.evaluate(record, CLIPS, CROPS)[0],
                "views": lambda path=path, frames=views.frames: view_by_view(path, frames, spec.video.size),
            }
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(repeats):
                for name, way in ways.items():
                    begin = time.process_time()
                    got = way()
                    seconds[name].append(time.process_time() - begin)
                    assert np.array_equal(got, once), f"{path.name}: not the same views"
            ms = {name: 1e3 * statistics.median(s) for name, s in seconds.items()}
            ratio = ms["views"] / ms["once"]
            print(f"| {path.name} | {ms['once']:.0f} | {ms['views']:.0f} | {ratio:.1f} |", flush=True)
            if ratio < GATES.get(path.name, 0):
                missed.append(f"{path.name}: {ratio:.1f}")
    print(f"gates {GATES}: " + ("missed by " + "; ".join(missed) if missed else "reached"))
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
