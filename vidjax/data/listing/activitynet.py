"""ActivityNet's JSON files: labelled segments of long videos, and predicted segments with scores.

THUMOS14, HACS, EPIC-Kitchens, MultiTHUMOS and Charades come in the same format for temporal localisation. `read_videos`
and `read_results` are pure functions of a file, for listings, evaluation and commands alike.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidjax.data.listing.annotations import AnnotationFile, seconds
from vidjax.data.listing.json_document import JsonDocument
from vidjax.data.listing.rows import Row
from vidjax.data.text import DataError

_RISING = "not a label with a segment of two rising numbers"


@dataclass(frozen=True)
class LongVideo:
    """Long video of an annotation file, with its labelled segments.

    Attributes:
      name: name in the file, without ActivityNet's prefix `v_` of video files.
      where: location, such as "file.json: name", for messages.
      subset: subset as the file names it, such as "training".
      spans: tuples of start and end, seconds, and label, in the file's order.
      duration: length, seconds; None: not given.
      fps: frames per second; None: not given.
    """

    name: str
    where: str
    subset: str
    spans: tuple[tuple[float, float, str], ...]
    duration: float | None = None
    fps: float | None = None


@dataclass(frozen=True, eq=False)
class Results:
    """Predicted segments of a file, N rows in its order.

    Attributes:
      videos: names of the videos, also those without a segment.
      labels: the different labels, in the order of the file.
      video: number of each segment's video, int64 `(N,)`.
      label: number of each segment's label, int64 `(N,)`.
      start, end: seconds, float64 `(N,)`.
      score: float64 `(N,)`.
    """

    videos: tuple[str, ...]
    labels: tuple[str, ...]
    video: np.ndarray
    label: np.ndarray
    start: np.ndarray
    end: np.ndarray
    score: np.ndarray


def read_videos(file: Path, subset: str = "", check: Callable[[str], str | None] | None = None) -> list[LongVideo]:
    """Read the videos of an annotation file.

    The format is `{"database": {name: {"subset", "duration", "fps", "annotations": [{"segment": [s, e], "label"}]}}}`;
    duration and fps may be absent.

    Args:
      file: JSON file.
      subset: subset to read, as the file names it, in any case; empty: all. Entries of others are not checked.
      check: function of a label that returns the problem with it, or None.

    Raises:
      DataError: if the file or entries are invalid; names file, line and entry.
    """
    document, found = JsonDocument(file, dict), []
    database = document.value.get("database")
    if not isinstance(database, dict):
        raise DataError(
            f"{file}: no 'database' in it; give annotations, such as the publisher's activity_net.v1-3.min.json"
        )
    for name, entry in database.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("annotations"), list) or "subset" not in entry:
            document.note(name, "needs a subset and a list of annotations")
        elif not subset or str(entry["subset"]).lower() == subset.lower():
            spans = _spans(document, name, entry["annotations"], check)
            times = (seconds(entry.get(key)) for key in ("duration", "fps"))
            found.append(LongVideo(name, f"{file}: {name}", str(entry["subset"]), spans, *times))
    document.raise_problems()
    return found


def _spans(
    document: JsonDocument, name: str, parts: list[Any], check: Callable[[str], str | None] | None
) -> tuple[tuple[float, float, str], ...]:
    spans = []
    for part in parts:
        try:
            start, end, label = *map(seconds, part["segment"]), part["label"]
        except (KeyError, TypeError, ValueError):
            start, end, label = None, None, ""
        if start is None or end is None or end < start or not isinstance(label, str):
            document.note(name, f"{_RISING}: {part}")
        elif problem := check(label) if check else None:
            document.note(name, problem)
        else:
            spans.append((start, end, label))
    return tuple(spans)


def read_results(file: Path) -> Results:
    """Read predicted segments: `{"results": {name: [{"label", "score", "segment": [start, end]}]}}`.

    Raises:
      DataError: if the file or entries are invalid; names file, line and entry.
    """
    document = JsonDocument(file, dict)
    results = document.value.get("results")
    if not isinstance(results, dict):
        told = "; it has a 'database', as annotations do" if "database" in document.value else ""
        raise DataError(f"{file}: no 'results' in it, an object of each video's predicted segments{told}")
    labels: dict[str, int] = {}
    numbers: list[tuple[int, int]] = []
    values: list[tuple[float, float, float]] = []
    for video, (name, parts) in enumerate(results.items()):
        if not isinstance(parts, list):
            document.note(name, "needs a list of segments")
            continue
        for part in parts:
            try:
                start, end = part["segment"]
                row, label = (float(start), float(end), float(part["score"])), part["label"]
            except (KeyError, TypeError, ValueError):
                row, label = (math.nan,) * 3, None
            if not (isinstance(label, str) and math.isfinite(sum(row))):
                document.note(name, f"not a label, a score and a segment of two numbers: {part}")
                continue
            numbers.append((video, labels.setdefault(label, len(labels))))
            values.append(row)
    document.raise_problems()
    video, label = np.array(numbers, np.int64).reshape(-1, 2).T
    start, end, score = np.array(values, np.float64).reshape(-1, 3).T
    return Results(tuple(results), tuple(labels), video, label, start, end, score)


def parse_activitynet(source: AnnotationFile) -> list[Row]:
    """Parse ActivityNet for classification: every labelled part of an untrimmed video is a row of its own.

    Files are named `v_ID.mp4`.

    Raises:
      DataError: as `read_videos` does, and for unknown labels.
    """

    def check(label: str) -> str | None:
        return source.classes.unknown(label) if source.classes.get(label) is None else None

    subset = {"train": "training", "eval": "validation"}[source.role]
    return [
        source.row(f"v_{video.name}", (source.classes.get(label) or 0,), video.where, video.name, start, end)
        for video in read_videos(source.file, subset, check)
        for start, end, label in video.spans
    ]
