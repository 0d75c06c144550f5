"""The files that are read: H.264 made here, with a keyframe every 12 or 250 frames, and clips of Kinetics."""

import os
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

KINETICS = ("R6llTwEh07w.mp4", "SOX5yA1l24A.mp4", "WUzgd7C1pWA.mp4")


def benchmark_files(folder: Path) -> list[Path]:
    """Made files, written into `folder`, and those of $VIDJAX_SHARED/data/clips that are there."""
    shared = Path(os.environ.get("VIDJAX_SHARED", Path(__file__).parents[4] / "shared"))
    made = [write_video(folder / f"gop{gop}.mp4", gop) for gop in (12, 250)]
    return made + [f for f in (shared / "data" / "clips" / name for name in KINETICS) if f.is_file()]


def write_video(path: Path, gop: int, frames: int = 300, height: int = 256, width: int = 340) -> Path:
    """H.264 with B-frames: a camera drifting over a rough landscape, something crossing it, and sensor noise."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "23", "sc_threshold": "0", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, "yuv420p", gop
        for image in _scene(frames, height, width):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _scene(frames: int, height: int, width: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    land = np.zeros((512, 1024, 3), np.float32)
    for cell in (4, 16, 64):
        rough = rng.uniform(-1, 1, (512 // cell, 1024 // cell, 3))
        land += 20 * np.log2(cell) * np.kron(rough, np.ones((cell, cell, 1))).astype(np.float32) / 3
    for t in range(frames):
        x, y = t, int(60 + 40 * np.sin(t / 20))
        image = 128 + land[y : y + height, x : x + width] + rng.normal(0, 2, (height, width, 1)).astype(np.float32)
        left = 3 * t % width
        image[90:150, left : left + 40] = (200, 60, 40)
        yield image.clip(0, 255).astype(np.uint8)
