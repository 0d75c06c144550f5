"""A tiny data set of real videos: bright or dark halves, in two classes."""

from pathlib import Path

import numpy as np
import pytest

from tests.videos import write_video


def write_halves(folder: Path, count: int = 12, frames: int = 8) -> Path:
    """`folder/left/*.mp4` and `folder/right/*.mp4`: which half of the picture flickers."""
    rng = np.random.default_rng(0)
    for i in range(count):
        side = ("left", "right")[i % 2]
        clip = np.full((frames, 32, 32, 3), 60, np.uint8)
        half = slice(0, 16) if side == "left" else slice(16, 32)
        clip[:, :, half] = rng.integers(0, 256, (frames, 32, 16, 3))
        write_video(folder / side / f"{i:02d}.mp4", clip)
    return folder


@pytest.fixture(scope="session")
def halves(tmp_path_factory) -> Path:
    return write_halves(tmp_path_factory.mktemp("halves"))
