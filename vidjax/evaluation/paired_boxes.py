"""Files of detected and of true boxes in AVA's form, paired: the columns that scorers take, and what does not fit.

Detections may be millions of lines, so they are kept as columns of numbers.
"""

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vidjax.data.listing.ava import AvaLine, ava_lines, read_excluded, read_label_map
from vidjax.data.listing.class_lists import read_class_numbers
from vidjax.data.text import DataError, raise_problems
from vidjax.evaluation.boxes import OFFICIAL, BoxArrays, frame_times
from vidjax.evaluation.paired_files import MOST_SHARE, few, video_notes


@dataclass(frozen=True, eq=False)
class BoxPair:
    """True and detected boxes.

    Attributes:
      truth, predictions: boxes; labels are numbers of `labels`, -1 for others.
      labels: names of the classes to evaluate.
      named: frames that the truth names, int64.
      excluded: frames to leave out, int64.
      notes: what does not fit together, in words.
    """

    truth: BoxArrays
    predictions: BoxArrays
    labels: tuple[str, ...]
    named: np.ndarray
    excluded: np.ndarray
    notes: tuple[str, ...]


def read_boxes(
    predictions: Path, truth: Path, classes: Path | None = None, exclude: Path | None = None, protocol: str = OFFICIAL
) -> BoxPair:
    """Read detected and true boxes in AVA's CSV form; see `vidjax.data.listing.ava`.

    Args:
      predictions: lines `video,second,x1,y1,x2,y2,action,score`.
      truth: lines `video,second,x1,y1,x2,y2,action[,person]`, or `video,second` for a frame without boxes.
      classes: list of the actions to evaluate; None: the 60 of AVA.
      exclude: lines `video,second` of frames to leave out; None: none.
      protocol: name of the protocol, which decides what tells frames apart.

    Raises:
      DataError: if a file is invalid or empty, or the files do not fit together.
    """
    numbers = read_label_map(classes) if classes else read_class_numbers("ava")
    listed = str(classes or "AVA's list of 60 actions")
    videos: dict[str, int] = {}
    true, found, problems = _Columns(videos), _Columns(videos), []
    for line in ava_lines(truth, problems):
        true.add(line)
        if line.corners and (line.corners[0] > line.corners[2] or line.corners[1] > line.corners[3]):
            problems.append(f"{line.where}: an inverted box: {', '.join(map(str, line.corners))}")
    known = list(videos)
    for line in ava_lines(predictions, problems, "score"):
        if line.corners and not found.add(line, _score(line.last)):
            problems.append(f"{line.where}: needs a score as its eighth cell, not {line.last!r}")
    raise_problems(problems)
    excluded = _Columns(videos)
    for video, second in read_excluded(exclude) if exclude else ():
        excluded.add(AvaLine("", video, second))
    if not true.box or not found.box:
        raise DataError(f"{truth if not true.box else predictions}: no boxes")
    for file, columns in ((truth, true), (predictions, found)):
        _check_actions(file, columns, numbers, listed)
    _check_unit(predictions, truth, found, true)
    names = list(videos)
    counts = Counter({names[i]: n for i, n in enumerate(np.bincount(found.of_boxes("video")).tolist()) if n})
    notes = video_notes(predictions, truth, counts, known, "box", several="boxes")
    frames = _frames((true, found, excluded), protocol)
    named, left_out = np.unique(frames[0]), frames[2]
    if not np.isin(frames[1], named).any():
        raise DataError(_elsewhere(predictions, truth, found, true, names))
    if exclude and not np.isin(left_out, named).any():
        notes.append(f"no frame of {exclude} is in the truth")
    index = sorted(numbers)
    labels = tuple(numbers[number] for number in index)
    pair = true.arrays(frames[0], index), found.arrays(frames[1], index)
    return BoxPair(*pair, labels, named, left_out, tuple(notes))


def _score(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


@dataclass
class _Columns:
    """Lines of a file as columns of numbers; those without a box only name a frame.

    Attributes:
      numbers: number of each video, shared by several files.
      video, second: video and time of each line.
      boxed: 1 for a line with a box, otherwise 0.
      box, action, score: corners, action and score of each line with a box; scores may be absent.
    """

    numbers: dict[str, int]
    video: array = field(default_factory=lambda: array("q"))
    second: array = field(default_factory=lambda: array("d"))
    boxed: array = field(default_factory=lambda: array("b"))
    box: array = field(default_factory=lambda: array("d"))
    action: array = field(default_factory=lambda: array("q"))
    score: array = field(default_factory=lambda: array("d"))

    def add(self, line: AvaLine, score: float | None = None) -> bool:
        """Add a line, unless its score is not finite; returns whether it is added."""
        if score is not None:
            if not np.isfinite(score):
                return False
            self.score.append(score)
        self.video.append(self.numbers.setdefault(line.video, len(self.numbers)))
        self.second.append(line.second)
        self.boxed.append(line.corners is not None)
        if line.corners:
            self.box.extend(line.corners)
            self.action.append(line.action)
        return True

    def of_boxes(self, name: str) -> np.ndarray:
        """Column `video` or `second` of the lines with a box."""
        return np.asarray(getattr(self, name))[np.asarray(self.boxed) > 0]

    def arrays(self, frame: np.ndarray, index: list[int]) -> BoxArrays:
        """The boxes, whose labels are places in the sorted numbers `index`; `frame` is that of each line."""
        action, known = np.asarray(self.action), np.asarray(index)
        place = np.minimum(np.searchsorted(known, action), len(known) - 1)
        label = np.where(known[place] == action, place, -1)
        score = np.asarray(self.score) if self.score else None
        return BoxArrays(frame[np.asarray(self.boxed) > 0], np.asarray(self.box).reshape(-1, 4), label, score)


def _frames(files: tuple[_Columns, ...], protocol: str) -> list[np.ndarray]:
    """Number of each line's frame, int64, the same in all files for the same video and time."""
    video = np.concatenate([np.asarray(columns.video) for columns in files])
    seconds = frame_times(np.concatenate([np.asarray(columns.second) for columns in files]), protocol)
    times, moment = np.unique(seconds, return_inverse=True)
    _, frame = np.unique(video * len(times) + moment, return_inverse=True)
    return np.split(frame.astype(np.int64), np.cumsum([len(columns.video) for columns in files])[:-1])


def _check_actions(file: Path, columns: _Columns, numbers: Mapping[int, str], listed: str) -> None:
    """Raise an error if no action is in the list."""
    there = np.unique(np.asarray(columns.action)).tolist()
    if not any(action in numbers for action in there):
        why = "; lists begin at 1" if 0 in there else ""
        raise DataError(f"{file}: no action of it is in {listed}: it has the numbers {few(map(str, there))}{why}")


def _check_unit(predictions: Path, truth: Path, found: _Columns, true: _Columns) -> None:
    """Raise an error if one file has pixels and the other shares of the picture."""
    most = [float(np.abs(np.asarray(columns.box)).max()) for columns in (found, true)]
    if (most[0] > MOST_SHARE) != (most[1] > MOST_SHARE):
        pixels, shares = (predictions, truth) if most[0] > MOST_SHARE else (truth, predictions)
        raise DataError(
            f"{pixels}: boxes in pixels, up to {max(most):g}, beside shares of the picture in {shares}; divide by "
            "the width and height"
        )


def _elsewhere(predictions: Path, truth: Path, found: _Columns, true: _Columns, names: list[str]) -> str:
    """Message about detections that are all at other times than the truth."""
    video = next(number for number in found.of_boxes("video").tolist() if number in set(true.video))
    here = float(found.of_boxes("second")[found.of_boxes("video") == video][0])
    there = np.asarray(true.second)[np.asarray(true.video) == video]
    return (
        f"{predictions}: no predicted box is at a time of the truth: {here:g} s of {names[video]!r}, which {truth} "
        f"annotates from {there.min():g} to {there.max():g} s; are the times counted from another start?"
    )
