"""Boxes in AVA's CSV form: detections, annotations and the list of classes."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidjax.data.listing.class_lists import read_class_numbers
from vidjax.data.records import Boxes
from vidjax.tasks.detect.proposals import stem

DETECTIONS, TRUTH, CLASSES = "detections.csv", "truth.csv", "classes.pbtxt"
_LEAST = 1e-4  # scores below this are not written


def class_numbers(names: Sequence[str]) -> list[int]:
    """Numbers of classes in files: AVA's own if these are AVA's classes, or else from 1 in the order of `names`."""
    ava = {name: number for number, name in read_class_numbers("ava").items()}
    return [ava[name] for name in names] if set(names) <= ava.keys() else list(range(1, len(names) + 1))


def video_names(paths: Mapping[int, str]) -> dict[int, str]:
    """Name of each key frame's video: that of its file without suffix, with as many folders as tell videos apart.

    Args:
      paths: paths of the videos, by key frame.
    """
    whole = {path: stem(path).split("/") for path in set(paths.values())}
    short = {path: parts[-1] for path, parts in whole.items()}
    twins = {name for name, count in Counter(short.values()).items() if count > 1}
    return {
        index: short[path] if short[path] not in twins else "/".join(whole[path]).lstrip("/")
        for index, path in paths.items()
    }


def write_ava(
    folder: Path,
    paths: Mapping[int, str],
    times: Mapping[int, float],
    frames: Mapping[int, Boxes[int]],
    scores: Mapping[int, np.ndarray],
    names: Sequence[str],
) -> list[str]:
    """Write `detections.csv`, `truth.csv` and `classes.pbtxt`, as `vidjax evaluate boxes` and AVA's evaluation read.

    A line is `video,second,x1,y1,x2,y2,class` with the score, or the track of an annotated box, as the eighth cell.
    Annotated key frames without boxes are lines of two cells.

    Args:
      folder: folder to write to.
      paths: paths of the videos, by key frame.
      times: times of key frames, seconds.
      frames: boxes by key frame; the first rows of those asked about have scores.
      scores: scores `(R, K)` by key frame; NaN: none.
      names: names of the K classes.

    Returns:
      Names of the files.
    """
    numbers, called = class_numbers(names), video_names(paths)
    detected, true = [], []
    for index in sorted(frames):
        boxes, key = frames[index], [called[index], seconds_text(times[index])]
        detected += _scored(key, boxes.asked, scores[index], numbers)
        for number, (corners, classes) in enumerate(zip(boxes.corners, boxes.classes, strict=True)):
            track = boxes.tracks[number] if boxes.tracks else number
            true += [[*key, *_corner_texts(corners), numbers[k], track] for k in classes]
        if not any(boxes.classes):
            true.append(key)
    _write(folder / DETECTIONS, detected)
    _write(folder / TRUTH, true)
    write_classes(folder, names)
    return [DETECTIONS, TRUTH, CLASSES]


def write_detections(
    folder: Path, video: str, times: np.ndarray, boxes: np.ndarray, scores: np.ndarray, names: Sequence[str]
) -> None:
    """Write the `detections.csv` of one video.

    Args:
      folder: folder to write to.
      video: name of the video.
      times: time of each box, seconds, `(N,)`.
      boxes: corners as shares of the picture, `(N, 4)`.
      scores: scores of the classes, `(N, K)`; NaN: none.
      names: names of the K classes.
    """
    numbers, rows = class_numbers(names), []
    for time, corners, row in zip(times.tolist(), boxes.tolist(), scores, strict=True):
        rows += _scored([video, seconds_text(time)], [corners], row[None], numbers)
    _write(folder / DETECTIONS, rows)


def write_classes(folder: Path, names: Sequence[str]) -> None:
    """Write the list of classes, `classes.pbtxt`."""
    pairs = zip(names, class_numbers(names), strict=True)
    items = "".join(f"item {{\n  name: {_quoted(name)}\n  id: {number}\n}}\n" for name, number in pairs)
    (folder / CLASSES).write_text(items, encoding="utf-8")


def _scored(
    key: list[str], boxes: Sequence[Sequence[float]], scores: np.ndarray, numbers: Sequence[int]
) -> list[list[Any]]:
    lines = []
    for corners, row in zip(boxes, scores, strict=False):
        place = [*key, *_corner_texts(corners)]
        lines += [[*place, numbers[k], f"{row[k]:.6g}"] for k in np.flatnonzero(row >= _LEAST).tolist()]
    return lines


def _corner_texts(corners: Sequence[float]) -> list[str]:
    return [f"{value:.6f}" for value in corners]


def _write(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def seconds_text(seconds: float) -> str:
    """Time as in AVA's files: whole seconds with four digits, others with up to three decimals."""
    return f"{round(seconds):04d}" if abs(seconds - round(seconds)) < 5e-4 else f"{seconds:.3f}".rstrip("0")


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
