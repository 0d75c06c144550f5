"""Detections of a video: segments in seconds with classes and scores, and the files that hold them."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vidjax.config import LocaliseConfig
from vidjax.tasks.localise.nms import Found, Suppression, hard_nms, suppress


@dataclass(frozen=True)
class Detections:
    """Segments found in one video, the highest score first.

    Attributes:
      segments: starts and ends, float64 `(N, 2)`, seconds from the first frame.
      scores: scores in 0…1, float64 `(N,)`.
      labels: class numbers, int64 `(N,)`.
    """

    segments: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def clipped(self, duration: float | None) -> "Detections":
        """Detections within the video; those without any length there are left out."""
        segments = np.clip(self.segments, 0, np.inf if duration is None else duration)
        kept = segments[:, 1] > segments[:, 0]
        return Detections(segments[kept], self.scores[kept], self.labels[kept])

    def best_of_each_place(self, least: float, overlap: float = 0.3) -> "Detections":
        """Detections to show: those with a score of `least` or more that no better one of their class overlaps by
        `overlap` (IoU) or more, in the order of time."""
        numbers = [np.zeros(0, np.int64)]
        for label in np.unique(self.labels):
            own = np.flatnonzero((self.labels == label) & (self.scores >= least))
            numbers.append(own[hard_nms(self.segments[own], self.scores[own], overlap)])
        chosen = np.concatenate(numbers)
        chosen = chosen[np.argsort(self.segments[chosen, 0], kind="stable")]
        return Detections(self.segments[chosen], self.scores[chosen], self.labels[chosen])

    def entries(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Entries of the ActivityNet format: label, score, and segment in seconds."""
        return [
            {"label": names[label], "score": round(float(score), 6), "segment": [round(float(x), 4) for x in segment]}
            for segment, score, label in zip(self.segments, self.scores, self.labels, strict=True)
        ]


def suppressed(found: Found, settings: LocaliseConfig) -> Detections:
    """Detections of a video without those that repeat better ones, by the rule of the settings; see `nms.suppress`."""
    names = {field.name for field in dataclasses.fields(Suppression)} & set(LocaliseConfig.__dataclass_fields__)
    rule = Suppression(**{name: getattr(settings, name) for name in names})
    return Detections(*suppress(found, rule))


def video_id(path: str) -> str:
    """Name of a video in files of segments: its file name without suffix; of "FILE#VIDEO", the video."""
    file, _, video = path.partition("#")
    return video or PurePosixPath(Path(file).as_posix()).stem


def write_results(path: Path, found: Mapping[str, Sequence[Mapping[str, Any]]], **facts: Any) -> None:
    """Write detections in the ActivityNet format, `{"version", "results": {video: [entry …]}, "external_data"}`.

    Args:
      path: file to write.
      found: entries of each video, see `Detections.entries`.
      **facts: entries of `external_data`.
    """
    document = {"version": "VERSION 1.3", "results": found, "external_data": facts}
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)
