"""Small real videos for tests."""

from pathlib import Path

import av
import numpy as np


def write_video(path: Path, frames: np.ndarray, fps: int = 10) -> Path:
    """Encode uint8 `(T, H, W, 3)` as H.264, nearly without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "1", "preset": "ultrafast", "threads": "1"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def numbered_frames(count: int, height: int = 32, width: int = 48, offset: int = 0) -> np.ndarray:
    """Frames whose grey level tells their number: `offset + 8 · t`."""
    levels = (offset + 8 * np.arange(count)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


def write_halves(folder: Path, count: int = 12, frames: int = 8) -> Path:
    """A data set in two classes, `folder/left/*.mp4` and `folder/right/*.mp4`: which half of the picture flickers."""
    rng = np.random.default_rng(0)
    for i in range(count):
        side = ("left", "right")[i % 2]
        clip = np.full((frames, 32, 32, 3), 60, np.uint8)
        half = slice(0, 16) if side == "left" else slice(16, 32)
        clip[:, :, half] = rng.integers(0, 256, (frames, 32, 16, 3))
        write_video(folder / side / f"{i:02d}.mp4", clip)
    return folder
