"""Detections of a video: segments in seconds with classes and scores, and the files that hold them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vidjax.data.listing.json_document import JsonDocument
from vidjax.data.reading.feature_file import Grid
from vidjax.data.text import DataError
from vidjax.tasks.localise.decode import with_video_classes
from vidjax.tasks.localise.nms import Found, Suppression, suppress
from vidjax.tasks.localise.runs import RunSettings, find_runs

_CANDIDATES = 2000  # best segments of a classifier's scores, before suppression


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

    def best_of_each_place(self, least: float) -> "Detections":
        """Detections to show, in the order of time: those with a score of `least` or more that share less than half of
        the shorter length with any better one of their class."""
        chosen: list[int] = []
        for number in np.argsort(-self.scores, kind="stable").tolist():
            rivals = [i for i in chosen if self.labels[i] == self.labels[number]]
            if self.scores[number] >= least and not (self._shared(number, rivals) >= 0.5).any():
                chosen.append(number)
        order = sorted(chosen, key=lambda i: self.segments[i, 0])
        return Detections(self.segments[order], self.scores[order], self.labels[order])

    def _shared(self, number: int, others: list[int]) -> np.ndarray:
        """Time that a detection shares with others, as a share of the shorter of the two."""
        (start, end), segments = self.segments[number], self.segments[others].reshape(-1, 2)
        shared = np.minimum(end, segments[:, 1]) - np.maximum(start, segments[:, 0])
        return shared / np.maximum(np.minimum(end - start, segments[:, 1] - segments[:, 0]), 1e-9)

    def entries(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Entries of the ActivityNet format: label, score, and segment in seconds."""
        return [
            {"label": names[label], "score": round(float(score), 6), "segment": [round(float(x), 4) for x in segment]}
            for segment, score, label in zip(self.segments, self.scores, self.labels, strict=True)
        ]


def suppressed(found: Found, rule: Suppression, duration: float) -> Detections:
    """Detections within a video of `duration` seconds, without those that repeat better ones; see `nms.suppress`."""
    return Detections(*suppress(found, rule, duration)).clipped(duration)


def of_scores(scores: np.ndarray, grid: Grid, duration: float, rules: RunSettings | None = None) -> Detections:
    """Segments in the scores of a classifier over time, suppressed.

    Args:
      scores: scores in 0…1 of the windows of a video, float `(T, K)`.
      grid: their times.
      duration: length of the video, seconds.
      rules: smoothing, thresholds and gaps; None: the defaults.
    """
    segments, values, labels = find_runs(scores, rules or RunSettings())
    best = np.argsort(-values, kind="stable")[:_CANDIDATES]
    return suppressed(Found(grid.seconds(segments[best]), values[best], labels[best]), Suppression(), duration)


@dataclass(frozen=True)
class VideoScores:
    """Scores of the classes of whole videos, by another network.

    Attributes:
      path: path of the file.
      names: names of the K classes.
      scores: scores of each video's classes, `(K,)`.
    """

    path: str
    names: tuple[str, ...]
    scores: Mapping[str, Sequence[float]]

    @classmethod
    def read(cls, path: str) -> "VideoScores":
        """Read `{"class": [name, …], "results": {video: [score, …]}}`; some files say "classes".

        Raises:
          DataError: if the file is another.
        """
        document = JsonDocument(Path(path).expanduser(), dict).value
        names, scores = document.get("class", document.get("classes")), document.get("results")
        if not isinstance(names, list) or not isinstance(scores, dict):
            raise DataError(f'{path}: must hold "class", a list of names, and "results", the scores of each video')
        return cls(path, tuple(map(str, names)), scores)

    def join(self, found: Detections, video: str, join: str = "root") -> Detections:
        """Give every detection of a video its 2 best classes; `join` says how scores become one.

        Raises:
          DataError: if the file has no scores of the video.
        """
        scores = self.scores.get(video, self.scores.get(video.removeprefix("v_")))
        if scores is None or len(scores) != len(self.names):
            raise DataError(f"{self.path}: has no {len(self.names)} scores of {video}")
        own = Found(found.segments, found.scores, found.labels)
        joined = with_video_classes(own, np.asarray(scores, np.float64), join=join)
        order = np.argsort(-joined.scores, kind="stable")
        return Detections(joined.segments[order], joined.scores[order], joined.labels[order])


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
