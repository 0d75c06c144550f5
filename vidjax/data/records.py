"""Which videos there are, and their labels: CSV files and folders read into `VideoSet`s, with every mistake named.

A CSV has a header with `path` and `label`, optionally `split` and `group` (videos cut from one source share a group).
Several labels of one video are joined by `|`. A folder has one sub-folder per class. Both may lie elsewhere, and so
may the videos that a CSV lists: `gs://bucket/train.csv`.
"""

import csv
import difflib
import io
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vidjax.config import DataConfig
from vidjax.data.places import Presence, class_folders, locate, own_files
from vidjax.data.stored import is_address
from vidjax.errors import UserError
from vidjax.video import VideoError
from vidjax.video.sources import is_remote, read_bytes

if TYPE_CHECKING:
    from vidjax.data.prepared import Prepared

logger = logging.getLogger("vidjax")

VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".flv", ".wmv", ".ts", ".m2ts", ".3gp", ".ogv",
    ".gif", ".vob", ".mts", ".divx", ".asf",
))  # fmt: skip
TRAIN_SPLITS = frozenset({"train", "training"})
EVAL_SPLITS = frozenset({"val", "valid", "validation", "eval", "test", "testing"})
UNLABELLED = "unlabelled"  # the class of all videos where labels are not asked for
_SHARE = 23  # marks the draws of `_share` among those of the seed
_SHOWN = 20  # problems listed in one error


class DataError(UserError):
    """Annotations or folders that cannot be used; the message names files and lines and says what to do."""


@dataclass(frozen=True)
class Record:
    """One video of a data set."""

    path: str
    labels: tuple[int, ...]  # indices into the class names; one, unless the data set is multi-label
    group: str = ""  # videos of one source share it
    start: float | None = None  # the part of the video that is meant, seconds from its first frame; None: all from …
    end: float | None = None  # … or up to there


@dataclass(frozen=True)
class VideoSet:
    """The videos of one split, in a fixed order, and the classes that their labels index."""

    records: tuple[Record, ...]
    class_names: tuple[str, ...]
    multi_label: bool = False
    directional: bool = False  # its classes tell left from right, so that mirroring a clip can make its label wrong
    mirrored: dict[int, int] = field(default_factory=dict)  # class → class of the same clip mirrored, where they differ
    sources: tuple[int, ...] = ()  # of each record, which of the sources of `config.train` lists it; (): there is one
    quarantined: dict[int, str] = field(default_factory=dict)  # record → why it is not to be opened, see `quarantine`

    def __len__(self) -> int:
        return len(self.records)

    def targets(self) -> np.ndarray:
        """int32 `(N,)` class indices or, if multi-label, float32 `(N, K)` zeros and ones."""
        if not self.multi_label:
            return np.array([r.labels[0] for r in self.records], np.int32)
        targets = np.zeros((len(self.records), len(self.class_names)), np.float32)
        for row, record in zip(targets, self.records, strict=True):
            row[list(record.labels)] = 1
        return targets


@dataclass(frozen=True)
class Listing:
    """One video, or part of one, as annotations list it, whether it can be used or not."""

    path: str
    where: str  # "train.csv:12", for messages
    missing: bool = False
    start: float | None = None  # seconds; see `Record`
    end: float | None = None


@dataclass(frozen=True)
class _Row:
    path: str
    labels: tuple[str, ...]
    split: str
    group: str
    where: str  # "train.csv:12", for messages
    start: float | None = None  # seconds; see `Record`
    end: float | None = None
    source: int = 0  # which of several


def load_sets(config: DataConfig, seed: int = 0, labelled: bool = True) -> tuple[VideoSet, VideoSet]:
    """The training and evaluation videos that `config` names; class names are sorted, so that they never change.

    Without `config.eval`, evaluation takes the rows whose `split` is val or test, or else holds out whole groups.

    With `config.dataset`, both follow the publisher's annotations instead: see `vidjax.data.datasets`. Prepared data
    sets keep the classes, and their order, that they were prepared with: see `vidjax.data.prepared`. Several sources
    have the classes of all together: see `vidjax.data.sources`.

    Training leaves out the videos of `config.quarantine`; evaluation keeps them, marked. Of the others it takes
    `config.train_share`.

    Args:
      config: `dataset`, `split`, `train`, `eval`, `root`, `eval_share`, `mixture`, `quarantine`, `train_share` and
        `flip_pairs` are used.
      seed: decides which groups are held out, and which videos are taken.
      labelled: False: labels are not needed, and ignored where they are. A CSV needs the column `path` alone, a folder
        may hold its videos in sub-folders or itself, and every video has the one class `UNLABELLED`.

    Raises:
      DataError: naming every wrong line (up to 20): a missing file, an empty label or class, a duplicate, a malformed
        line, a label in evaluation that training does not have.
    """
    from vidjax.data import datasets, mirroring, quarantine, sources  # which are built on this file

    sources.check(config)
    train, held_out = datasets.load_sets(config) if config.dataset else _load_own(config, seed, labelled)
    if labelled:
        train, held_out = (mirroring.pair(videos, config.flip_pairs) for videos in (train, held_out))
    else:
        train, held_out = _without_labels(train), _without_labels(held_out)
    listed = quarantine.read(config)
    train = _share(quarantine.leave_out(train, listed), config.train_share, seed)
    return train, quarantine.mark(held_out, listed)


def _without_labels(videos: VideoSet) -> VideoSet:
    records = tuple(replace(record, labels=(0,)) for record in videos.records)
    return VideoSet(records, (UNLABELLED,), sources=videos.sources)


def _share(videos: VideoSet, share: float, seed: int) -> VideoSet:
    """So many of the videos of each class of each source, one at least; in their order. A smaller share is part of a
    larger one."""
    if share == 1:
        return videos
    strata: dict[tuple[int, tuple[int, ...]], list[int]] = defaultdict(list)
    for i, record in enumerate(videos.records):
        strata[videos.sources[i] if videos.sources else 0, record.labels].append(i)
    keep = []
    for stratum in sorted(strata):
        members = sorted(strata[stratum], key=lambda i: videos.records[i].path)
        drawn = np.random.default_rng((seed, _SHARE)).permutation(len(members))
        keep += [members[i] for i in drawn[: max(1, round(share * len(members)))]]
    keep.sort()
    logger.info("%d of %d training videos are taken: config.data.train_share = %g", len(keep), len(videos), share)
    records, sources = tuple(videos.records[i] for i in keep), tuple(videos.sources[i] for i in keep if videos.sources)
    return replace(videos, records=records, sources=sources)


def _load_own(config: DataConfig, seed: int, labelled: bool) -> tuple[VideoSet, VideoSet]:
    from vidjax.data import sources

    if not config.train:
        raise DataError(
            "config.data.train is empty: give a CSV file (path,label) or a folder with one sub-folder per class"
        )
    parts = [_load_prepared(source, config.root) for source in sources.names(config.train)]
    rows = _read_all(config.train, config.root, labelled=labelled)
    if labelled and len(found := {label for row in rows for label in row.labels}) < 2:
        raise DataError(f"{config.train}: training needs at least two classes, found only {', '.join(found)}")
    if config.eval:
        train = [row for row in rows if not parts[row.source] or row.split not in EVAL_SPLITS]
        held_out = _read_all(config.eval, config.root, labelled=labelled)
    else:
        split = {row.source for row in rows if row.split}
        train, held_out = _by_split([r for r in rows if r.source in split], config.train) if split else ([], [])
        if whole := [row for row in rows if row.source not in split]:
            further = _hold_out(whole, config.eval_share, seed)
            train, held_out = sorted(train + further[0], key=lambda r: r.source), held_out + further[1]
    own = [{label for row in train if row.source == i for label in row.labels} for i in range(len(parts))]
    if not labelled:
        parts = [None] * len(parts)
    class_names = sources.union([p.class_names if p else sorted(names) for p, names in zip(parts, own, strict=True)])
    multi_label = any(p and p.multi_label for p in parts) or any(len(row.labels) > 1 for row in train + held_out)
    sources.warn_of_twins([(row.path, row.source) for row in train])
    _warn_of_overlap(train, held_out)
    sets = (_video_set(train, class_names, multi_label), _video_set(held_out, class_names, multi_label))
    directional, mirrored = sources.directions([p for p in parts if p], class_names)
    return tuple(replace(s, directional=directional, mirrored=mirrored) for s in sets)


def load_eval_set(source: str, root: str, class_names: Sequence[str], multi_label: bool) -> VideoSet:
    """The videos of one CSV or folder, labelled with the classes of a trained model.

    Without labels, if the classes are `UNLABELLED` alone.

    Raises:
      DataError: as `load_sets`.
    """
    rows = _read_all(source, root, labelled=tuple(class_names) != (UNLABELLED,))
    if any(r.split for r in rows):
        rows = [r for r in rows if r.split in EVAL_SPLITS] or rows
    return _video_set(rows, class_names, multi_label)


def list_videos(config: DataConfig) -> list[Listing]:
    """All videos that `config.train` and `config.eval` list, also those that are not there.

    Raises:
      DataError: naming every line that is wrong for another reason than a missing file.
    """
    if config.dataset:
        from vidjax.data import datasets

        return datasets.list_videos(config)
    rows = [row for s in (config.train, config.eval) if s for row in _read_all(s, config.root, need_files=False)]
    there = Presence()
    return [
        Listing(row.path, row.where, not (is_address(row.path) or there(row.path)), row.start, row.end) for row in rows
    ]


def _load_prepared(source: str, root: str) -> "Prepared | None":
    from vidjax.data import prepared  # which is built on this file

    return prepared.load(source, root)


def _read_all(text: str, root: str, need_files: bool = True, labelled: bool = True) -> list[_Row]:
    """The rows of all sources, one after the other."""
    from vidjax.data import sources

    parts = [_read(source, root, need_files, labelled) for source in sources.names(text)]
    rows = [replace(row, source=i) if i else row for i, rows in enumerate(parts) for row in rows]
    return rows if labelled else [replace(row, labels=(UNLABELLED,)) for row in rows]


def _read(source: str, root: str, need_files: bool, labelled: bool) -> list[_Row]:
    if (stored := _load_prepared(source, root)) is not None:
        whole = len({entry.split for entry in stored.entries}) > 1
        rows = []
        for e in stored.entries:
            path, labels = stored.address(e), tuple(stored.class_names[i] for i in e.labels)
            rows.append(_Row(path, labels, e.split if whole else "", e.group, path, e.start, e.end))
        return rows
    if is_remote(source):
        return _read_remote(source, root, need_files, labelled)
    path = Path(source).expanduser()
    if path.is_dir():
        return _read_folder(str(path), labelled)
    if not path.exists():
        raise DataError(f"{source}: no such file or folder (current folder: {os.getcwd()})")
    return _read_csv(str(path), path.read_bytes(), root or str(path.parent), need_files, labelled)


def _read_remote(source: str, root: str, need_files: bool, labelled: bool) -> list[_Row]:
    try:
        if not source.lower().partition("?")[0].endswith(".csv"):
            return _read_folder(source.rstrip("/"), labelled)
        return _read_csv(source, read_bytes(source), root or source.rpartition("/")[0], need_files, labelled)
    except VideoError as error:
        raise DataError(str(error)) from None


def _read_csv(path: str, content: bytes, root: str, need_files: bool, labelled: bool) -> list[_Row]:
    rows, problems, there = [], [], Presence() if need_files else None
    seen: dict[str, str] = {}
    try:
        with io.StringIO(content.decode("utf-8-sig"), newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [c.strip() for c in reader.fieldnames or ()]
            if missing := [c for c in ("path", "label")[: 1 + labelled] if c not in columns]:
                raise DataError(
                    f"{path}:1: no column {' and no column '.join(map(repr, missing))} in the header "
                    f"{','.join(columns)!r}; the first line must be path,label[,split,group]"
                )
            if unknown := [c for c in columns if c not in ("path", "label", "split", "group")]:
                logger.warning("%s:1: columns that are not used: %s", path, ", ".join(unknown))
            reader.fieldnames = columns
            for cells in reader:
                where = f"{path}:{reader.line_num}"
                row = _parse(cells, len(columns), where, root, there, problems, labelled)
                if row is None:
                    continue
                if row.path in seen:
                    problems.append(
                        f"{where}: {cells['path']!r} is listed already at {seen[row.path]}; remove one of them"
                    )
                seen.setdefault(row.path, where)
                rows.append(row)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a UTF-8 text file ({error.reason} at byte {error.start})") from None
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not a valid CSV line ({error})") from None
    raise_problems(problems)
    if not rows:
        raise DataError(f"{path}: no videos below the header line")
    return rows


def _parse(
    cells: dict,
    num_columns: int,
    where: str,
    root: str,
    there: Presence | None,
    problems: list[str],
    labelled: bool,
) -> _Row | None:
    found = sum(v is not None for k, v in cells.items() if k is not None) + len(cells.get(None, ()))
    if found != num_columns:
        problems.append(f"{where}: {found} cells where the header has {num_columns}; quote cells that hold a comma")
        return None
    values = {k: v.strip() for k, v in cells.items()}
    labels = tuple(part.strip() for part in values["label"].split("|")) if labelled else (UNLABELLED,)
    if not values["path"]:
        problems.append(f"{where}: the path is empty")
    elif not all(labels):
        problems.append(f"{where}: the label of {values['path']!r} is empty")
    elif len(set(labels)) < len(labels):
        problems.append(f"{where}: a label of {values['path']!r} is repeated: {values['label']!r}")
    elif there and not there(locate(root, values["path"])):
        problems.append(f"{where}: no such file: {locate(root, values['path'])}")
    else:
        video = locate(root, values["path"])
        return _Row(video, labels, values.get("split", "").lower(), values.get("group", ""), where)
    return None


def _read_folder(path: str, labelled: bool) -> list[_Row]:
    rows, problems, ignored = [], [], []
    classes = class_folders(path)
    if not labelled:
        classes = {"": own_files(path), **{name: files for name, files in classes.items() if files}}
    elif not classes:
        raise DataError(f"{path}: no sub-folders; put the videos of each class into a sub-folder named after it")
    for name, files in classes.items():
        videos = [p for p in files if os.path.splitext(p)[1].lower() in VIDEO_SUFFIXES]
        ignored += [p for p in files if os.path.splitext(p)[1].lower() not in VIDEO_SUFFIXES]
        if not videos and labelled:
            problems.append(f"{path}/{name}: the class {name!r} has no videos; add some or remove the folder")
        rows += [_Row(p, (name,), "", "", p) for p in videos]
    if ignored:
        names = ", ".join(p[len(path) :].lstrip("/") for p in ignored[:_SHOWN])
        logger.warning("%s: %d files are no videos by their suffix and are ignored: %s", path, len(ignored), names)
    raise_problems(problems)
    if not rows:
        raise DataError(f"{path}: no videos there or in its sub-folders")
    return rows


def _by_split(rows: list[_Row], source: str) -> tuple[list[_Row], list[_Row]]:
    problems = [
        f"{r.where}: split {r.split!r} is neither train nor one of {', '.join(sorted(EVAL_SPLITS))}"
        for r in rows
        if r.split not in TRAIN_SPLITS | EVAL_SPLITS
    ]
    raise_problems(problems)
    train = [r for r in rows if r.split in TRAIN_SPLITS]
    held_out = [r for r in rows if r.split in EVAL_SPLITS]
    if not train or not held_out:
        raise DataError(
            f"{source}: the split column gives {len(train)} training and {len(held_out)} evaluation videos; "
            "both need some"
        )
    return train, held_out


def _hold_out(rows: list[_Row], share: float, seed: int) -> tuple[list[_Row], list[_Row]]:
    """Whole groups, drawn class by class until each class has its share in evaluation."""
    groups: dict[tuple[str, ...], dict[str, list[_Row]]] = defaultdict(lambda: defaultdict(list))
    first_labels: dict[str, tuple[str, ...]] = {}
    for row in rows:
        group = row.group or row.path
        # A group with videos of several classes is filed under its first, so that it is drawn once and whole.
        groups[first_labels.setdefault(group, row.labels)][group].append(row)
    rng = np.random.default_rng(seed)
    held_out: set[str] = set()
    for labels in sorted(groups):
        by_group = groups[labels]
        wanted = share * sum(map(len, by_group.values()))
        names = sorted(by_group)
        for group in rng.permutation(len(names))[: len(names) - 1]:
            if wanted < 0.5:
                break
            held_out.add(names[group])
            wanted -= len(by_group[names[group]])
    train = [r for r in rows if (r.group or r.path) not in held_out]
    evaluation = [r for r in rows if (r.group or r.path) in held_out]
    if not evaluation:
        raise DataError("too few videos to hold some out for evaluation; give config.data.eval")
    return train, evaluation


def _video_set(rows: Iterable[_Row], class_names: Sequence[str], multi_label: bool) -> VideoSet:
    index = {name: i for i, name in enumerate(class_names)}
    records, sources, problems = [], [], []
    for row in rows:
        if unknown := [label for label in row.labels if label not in index]:
            close = difflib.get_close_matches(unknown[0], class_names, n=2)
            hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
            problems.append(
                f"{row.where}: label {unknown[0]!r} is none of the {len(class_names)} training classes{hint}"
            )
        elif len(row.labels) > 1 and not multi_label:
            problems.append(f"{row.where}: several labels, but the model was trained with one per video")
        else:
            labels = tuple(sorted(index[label] for label in row.labels))
            records.append(Record(row.path, labels, row.group, row.start, row.end))
            sources.append(row.source)
    raise_problems(problems)
    return VideoSet(tuple(records), tuple(class_names), multi_label, sources=tuple(sources) if any(sources) else ())


def _warn_of_overlap(train: list[_Row], held_out: list[_Row]) -> None:
    for what, key in (("video", lambda r: os.path.realpath(r.path)), ("group", lambda r: r.group)):
        both = {key(r) for r in train if key(r)} & {key(r) for r in held_out if key(r)}
        if both:
            logger.warning(
                "%d %ss are in training and in evaluation, which flatters the accuracy: %s",
                len(both),
                what,
                ", ".join(sorted(both)[:5]),
            )


def raise_problems(problems: list[str]) -> None:
    """A `DataError` with the first 20 problems, each once, if there are any."""
    if problems:
        kinds = Counter(problems)
        more = f"\n… and {len(kinds) - _SHOWN} more" if len(kinds) > _SHOWN else ""
        raise DataError("\n".join(list(kinds)[:_SHOWN]) + more)
