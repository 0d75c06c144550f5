"""Linking of boxes in key frames to tubes: one track per person or object, or one tube per action.

- `link_tracks`: tracks without classes. In each key frame, boxes are assigned to the tracks that are alive so that the
  sum of their IoUs is greatest (the Hungarian method).
- `link_classes`: tubes of one class each, greedily: in each key frame the tubes that are alive, the best first, each
  take the free box with the greatest sum of score and IoU (Singh et al., Online Real-time Multiple Spatiotemporal
  Action Localisation and Prediction, 1611.08563; so are UCF101-24 and MultiSports linked).

Both number the tube of every box, so each box is in exactly one tube, and neither depends on the order of a frame's
boxes. `make_tubes` collects the boxes of each number and drops short tubes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from vidjax.errors import UserError
from vidjax.evaluation.boxes import box_iou


@dataclass(frozen=True, eq=False)
class Tube:
    """Box of one person or object through a video; of one class, or of none.

    Attributes:
      number: number of the tube or track, unique in its video.
      frames: numbers of its key frames, int `(n,)`, rising; frames may be missing between them.
      times: times of its key frames, float64 `(n,)`, seconds from the start of the video.
      boxes: boxes x1, y1, x2, y2, float64 `(n, 4)`, as shares of the picture's width and height.
      scores: scores of the boxes, float64 `(n,)`.
      label: class number; -1: none.
    """

    number: int
    frames: np.ndarray
    times: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    label: int = -1

    @property
    def score(self) -> float:
        """Mean of the scores of its boxes."""
        return float(self.scores.mean())

    def at(self, time: float, hold: float = 0.0) -> np.ndarray | None:
        """Box at a time, float64 `(4,)`: interpolated between key frames; None outside of the tube.

        Args:
          time: seconds from the start of the video.
          hold: seconds before the first and after the last key frame in which their boxes still count.
        """
        if not self.times[0] - hold <= time <= self.times[-1] + hold:
            return None
        return np.array([np.interp(time, self.times, side) for side in self.boxes.T])

    def every_frame(self, timestamps: np.ndarray) -> "Tube":
        """The tube with an interpolated box in every frame of the video from its first key frame to its last.

        Args:
          timestamps: time of each frame of the video, seconds, `(F,)`; the new frame numbers are places in it.
        """
        frames = np.flatnonzero((timestamps >= self.times[0] - 1e-6) & (timestamps <= self.times[-1] + 1e-6))
        if not len(frames):  # a key frame between two frames of the video
            frames = np.abs(timestamps - self.times[0]).argmin(keepdims=True)
        times = timestamps[frames]
        boxes = np.stack([np.interp(times, self.times, side) for side in self.boxes.T], axis=1)
        return Tube(self.number, frames, times, boxes, np.interp(times, self.times, self.scores), self.label)


def link_tracks(frame: np.ndarray, box: np.ndarray, *, iou: float = 0.3, gap: int = 1) -> np.ndarray:
    """Number the track of every box, without regard to classes.

    Args:
      frame: number of each box's key frame, int `(N,)`, in any order; consecutive key frames differ by 1.
      box: boxes x1, y1, x2, y2, `(N, 4)`, in any one unit.
      iou: least IoU of a box with its track's latest box.
      gap: most key frames in a row in which a track may have no box.

    Returns:
      Number of the track of each box, int64 `(N,)`: 0, 1, … in the order of their first key frames.

    Raises:
      UserError: if the arrays differ in length, or `iou` or `gap` is out of range.
    """
    frame, box = _checked(frame, box, iou, gap)

    def assign(live: np.ndarray, boxes: np.ndarray, scores: np.ndarray, means: np.ndarray) -> list[tuple[int, int]]:
        gains = box_iou(live[:, None], boxes[None])
        gains[gains < iou] = 0
        rows, columns = linear_sum_assignment(gains, maximize=True)
        return [(r, c) for r, c in zip(rows.tolist(), columns.tolist(), strict=True) if gains[r, c] > 0]

    return _linked(frame, box, np.zeros(len(frame)), gap, assign)


def link_classes(
    frame: np.ndarray, box: np.ndarray, score: np.ndarray, label: np.ndarray, *, iou: float = 0.3, gap: int = 1
) -> np.ndarray:
    """Number the tube of every box, for each class by itself, greedily by score and IoU.

    Args:
      frame: number of each box's key frame, int `(N,)`, in any order; consecutive key frames differ by 1.
      box: boxes x1, y1, x2, y2, `(N, 4)`, in any one unit.
      score: scores of the boxes, `(N,)`.
      label: class of each box, int `(N,)`. A box with several classes is several rows.
      iou: least IoU of a box with its tube's latest box.
      gap: most key frames in a row in which a tube may have no box.

    Returns:
      Number of the tube of each box, int64 `(N,)`: class by class, in the order of their first key frames.

    Raises:
      UserError: if the arrays differ in length, or `iou` or `gap` is out of range.
    """
    frame, box = _checked(frame, box, iou, gap, score, label)
    score, label = np.asarray(score, np.float64), np.asarray(label)

    def assign(live: np.ndarray, boxes: np.ndarray, scores: np.ndarray, means: np.ndarray) -> list[tuple[int, int]]:
        overlaps = box_iou(live[:, None], boxes[None])
        gains = np.where(overlaps >= iou, overlaps + scores, -np.inf)
        pairs = []
        for tube in np.argsort(-means, kind="stable").tolist():
            best = int(gains[tube].argmax())
            if gains[tube, best] > -np.inf:
                pairs.append((tube, best))
                gains[:, best] = -np.inf
        return pairs

    numbers, count = np.zeros(len(frame), np.int64), 0
    for value in np.unique(label):
        rows = np.flatnonzero(label == value)
        numbers[rows] = count + _linked(frame[rows], box[rows], score[rows], gap, assign)
        count = numbers[rows].max() + 1
    return numbers


def make_tubes(
    number: np.ndarray,
    frame: np.ndarray,
    time: np.ndarray,
    box: np.ndarray,
    score: np.ndarray,
    label: np.ndarray | None = None,
    *,
    min_length: int = 1,
) -> list[Tube]:
    """Collect the boxes of each tube; short tubes are dropped.

    Args:
      number: tube of each box, int `(N,)`, from `link_tracks` or `link_classes`.
      frame: number of each box's key frame, int `(N,)`; once in each tube.
      time: time of each box's key frame, seconds, `(N,)`.
      box: boxes x1, y1, x2, y2, shares of the picture, `(N, 4)`.
      score: scores of the boxes, `(N,)`.
      label: class of each box, int `(N,)`; None: no classes.
      min_length: least number of boxes of a tube.

    Returns:
      Tubes in the order of their numbers.
    """
    number, frame = np.asarray(number), np.asarray(frame)
    time, box, score = (np.asarray(array, np.float64) for array in (time, box, score))
    tubes = []
    for value in np.unique(number):
        rows = np.flatnonzero(number == value)
        rows = rows[np.argsort(frame[rows], kind="stable")]
        if len(rows) >= min_length:
            kind = -1 if label is None else int(np.asarray(label)[rows[0]])
            tubes.append(Tube(int(value), frame[rows], time[rows], box[rows], score[rows], kind))
    return tubes


def write_tubes(
    file: Path,
    tubes: Mapping[str, Sequence[Tube]],
    names: Sequence[str] = (),
    *,
    sizes: Mapping[str, tuple[int, int]] | None = None,
) -> None:
    """Write tubes as JSON, as `vidjax evaluate tubes` reads: `vidjax.data.listing.tube_files` has the form.

    Besides its video, label, score, frames and boxes a tube has its `track` (number), `times` (seconds) and `scores`
    (of the boxes).

    Args:
      file: path of the file.
      tubes: tubes by the name of their video.
      names: names of the classes; a tube of none has the label "".
      sizes: height and width of each video's picture, to write boxes in pixels; None: as shares of them.
    """
    entries = []
    for video, found in tubes.items():
        height, width = sizes[video] if sizes else (1, 1)
        for tube in found:
            boxes = (tube.boxes * [width, height, width, height]).round(3 if sizes else 6)
            entries.append(
                {
                    "video": video,
                    "track": tube.number,
                    "label": names[tube.label] if tube.label >= 0 else "",
                    "score": round(tube.score, 6),
                    "frames": tube.frames.tolist(),
                    "times": tube.times.round(4).tolist(),
                    "boxes": boxes.tolist(),
                    "scores": tube.scores.round(6).tolist(),
                }
            )
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    file.write_text(f'{{"tubes": [\n{lines}\n]}}\n', encoding="utf-8")


def _checked(
    frame: np.ndarray, box: np.ndarray, iou: float, gap: int, *others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    frame, box = np.asarray(frame), np.asarray(box, np.float64).reshape(-1, 4)
    lengths = [len(frame), len(box), *(len(other) for other in others)]
    if len(set(lengths)) > 1:
        raise UserError(f"boxes and their columns must have one length, not {', '.join(map(str, lengths))}")
    if not 0 < iou <= 1:
        raise UserError(f"iou = {iou}: must be above 0 and at most 1")
    if gap < 0:
        raise UserError(f"gap = {gap}: give a number of key frames, 0 or more")
    return frame, box


@dataclass
class _Open:
    """Tube that may still grow."""

    number: int
    box: np.ndarray  # the latest
    end: int  # its key frame
    total: float = 0.0  # of the scores
    size: int = 0

    def add(self, box: np.ndarray, score: float, frame: int) -> None:
        self.box, self.end = box, frame
        self.total += score
        self.size += 1


# From the latest boxes of the open tubes (M, 4), a frame's boxes (n, 4) and their scores (n,), and the mean scores of
# the tubes (M,): pairs (tube, box).
_Assign = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], list[tuple[int, int]]]


def _linked(frame: np.ndarray, box: np.ndarray, score: np.ndarray, gap: int, assign: _Assign) -> np.ndarray:
    """Go through the key frames; boxes that `assign` gives to no tube begin new ones."""
    numbers, count = np.zeros(len(frame), np.int64), 0
    tubes: list[_Open] = []
    # In an order that depends on the boxes alone, so that equal gains are settled alike whatever the order given.
    order = np.lexsort((*box.T, -score, frame))
    starts = np.flatnonzero(np.diff(frame[order], prepend=frame[order[:1]] - 1))
    for rows in np.split(order, starts[1:]):
        if not len(rows):
            break
        now = int(frame[rows[0]])
        tubes = [tube for tube in tubes if now - tube.end <= gap + 1]
        pairs: list[tuple[int, int]] = []
        if tubes:
            means = np.array([tube.total / tube.size for tube in tubes])
            pairs = assign(np.stack([tube.box for tube in tubes]), box[rows], score[rows], means)
        taken = {column: tubes[row] for row, column in pairs}
        for column, row in enumerate(rows.tolist()):
            tube = taken.get(column)
            if tube is None:
                tube, count = _Open(count, box[row], now), count + 1
                tubes.append(tube)
            tube.add(box[row], float(score[row]), now)
            numbers[row] = tube.number
    return numbers
