"""What a network says of one video file: classes, clips and feature vectors."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ClassScore:
    """Class and its probability."""

    name: str
    score: float


@dataclass(frozen=True, eq=False)
class ClipPrediction:
    """Scores of one clip, the mean or the maximum of its crops'."""

    start: float  # time of its first frame, seconds from the first frame of the file
    end: float  # time of its last frame, seconds
    scores: np.ndarray  # float64 (K,), probabilities
    classes: tuple[ClassScore, ...]  # the best, best first


@dataclass(frozen=True, eq=False)
class Prediction:
    """Scores of one file, the mean or the maximum of its clips' as in the run's evaluation, or the error that prevented
    them."""

    path: str
    scores: np.ndarray | None = None  # float64 (K,), probabilities
    classes: tuple[ClassScore, ...] = ()  # the best, best first
    shown: tuple[ClassScore, ...] | None = None  # those above their thresholds, best first; None: there are none
    clips: tuple[ClipPrediction, ...] = ()  # in the order of time
    error: str = ""  # reason the file could not be used; empty: none

    def to_dict(self) -> dict[str, Any]:
        """Dictionary for JSON: `path` and `error`, or `path`, `top` (classes and scores), `shown` if there are
        thresholds, and `clips` if there are several, each with `start`, `end` and `top`."""
        if self.error:
            return {"path": self.path, "error": self.error}
        entry: dict[str, Any] = {"path": self.path, "top": _entries(self.classes)}
        if self.shown is not None:
            entry["shown"] = _entries(self.shown)
        if len(self.clips) > 1:
            entry["clips"] = [{"start": c.start, "end": c.end, "top": _entries(c.classes)} for c in self.clips]
        return entry


@dataclass(frozen=True, eq=False)
class ClipVectors:
    """Feature vectors of one file's clips, averaged over the crops of each, or the error that prevented them."""

    path: str
    vectors: np.ndarray | None = None  # float32 (clips, D), in the order of time
    start: np.ndarray | None = None  # float64 (clips,), time of each clip's first frame, seconds
    end: np.ndarray | None = None  # float64 (clips,), time of its last frame, seconds
    error: str = ""  # reason the file could not be used; empty: none


def _entries(classes: tuple[ClassScore, ...]) -> list[dict[str, Any]]:
    return [{"class": c.name, "score": c.score} for c in classes]
