"""Writing of videos: frames, times and sizes come back, and a file is there only when it is complete."""

import numpy as np
import pytest

from vidjax.video import VideoReader
from vidjax.video.write import VideoWriter


def ramp(count, height=48, width=64):
    """Smooth frames, each lighter than the one before."""
    y, x = np.mgrid[:height, :width]
    return [np.stack([x + 20 * t, y + 10 * t, x * 0 + 30 * t], axis=-1).astype(np.uint8) for t in range(count)]


@pytest.mark.parametrize("size", [(48, 64), (33, 47)])
def test_frames_come_back(tmp_path, size):
    frames = ramp(6, *size)
    with VideoWriter(tmp_path / "new" / "a.mp4", fps=30000 / 1001, options={"crf": "4"}) as out:
        for frame in frames:
            out.write(frame)
    with VideoReader(tmp_path / "new" / "a.mp4") as reader:
        assert (reader.height, reader.width) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
        assert reader.fps == pytest.approx(30000 / 1001, abs=1e-6)
        read = reader.read(range(len(reader)))[:, : size[0], : size[1]]
    assert np.abs(read.astype(int) - np.stack(frames)).mean() < 4


def test_times_come_back(tmp_path):
    times = [0.0, 0.1, 0.15, 0.9, 1.0]
    with VideoWriter(tmp_path / "a.mp4", fps=5) as out:
        for frame, time in zip(ramp(5), times, strict=True):
            out.write(frame, time)
    with VideoReader(tmp_path / "a.mp4") as reader:
        np.testing.assert_allclose(reader.timestamps, times, atol=1e-3)


def test_an_error_leaves_what_was_there(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "a.mp4", fps=5) as out:
        out.write(ramp(1)[0])
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"] and (tmp_path / "a.mp4").read_bytes() == b"old"
    with VideoWriter(tmp_path / "b.mp4", fps=5):
        pass
    assert not (tmp_path / "b.mp4").exists()


def test_frames_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match="fps = 0"):
        VideoWriter(tmp_path / "a.mp4", fps=0)
    for second, time, match in (
        (np.zeros((48, 62, 3), np.uint8), 1.0, "not uint8"),
        (np.zeros((48, 64, 3)), 1.0, "float64"),
        (np.zeros((48, 64, 3), np.uint8), None, "a time, or none"),
        (np.zeros((48, 64, 3), np.uint8), 0.0, "after that of the frame before"),
    ):
        with pytest.raises(ValueError, match=match), VideoWriter(tmp_path / "a.mp4", fps=5) as out:
            out.write(ramp(1)[0], 0.0)
            out.write(second, time)
    assert not list(tmp_path.iterdir())
