"""Check of annotated boxes before training: everything that would leave the mAP at 0."""

import functools
from collections.abc import Sequence

from vidjax.config import Config
from vidjax.data.audit.key_frames import KeyFrames
from vidjax.data.listing.datasets import DATASETS
from vidjax.data.listing.rows import Row
from vidjax.data.records import classes_of
from vidjax.tasks.detect.proposals import find_name, matched, moment, read_boxes, read_excluded
from vidjax.tasks.detect.videos import file_start

# Names of a class that stands for none, in lists whose numbers begin with an unused 0.
_UNUSED = frozenset({"0", "background", "__background__", "none", "no_action", "no_activity", "unused", "n/a"})
_AVA_LENGTH = 900.0  # seconds of AVA's videos from minute 15 on


def check_annotations(config: Config, rows: Sequence[Row]) -> tuple[KeyFrames, list[str]]:
    """Check the key frames of a data set, and the files that the settings name; see `vidjax.tasks.check_annotations`.

    Raises:
      DataError: if files of boxes or of excluded key frames cannot be read.
    """
    known, settings = DATASETS.get(config.data.dataset), config.task.detect
    cut = config.data.dataset == "ava" and settings.file_start == _AVA_LENGTH
    numbered = known.folder_fps if known and known.folder_fps else 0.0
    expected = KeyFrames(functools.partial(file_start, config), numbered, _AVA_LENGTH if cut else 0.0)
    return expected, [*_unused(rows), *_files(config, rows)]


def _unused(rows: Sequence[Row]) -> list[str]:
    found: dict[str, str] = {}
    for row in rows:
        for name in classes_of(row.annotation):
            if str(name).strip().casefold() in _UNUSED:
                found.setdefault(str(name), row.where)
    return [
        f"{where}: the class {name!r} looks like the unused class 0 of a list of numbers; leave the label empty for "
        "boxes that show none of the classes"
        for name, where in found.items()
    ]


def _files(config: Config, rows: Sequence[Row]) -> list[str]:
    """Problems of detected boxes and excluded key frames that name other videos or times."""
    settings, problems = config.task.detect, []
    frames = [row for row in rows if row.at is not None]
    for name in ("boxes", "train_boxes"):
        if not (text := getattr(settings, name)):
            continue
        given = read_boxes(text, settings.min_score)
        videos = [(row, given.of(row.path)) for row in frames]
        if not any(own is not None for _, own in videos):
            problem = matched(len(frames), 0, text, [row.path for row in frames[:3]], given.frames)
            problems.append(f"config.task.detect.{name}: {problem}")
        elif not any(own is not None and moment(row.at or 0.0) in own for row, own in videos):
            row, own = next((row, own) for row, own in videos if own)
            times = ", ".join(f"{time / 1000:g}" for time in sorted(own)[:3])
            problems.append(
                f"config.task.detect.{name}: {text}: no time is that of a key frame: {row.path} is annotated at "
                f"{row.at:g} s, and has boxes at {times} s"
            )
    excluded = read_excluded(settings.exclude)
    if excluded and frames and not any(find_name(row.path, excluded) for row in frames):
        problems.append(
            f"config.task.detect.exclude: {settings.exclude}: names none of the annotated videos, but "
            f"{', '.join(sorted(excluded)[:3])}; the annotations have {frames[0].path}"
        )
    return problems
