"""Sounds for tests: the waveforms of the yardsticks, and small files of many formats."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

YARDSTICKS = (
    Path(__file__).parent / "data" / "sound" / "features_chirp.npz"
)  # of librosa, torchaudio, Kaldi, VGGish, AST


def chirp(rate: int = 16_000, seconds: float = 1.0) -> np.ndarray:
    """A sweep from 100 Hz to 0.4 of the rate with a little noise, float32: the waveform of the yardsticks."""
    count = round(rate * seconds)
    t = np.arange(count) / rate
    low, high = 100.0, 0.4 * rate
    wave = 0.5 * np.sin(2 * np.pi * (low * t + (high - low) * t**2 / (2 * seconds)))
    return (wave + 0.01 * np.random.default_rng(0).standard_normal(count)).astype(np.float32)


def write_sound(
    path: Path,
    waves: np.ndarray,
    rate: int = 16_000,
    codec: str = "pcm_s16le",
    *,
    frames: np.ndarray | None = None,
    fps: int = 25,
    late: float = 0.0,
    layout: str = "",
) -> Path:
    """Write a file of sound, or of sound and pictures.

    Args:
      path: path; its suffix is the container.
      waves: float samples, `(N,)` or `(channels, N)`.
      rate: samples per second.
      codec: name of FFmpeg's encoder.
      frames: pictures, uint8 `(T, H, W, 3)`; None: there are none.
      fps: pictures per second.
      late: time of the first sample, seconds after the first picture.
      layout: names of the channels, such as 5.1; empty: mono or stereo.
    """
    waves = np.atleast_2d(waves).astype(np.float32)
    layout = layout or ("mono", "stereo")[len(waves) - 1]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        options = {"aac_pns": "0"} if codec == "aac" else {}  # its noise differs whenever it is decoded
        sound = container.add_stream(codec, rate=rate, layout=layout, options=options)
        if frames is not None:
            video = container.add_stream(
                "libx264", rate=fps, options={"crf": "1", "preset": "ultrafast", "threads": "1"}
            )
            video.height, video.width, video.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
            for frame in frames:
                container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(video.encode())
        for first in range(0, waves.shape[1], 4096):
            part = np.ascontiguousarray(waves[:, first : first + 4096])
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, first + round(late * rate), Fraction(1, rate)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def write_flash(
    path: Path, at: int, count: int = 100, fps: int = 25, rate: int = 16_000, codec: str = "pcm_s16le"
) -> Path:
    """A dark video with one bright picture, number `at`, at whose beginning there is a click in the silence."""
    frames = np.full((count, 32, 32, 3), 20, np.uint8)
    frames[at] = 235
    wave = np.zeros(count * rate // fps, np.float32)
    first = at * rate // fps
    wave[first : first + 8] = 0.9
    return write_sound(path, wave, rate, codec, frames=frames, fps=fps)
