"""Files of predictions and of truths, paired: the columns that scorers take, and what does not fit together.

Segments and tubes are here, boxes in `paired_boxes.py`.

What makes every figure 0 is an error that says why: videos that the two files name differently, labels of another list,
boxes in pixels beside shares of the picture. What only lowers them is a note.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vidjax.data.listing.activitynet import read_results
from vidjax.data.listing.segment_files import SegmentFile
from vidjax.data.listing.tube_files import ListedTube, read_tubes
from vidjax.data.records import Segments
from vidjax.data.text import DataError
from vidjax.evaluation.segments import OFFICIAL, SegmentArrays
from vidjax.evaluation.tubes import TubeArrays
from vidjax.wording import things

SHOWN = 5  # names in a message
MOST_SHARE = 1.5  # coordinates above are pixels


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
    notes = video_notes(predictions, truth, [found.videos[i] for i in found.video.tolist()], names, "segment", subset)
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
            notes.append(f"{what} labels without truth and do not count: {few(strange)}")
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


def read_tube_pair(
    predictions: Path, truth: Path, protocol: str = OFFICIAL, *, split: int = 1, without: Sequence[str] = ()
) -> TubePair:
    """Read predicted and true tubes; see `vidjax.data.listing.tube_files`.

    Predicted boxes that are shares of the picture become pixels if the truth has the sizes of the pictures.

    Args:
      predictions: JSON file of tubes with scores.
      truth: JSON file of tubes, or a pickle of annotations.
      protocol: name of the protocol.
      split: official split of a pickle, from 1.
      without: classes to leave out.

    Raises:
      DataError: if a file is invalid or empty, or the files do not fit together.
    """
    true, found = read_tubes(truth, split=split), read_tubes(predictions, scored=True)
    if absent := [label for label in without if label not in {tube.label for tube in true}]:
        raise DataError(f"{truth}: has no class {absent[0]!r} to leave out")
    true, found = ([tube for tube in tubes if tube.label not in without] for tubes in (true, found))
    if not true or not found:
        raise DataError(f"{truth if not true else predictions}: no tubes")
    videos = {name: i for i, name in enumerate(dict.fromkeys(tube.video for tube in true))}
    notes = video_notes(predictions, truth, [tube.video for tube in found], videos, "tube")
    labels = tuple(sorted({tube.label for tube in true}))
    strange = Counter(tube.label for tube in found if tube.label not in labels)
    if strange.total() == len(found):
        raise DataError(_unknown(predictions, truth, strange, labels, hint=False))
    if strange:
        what = things(strange.total(), "predicted tube has a label", "predicted tubes have labels")
        notes.append(f"{what} without truth and do not count: {few(strange)}")
    found = [tube for tube in found if tube.label in labels]
    sizes = {tube.video: tube.size for tube in true if tube.size}
    if in_shares(found) and sizes:
        # A video that the truth does not know has only false tubes, of any size.
        found = [replace(tube, boxes=tube.boxes * (2 * [*sizes.get(tube.video, (1, 1))[::-1]])) for tube in found]
    elif in_shares(found) != in_shares(true):
        pixels, shares = (truth, predictions) if in_shares(found) else (predictions, truth)
        raise DataError(f"{pixels}: boxes in pixels, beside shares of the picture in {shares}")
    if protocol != OFFICIAL and in_shares(true):
        raise DataError(f"{truth}: boxes in shares of the picture; the protocol {protocol} needs pixels")
    for tube in found:
        videos.setdefault(tube.video, len(videos))
    return TubePair(_tubes(true, videos, labels), _tubes(found, videos, labels), labels, tuple(notes))


def in_shares(tubes: Sequence[ListedTube]) -> bool:
    """Whether boxes are shares of the picture, not pixels."""
    return all(np.abs(tube.boxes).max() <= MOST_SHARE for tube in tubes)


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


def video_notes(
    predictions: Path,
    truth: Path,
    found: Iterable[str] | Counter[str],
    known: Iterable[str],
    what: str,
    subset: str = "",
    several: str = "",
) -> list[str]:
    """Notes about the videos of predictions.

    Args:
      predictions, truth: files, for messages.
      found: video of each prediction, or the number of predictions by video.
      known: videos of the truth.
      what: name of a prediction.
      subset: subset of the truth; empty: all of it.
      several: plural of `what`; empty: with an s.

    Raises:
      DataError: if the truth knows none of the videos.
    """
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
        notes.append(f"{many} in videos that {where} lacks: {few(strange)}")
    if absent := [name for name in known if name not in counts]:
        notes.append(f"{things(len(absent), 'video has', 'videos have')} no prediction: {few(absent)}")
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
    for label, count in list(wrong.items())[:SHOWN]:
        close = difflib.get_close_matches(label, labels, n=1)
        parts.append(f"{label!r} ({count}×{f', did you mean {close[0]!r}?' if close else ''})")
    more = f", … {len(wrong)} in all" if len(wrong) > SHOWN else ""
    end = "; --protocol opentad ignores them" if hint else ""
    return f"{predictions}: labels that {truth} never names: {', '.join(parts)}{more}{end}"


def few(names: Iterable[str]) -> str:
    """The first five of names, and their number if there are more."""
    names = list(names)
    return ", ".join(names[:SHOWN]) + (f", … {len(names)} in all" if len(names) > SHOWN else "")
