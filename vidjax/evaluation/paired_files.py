"""Files of predictions and of truths, paired: the columns that scorers take, and what does not fit together.

What makes every figure 0 is an error that says why: videos that the two files name differently, labels of another list,
boxes in pixels beside shares of the picture. What only lowers them is a note.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vidjax.data.listing.activitynet import read_results
from vidjax.data.listing.ava import AvaLine, ava_lines, read_excluded, read_label_map
from vidjax.data.listing.class_lists import read_class_numbers
from vidjax.data.listing.segment_files import SegmentFile
from vidjax.data.listing.tube_files import ListedTube, read_tubes
from vidjax.data.records import Segments
from vidjax.data.text import DataError, raise_problems
from vidjax.evaluation.boxes import BoxArrays, frame_times
from vidjax.evaluation.segments import OFFICIAL, SegmentArrays
from vidjax.evaluation.tubes import TubeArrays
from vidjax.wording import things

_SHOWN = 5  # names in a message
_SHARES = 1.5  # coordinates above are pixels


@dataclass(frozen=True, eq=False)
class SegmentPair:
    """True and predicted segments of one subset.

    Attributes:
      truth, predictions: segments; labels are numbers of `labels`.
      labels: names of the classes with truth, sorted.
      subset: name of the subset, in lower case; empty: the truth has none.
      num_videos: number of its videos.
      notes: what does not fit together, in words.
    """

    truth: SegmentArrays
    predictions: SegmentArrays
    labels: tuple[str, ...]
    subset: str
    num_videos: int
    notes: tuple[str, ...]


def read_segments(
    predictions: Path, truth: Path, subset: str = "", protocol: str = OFFICIAL, *, labelled: bool = True
) -> SegmentPair:
    """Read predicted segments in ActivityNet's JSON, and true ones in any format of `data.listing.segment_files`.

    If the truth has paths and the predictions have none of them, videos go by their file names without suffix.

    Args:
      predictions: JSON file with `results`.
      truth: file, or folder, of labelled segments.
      subset: subset, or split, of the truth; empty: "validation", or the only one with segments.
      protocol: name of the protocol; with the official one, predicted labels that the truth never names are an error.
      labelled: whether labels count; otherwise all are class 0, as for proposals.

    Raises:
      DataError: if a file is invalid or empty, the subset does not exist, or the files do not fit together.
    """
    every = [
        (row.path, row.split, row.annotation.spans)
        for row in SegmentFile(str(truth), str(truth)).rows()
        if isinstance(row.annotation, Segments)
    ]
    subset = _subset(truth, [split for _, split, spans in every if spans], subset)
    videos = {name: spans for name, split, spans in every if split == subset}
    found = read_results(predictions)
    if not len(found.score):
        raise DataError(f"{predictions}: no predicted segments")
    labels = tuple(sorted({label for spans in videos.values() for _, _, label in spans}))
    names = {name: number for number, name in enumerate(videos)}
    stems = {Path(name).stem: number for number, name in enumerate(videos)}
    if not names.keys() & set(found.videos) and len(stems) == len(names) and stems.keys() & set(found.videos):
        names, videos = stems, dict(zip(stems, videos.values(), strict=True))
    notes = _videos(predictions, truth, [found.videos[i] for i in found.video.tolist()], names, "segment", subset)
    number = {label: i if labelled else 0 for i, label in enumerate(labels)}
    if labelled:
        counts = Counter(found.labels[i] for i in found.label.tolist())
        elsewhere = {label for _, _, spans in every for _, _, label in spans}
        strange = {label: n for label, n in counts.items() if label not in number}
        wrong = {label: n for label, n in strange.items() if label not in elsewhere}
        if wrong and (protocol == OFFICIAL or len(wrong) == len(counts)):
            raise DataError(_unknown(predictions, truth, wrong, labels, hint=len(wrong) < len(counts)))
        if strange:
            what = things(sum(strange.values()), "predicted segment has", "predicted segments have")
            notes.append(f"{what} labels without truth and do not count: {_few(strange)}")
    rows = [(names[name], start, end, number[label]) for name, spans in videos.items() for start, end, label in spans]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    # Videos that are not in the subset get numbers of their own.
    ids = np.array([names.get(name, len(names) + i) for i, name in enumerate(found.videos)], np.int64)
    own = np.array([number.get(label, len(labels)) if labelled else 0 for label in found.labels], np.int64)
    predicted = SegmentArrays(ids[found.video], found.start, found.end, own[found.label], found.score)
    if inverted := int((found.end < found.start).sum()):
        notes.append(f"{things(inverted, 'predicted segment ends', 'predicted segments end')} before the start")
    if labelled:
        predicted = predicted.rows(predicted.label < len(labels))
    video, start, end, label = columns
    true = SegmentArrays(video, start.astype(np.float64), end.astype(np.float64), label)
    return SegmentPair(true, predicted, labels, subset, len(videos), tuple(notes))


def _subset(truth: Path, there: Sequence[str], wanted: str) -> str:
    """The subset to evaluate, as `wanted` or by default."""
    names = sorted(set(there))
    if not names:
        raise DataError(f"{truth}: no labelled segments")
    chosen = wanted.lower() or (names[0] if len(names) == 1 else "validation")
    if chosen not in names:
        told = f"choose with --subset one of {', '.join(names)}" if any(names) else "it names no subsets"
        raise DataError(f"{truth}: no labelled segments in the subset {chosen!r}; {told}")
    return chosen


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
    index = {number: i for i, number in enumerate(sorted(numbers))}
    listed = classes or "AVA's list of 60 actions"
    frames: dict[tuple[str, float], int] = {}

    def frame_of(places: Iterable[tuple[str, float]]) -> np.ndarray:
        videos, seconds = [], []
        for video, second in places:
            videos.append(video)
            seconds.append(second)
        times = frame_times(np.array(seconds, np.float64), protocol).tolist()
        keys = zip(videos, times, strict=True)
        return np.array([frames.setdefault(key, len(frames)) for key in keys], np.int64)

    def arrays(lines: list[AvaLine], scores: list[float] | None) -> BoxArrays:
        corners = np.array([line.corners for line in lines], np.float64).reshape(-1, 4)
        label = np.array([index.get(line.action, -1) for line in lines], np.int64)
        frame = frame_of((line.video, line.second) for line in lines)
        return BoxArrays(frame, corners, label, None if scores is None else np.array(scores, np.float64))

    problems: list[str] = []
    true = list(ava_lines(truth, problems))
    boxes = [line for line in true if line.corners]
    problems += [
        f"{line.where}: an inverted box: {', '.join(map(str, line.corners))}"
        for line in boxes
        if line.corners and (line.corners[0] > line.corners[2] or line.corners[1] > line.corners[3])
    ]
    found, scores = _scored(predictions, problems)
    raise_problems(problems)
    if not boxes or not found:
        raise DataError(f"{truth if not boxes else predictions}: no boxes")
    named = frame_of((line.video, line.second) for line in true)
    pair = arrays(boxes, None), arrays(found, scores)
    _check_actions(truth, boxes, index, str(listed))
    _check_actions(predictions, found, index, str(listed))
    largest = [float(np.abs(each.box).max()) for each in pair]
    if (largest[0] > _SHARES) != (largest[1] > _SHARES):
        pixels, shares = (predictions, truth) if largest[1] > _SHARES else (truth, predictions)
        raise DataError(
            f"{pixels}: boxes in pixels, up to {max(largest):g}, beside shares of the picture in {shares}; divide by "
            "the width and height"
        )
    names = dict.fromkeys(line.video for line in true)
    notes = _videos(predictions, truth, [line.video for line in found], names, "box", several="boxes")
    if not np.isin(pair[1].frame, named).any():
        first = next(line for line in found if line.video in names)
        times = sorted({line.second for line in true if line.video == first.video})
        raise DataError(
            f"{first.where}: no predicted box is at a time of the truth: {first.second:g} s of {first.video!r}, which "
            f"{truth} annotates from {times[0]:g} to {times[-1]:g} s; are the times counted from another start?"
        )
    excluded = frame_of(read_excluded(exclude)) if exclude else np.zeros(0, np.int64)
    if exclude and not np.isin(excluded, named).any():
        notes.append(f"no frame of {exclude} is in the truth")
    labels = tuple(numbers[number] for number in sorted(numbers))
    return BoxPair(*pair, labels, np.unique(named), excluded, tuple(notes))


def _scored(file: Path, problems: list[str]) -> tuple[list[AvaLine], list[float]]:
    """Lines of detections and their scores."""
    found, scores = [], []
    for line in ava_lines(file, problems, "score"):
        try:
            score = float(line.last) if line.corners else 0.0
        except ValueError:
            score = np.nan
        if not np.isfinite(score):
            problems.append(f"{line.where}: needs a score as its eighth cell, not {line.last!r}")
        elif line.corners:
            found.append(line)
            scores.append(score)
    return found, scores


def _check_actions(file: Path, lines: list[AvaLine], index: dict[int, int], listed: str) -> None:
    """Raise an error if no action is in the list."""
    there = sorted({line.action for line in lines})
    if not any(action in index for action in there):
        why = ", and lists begin at 1" if 0 in there else ""
        shown = ", ".join(map(str, there[:_SHOWN])) + (" …" if len(there) > _SHOWN else "")
        raise DataError(f"{file}: no action of it is in {listed}: it has the numbers {shown}{why}")


@dataclass(frozen=True, eq=False)
class TubePair:
    """True and predicted tubes.

    Attributes:
      truth, predictions: tubes; labels are numbers of `labels`.
      labels: names of the classes with truth, sorted.
      notes: what does not fit together, in words.
    """

    truth: TubeArrays
    predictions: TubeArrays
    labels: tuple[str, ...]
    notes: tuple[str, ...]


def read_tube_pair(predictions: Path, truth: Path) -> TubePair:
    """Read predicted and true tubes; see `vidjax.data.listing.tube_files`.

    Raises:
      DataError: if a file is invalid or empty, or the files do not fit together.
    """
    true, found = read_tubes(truth), read_tubes(predictions, scored=True)
    if not true or not found:
        raise DataError(f"{truth if not true else predictions}: no tubes")
    videos = {name: i for i, name in enumerate(dict.fromkeys(tube.video for tube in true))}
    notes = _videos(predictions, truth, [tube.video for tube in found], videos, "tube")
    labels = tuple(sorted({tube.label for tube in true}))
    strange = Counter(tube.label for tube in found if tube.label not in labels)
    if strange.total() == len(found):
        raise DataError(_unknown(predictions, truth, strange, labels, hint=False))
    if strange:
        what = things(strange.total(), "predicted tube has a label", "predicted tubes have labels")
        notes.append(f"{what} without truth and do not count: {_few(strange)}")
    for tube in found:
        videos.setdefault(tube.video, len(videos))
    kept = [tube for tube in found if tube.label in labels]
    return TubePair(_tubes(true, videos, labels), _tubes(kept, videos, labels), labels, tuple(notes))


def _tubes(tubes: list[ListedTube], videos: dict[str, int], labels: tuple[str, ...]) -> TubeArrays:
    number = {label: i for i, label in enumerate(labels)}
    return TubeArrays(
        np.array([videos[tube.video] for tube in tubes], np.int64),
        np.array([number[tube.label] for tube in tubes], np.int64),
        np.array([len(tube.frames) for tube in tubes], np.int64),
        np.concatenate([tube.frames for tube in tubes]),
        np.concatenate([tube.boxes for tube in tubes]),
        np.array([tube.score for tube in tubes], np.float64),
    )


def _videos(
    predictions: Path,
    truth: Path,
    found: list[str],
    known: Iterable[str],
    what: str,
    subset: str = "",
    several: str = "",
) -> list[str]:
    """Notes about the videos of predictions, or an error if the truth knows none of them."""
    known, notes = dict.fromkeys(known), []
    counts = Counter(found)
    strange = {name: n for name, n in counts.items() if name not in known}
    where = f"the subset {subset!r} of {truth}" if subset else str(truth)
    if len(strange) == len(counts):
        mine, theirs = next(iter(strange)), next(iter(known), "")
        raise DataError(
            f"{predictions}: none of its videos is in {where}: {mine!r} here, {theirs!r} there"
            + _renamed(strange, known)
        )
    if strange:
        many = things(sum(strange.values()), f"predicted {what} is", f"predicted {several or what + 's'} are")
        notes.append(f"{many} in videos that {where} lacks: {_few(strange)}")
    if absent := [name for name in known if name not in counts]:
        notes.append(f"{things(len(absent), 'video has', 'videos have')} no prediction: {_few(absent)}")
    return notes


def _renamed(mine: Iterable[str], theirs: Iterable[str]) -> str:
    """The difference between names, if it is a common one."""
    theirs = set(theirs)
    for told, change in (
        ("without the prefix v_", lambda name: name.removeprefix("v_")),
        ("with the prefix v_", lambda name: f"v_{name}"),
        ("without folder and suffix", lambda name: Path(name).stem),
    ):
        if any(change(name) in theirs for name in mine):
            return f"; write them {told}"
    return ""


def _unknown(predictions: Path, truth: Path, wrong: dict[str, int], labels: Sequence[str], hint: bool) -> str:
    """Message about labels that the truth never names."""
    parts = []
    for label, count in list(wrong.items())[:_SHOWN]:
        close = difflib.get_close_matches(label, labels, n=1)
        parts.append(f"{label!r} ({count}×{f', did you mean {close[0]!r}?' if close else ''})")
    more = f", … {len(wrong)} in all" if len(wrong) > _SHOWN else ""
    end = "; --protocol opentad ignores them" if hint else ""
    return f"{predictions}: labels that {truth} never names: {', '.join(parts)}{more}{end}"


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (f", … {len(names)} in all" if len(names) > _SHOWN else "")
