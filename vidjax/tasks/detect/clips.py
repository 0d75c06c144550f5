"""Clips around the key frames of a video whose boxes are given, not annotated."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidjax.config import Spec
from vidjax.data.records import Boxes, Record
from vidjax.errors import UserError
from vidjax.inputs import BoxInput
from vidjax.tasks.detect.proposals import FrameBoxes, stem


@dataclass(frozen=True, eq=False)
class KeyFrameClips:
    """Clips of a video, and its boxes in the order of the clips; a key frame with too many boxes has several clips.

    Attributes:
      records: a record for each clip.
      frame: place of each box's key frame in the list of times, int64 `(N,)`.
      box: corners as shares of the picture, float64 `(N, 4)`.
    """

    records: tuple[Record, ...]
    frame: np.ndarray
    box: np.ndarray

    @classmethod
    def of(cls, video: str, times: np.ndarray, given: Sequence[np.ndarray], most: int) -> "KeyFrameClips":
        """Make the clips of a video.

        Args:
          video: path of the video.
          times: times of the key frames, seconds, `(F,)`.
          given: boxes of each key frame, `(n, 4)`.
          most: most boxes of a clip.
        """
        parts = [(f, rows[i : i + most]) for f, rows in enumerate(given) for i in range(0, len(rows), most)]
        records = tuple(_record(video, float(times[f]), rows) for f, rows in parts)
        frame = np.array([f for f, rows in parts for _ in rows], np.int64)
        return cls(records, frame, np.concatenate([np.zeros((0, 4)), *(rows for _, rows in parts)]))


def _record(video: str, at: float, rows: np.ndarray) -> Record:
    corners = tuple((left, top, right, bottom) for left, top, right, bottom in rows.tolist())
    return Record(video, Boxes(at, corners, ((),) * len(corners)), at=at)


def most_boxes(spec: Spec, run: str) -> int:
    """Most boxes that a network takes with a clip.

    Raises:
      UserError: if it takes none; names the run.
    """
    found = [value.count for value in spec.inputs.values() if isinstance(value, BoxInput)]
    if not found:
        raise UserError(f"{run}: {spec.name} takes no boxes; give a run of a network of boxes, such as *_ava")
    return found[0]


def boxes_of_video(source: FrameBoxes, video: str, least: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Times of a video's key frames, rising, seconds `(F,)`, and the boxes of each, `(n, 4)`, from files of boxes.

    Args:
      source: boxes as read.
      video: path of the video.
      least: least score of the boxes that were read, for the message.

    Raises:
      UserError: if there are none of this video.
    """
    frames = source.of(video)
    if frames is None:
        names = ", ".join(sorted(source.frames)[:3]) or "no video"
        raise UserError(
            f"{source.source}: has no boxes of {stem(video)!r} with a score of {least:g} or more; it names {names}"
        )
    moments = sorted(frames)
    boxes = [np.array([box for box, _ in frames[moment]]).reshape(-1, 4) for moment in moments]
    return np.array(moments) / 1000, boxes
