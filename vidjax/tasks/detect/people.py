"""Boxes of people in a video's frames, found by a detector of single pictures.

    detector = detectors.make_detector("detr_r50=weights/detr-resnet-50")     # or FILE.onnx
    with open_video("clip.mp4") as reader:
        found = person_boxes(reader, [0.5, 1.5, 2.5], detector)
    found.time, found.box, found.score                              # (N,), (N, 4) shares of the picture, (N,)

Any function from frames to boxes and scores is a detector: see `Detector`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vidjax.errors import UserError
from vidjax.video.draw import Frames

Found = tuple[np.ndarray, np.ndarray]  # boxes of people x1, y1, x2, y2, shares, float64 (n, 4); their scores (n,)


class Detector(Protocol):
    """Detector of people in single pictures."""

    def __call__(self, frames: np.ndarray, /) -> Sequence[Found]:
        """Boxes and scores of the people in each frame of uint8 `(B, H, W, 3)`, RGB; all scores, also low ones."""
        ...


@dataclass(frozen=True, eq=False)
class PersonBoxes:
    """People found at some times of a video; one row per box, in the order of the times, best first.

    Attributes:
      index: place of the row's time in the list of times given, int64 `(N,)`.
      time: the time asked for, seconds from the start of the video, float64 `(N,)`.
      box: boxes x1, y1, x2, y2, as shares 0…1 of the picture's width and height, float64 `(N, 4)`.
      score: scores 0…1, float64 `(N,)`.
    """

    index: np.ndarray
    time: np.ndarray
    box: np.ndarray
    score: np.ndarray


def person_boxes(
    reader: Frames,
    times: Sequence[float] | np.ndarray,
    detector: Detector,
    *,
    least: float = 0.8,
    most: int = 100,
    batch: int = 4,
    advance: Callable[[int], None] = lambda count: None,
) -> PersonBoxes:
    """Find the people in a video at some times; memory depends neither on its length nor on the number of times.

    Args:
      reader: open video or folder of pictures.
      times: times of the key frames, seconds from the start, rising; each stands for the frame nearest to it.
      detector: detector of people.
      least: least score of a box.
      most: most boxes of a frame; of more, the best are kept.
      batch: frames in memory and in the detector at a time.
      advance: function called with the number of times done since the last call, such as a progress bar's.

    Raises:
      UserError: if a time lies outside of the video, or `least`, `most` or `batch` is out of range.
      VideoError: if a frame cannot be decoded.
    """
    if not 0 <= least <= 1:
        raise UserError(f"least = {least}: must be a score, 0…1")
    if most < 1 or batch < 1:
        raise UserError(f"most = {most}, batch = {batch}: give numbers of boxes and of frames, 1 or more")
    times = np.asarray(times, np.float64).reshape(-1)
    frames = nearest_frames(reader, times)
    rows: list[tuple[np.ndarray, ...]] = []
    for start in range(0, len(times), batch):
        part = np.arange(start, min(start + batch, len(times)))
        # Always the same number of frames, so that a compiled detector is compiled once.
        numbers = frames[np.minimum(np.arange(start, start + batch), len(times) - 1)]
        for index, (box, score) in zip(part, detector(reader.read(numbers.tolist())), strict=False):
            box, score = np.asarray(box, np.float64).reshape(-1, 4).clip(0, 1), np.asarray(score, np.float64)
            keep = (score >= least) & (box[:, 2:] > box[:, :2]).all(axis=1)
            best = np.flatnonzero(keep)[np.argsort(-score[keep], kind="stable")][:most]
            rows.append((np.full(len(best), index), np.full(len(best), times[index]), box[best], score[best]))
        advance(len(part))
    if not rows:
        return PersonBoxes(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 4)), np.zeros(0))
    return PersonBoxes(*(np.concatenate(column) for column in zip(*rows, strict=True)))


def nearest_frames(reader: Frames, times: np.ndarray) -> np.ndarray:
    """Number of the frame nearest to each time, int64 `(N,)`; of two, the earlier.

    Args:
      reader: open video.
      times: seconds from the start of the video, `(N,)`.

    Raises:
      UserError: if a time lies outside of the video.
    """
    stamps = reader.timestamps
    end = float(stamps[-1]) + 1 / reader.fps
    outside = times[(times < 0) | (times > end)]
    if len(outside):
        raise UserError(f"time {outside[0]:.3f} s lies outside of the video, which lasts {end:.3f} s")
    later = np.searchsorted(stamps, times).clip(1, max(len(stamps) - 1, 1))
    earlier = later - 1
    later = np.minimum(later, len(stamps) - 1)
    return np.where(times - stamps[earlier] <= stamps[later] - times, earlier, later)
