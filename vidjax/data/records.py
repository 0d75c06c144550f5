"""Which videos train and which evaluate, and their labels: what sources list, as two `VideoSet`s.

A source with a split column, or splits of its own, gives each of the two its own rows, whether it is named in
`config.train`, in `config.eval` or in both; `SOURCE@SPLIT` gives what it says. How sources are read: `listing.py`.
"""

import difflib
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vidjax.config import DataConfig
from vidjax.data.listing.files import (
    ALL_SPLITS,
    EVAL_SPLITS,
    TRAIN_SPLITS,
    UNLABELLED,
    Row,
    load_prepared,
    read_sources,
)
from vidjax.data.listing.paths import Presence
from vidjax.data.reading.open_video import is_address
from vidjax.data.text import DataError, raise_problems
from vidjax.wording import things

logger = logging.getLogger("vidjax")

_SHARE = 23  # marks the draws of `_share` among those of the seed


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


def load_sets(
    config: DataConfig,
    seed: int = 0,
    labelled: bool = True,
    *,
    flip_pairs: Sequence[str] = (),
    need_files: bool = True,
) -> tuple[VideoSet, VideoSet]:
    """The training and evaluation videos that `config` names; class names are sorted, so that they never change.

    Of a source with splits, training takes rows marked train or not at all, and evaluation those marked val or test;
    what neither takes is said. Without `config.eval`, evaluation takes its rows of `config.train`, or else holds out
    whole groups.

    With `config.dataset`, both follow the publisher's annotations instead: see `vidjax.data.listing.datasets`. Prepared
    data sets keep the classes, and their order, that they were prepared with: see `vidjax.data.prepared.read`. Several
    sources have the classes of all together: see `vidjax.data.listing.union`.

    Training leaves out the videos of `config.quarantine`; evaluation keeps them, marked. Of the others it takes
    `config.train_share`.

    Args:
      config: `dataset`, `split`, `train`, `eval`, `root`, `eval_share`, `mixture`, `quarantine` and
        `train_share` are used.
      seed: decides which groups are held out, and which videos are taken.
      labelled: False: labels are not needed, and ignored where they are. A CSV needs the column `path` alone, a folder
        may hold its videos in sub-folders or itself, and every video has the one class `UNLABELLED`.
      flip_pairs: classes that mirroring turns into each other, as `config.task.classify` has them.
      need_files: False: the videos that CSVs list need not be there, for counting them.

    Raises:
      DataError: naming every wrong line (up to 20): a missing file, an empty label or class, a duplicate, a malformed
        line, a label in evaluation that training does not have, an unknown split; or a source whose splits leave
        nothing for what it is given for.
    """
    from vidjax.data.listing import datasets, mirroring, quarantine  # which are built on this file
    from vidjax.data.listing import union as sources

    sources.check(config)
    train, held_out = datasets.load_sets(config) if config.dataset else _load_own(config, seed, labelled, need_files)
    if labelled:
        train, held_out = (mirroring.pair(videos, flip_pairs) for videos in (train, held_out))
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


def _load_own(config: DataConfig, seed: int, labelled: bool, need_files: bool) -> tuple[VideoSet, VideoSet]:
    from vidjax.data.listing import union as sources

    if not config.train:
        raise DataError(
            "config.data.train is empty: give a CSV file (path,label) or a folder with one sub-folder per class"
        )
    parts = [load_prepared(source, config.root) for source in sources.names(config.train)]
    if config.eval:
        train, held_out = _rows_by_role(config, labelled, need_files)
        _need_classes(train, config.train, labelled)
    else:
        rows = read_sources(config.train, config.root, need_files, labelled)
        _need_classes(rows, config.train, labelled)
        split = {row.source for row in rows if row.split}
        # Of a prepared data set without videos for evaluation a share is held out, as of files without a split column.
        split -= {i for i in split if parts[i] and all(r.split in TRAIN_SPLITS for r in rows if r.source == i)}
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


def _need_classes(rows: list[Row], source: str, labelled: bool) -> None:
    if labelled and len(found := {label for row in rows for label in row.labels}) < 2:
        raise DataError(f"{source}: training needs at least two classes, found only {', '.join(found)}")


def load_eval_set(source: str, root: str, class_names: Sequence[str], multi_label: bool) -> VideoSet:
    """The evaluation videos of CSVs, folders or prepared data sets, labelled with the classes of a trained model.

    Without labels, if the classes are `UNLABELLED` alone.

    Raises:
      DataError: as `load_sets`.
    """
    rows = read_sources(source, root, labelled=tuple(class_names) != (UNLABELLED,))
    taken = _of_role(rows, "eval", source)
    _say_left_out(rows, "eval", source, {row.path for row in taken})
    return _video_set(taken, class_names, multi_label)


def list_videos(config: DataConfig, labelled: bool = True) -> list[Listing]:
    """All videos that training and evaluation would use, also those that are not there.

    Args:
      config: `dataset`, `split`, `train`, `eval` and `root` are used; one of `train` and `eval` may be empty.
      labelled: as in `load_sets`.

    Raises:
      DataError: naming every line that is wrong for another reason than a missing file.
    """
    if config.dataset:
        from vidjax.data.listing import datasets

        return datasets.list_videos(config)
    if config.train and config.eval:
        train, held_out = _rows_by_role(config, labelled, need_files=False)
        rows = train + held_out
    else:
        rows = read_sources(config.train or config.eval, config.root, need_files=False, labelled=labelled)
    there = Presence()
    listings = (
        Listing(row.path, row.where, not (is_address(row.path) or there(row.path)), row.start, row.end) for row in rows
    )
    return list(dict.fromkeys(listings))  # one file may be listed for both


def _rows_by_role(config: DataConfig, labelled: bool, need_files: bool = True) -> tuple[list[Row], list[Row]]:
    """The rows that `config.train` gives to training and `config.eval` to evaluation, where both are given."""
    roles = {"train": config.train, "eval": config.eval}
    rows = {role: read_sources(text, config.root, need_files, labelled) for role, text in roles.items()}
    taken = {role: _of_role(rows[role], role, text) for role, text in roles.items()}
    used = {row.path for role in roles for row in taken[role]}
    for role, text in roles.items():
        _say_left_out(rows[role], role, text, used)
    return taken["train"], taken["eval"]


def _of_role(rows: list[Row], role: str, text: str) -> list[Row]:
    """Those that a setting gives to "train" or "eval": all of a source that has no splits, of others those of the role.

    Raises:
      DataError: for a split that is neither, or a source that has nothing for the role.
    """
    from vidjax.data.listing import union as sources

    _refuse_unknown_splits(rows)
    taken = []
    for i, source in enumerate(sources.names(text)):
        own = [row for row in rows if row.source == i]
        if any(row.split for row in own):
            kept = [row for row in own if (row.split in EVAL_SPLITS) == (role == "eval")]
            if not kept:
                what = {"train": "training", "eval": "evaluation"}[role]
                column = "" if is_address(own[0].path) else "drop the column, "
                instead = {
                    "train": "or drop config.data.eval and give another config.data.train",
                    "eval": "or drop config.data.eval: evaluation then takes its videos from config.data.train",
                }[role]
                raise DataError(
                    f"{source}: none of its {things(len(own), 'row')} is for {what}, their split being "
                    f"{_splits(own)}; write {source}@{ALL_SPLITS} to take them all the same, "
                    f"{column}{instead}"
                )
            own = kept
        taken += own
    return taken


def _say_left_out(rows: list[Row], role: str, text: str, used: set[str]) -> None:
    """A line for each source with rows that neither training nor evaluation uses."""
    from vidjax.data.listing import union as sources

    for i, source in enumerate(sources.names(text)):
        own = [row for row in rows if row.source == i]
        if left := [row for row in own if row.path not in used]:
            logger.warning(
                "%s: %d of %s left out, the split being %s; %s@%s takes all of them",
                source, len(left), things(len(own), "row is", "rows are"), _splits(left), source, ALL_SPLITS,
            )  # fmt: skip


def _splits(rows: list[Row]) -> str:
    return ", ".join(sorted({row.split or "empty" for row in rows}))


def _refuse_unknown_splits(rows: list[Row]) -> None:
    raise_problems(
        [
            f"{r.where}: split {r.split!r} is neither train nor one of {', '.join(sorted(EVAL_SPLITS))}; a split of "
            f"another name is taken where it is asked for: SOURCE@{r.split}"
            for r in rows
            if r.split and r.split not in TRAIN_SPLITS | EVAL_SPLITS
        ]
    )


def _by_split(rows: list[Row], source: str) -> tuple[list[Row], list[Row]]:
    """The rows for training, those without a split among them, and the rows for evaluation."""
    _refuse_unknown_splits(rows)
    train = [r for r in rows if r.split not in EVAL_SPLITS]
    held_out = [r for r in rows if r.split in EVAL_SPLITS]
    if not train or not held_out:
        raise DataError(
            f"{source}: the split column gives {things(len(train), 'training video')} and "
            f"{things(len(held_out), 'evaluation video')}; both need some: give config.data.eval, or add "
            f"@{ALL_SPLITS} to hold out a share of all rows"
        )
    return train, held_out


def _hold_out(rows: list[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Whole groups, drawn class by class until each class has its share in evaluation."""
    groups: dict[tuple[str, ...], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
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


def _video_set(rows: Iterable[Row], class_names: Sequence[str], multi_label: bool) -> VideoSet:
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


def _warn_of_overlap(train: list[Row], held_out: list[Row]) -> None:
    for what, key in (("video", lambda r: os.path.realpath(r.path)), ("group", lambda r: r.group)):
        both = {key(r) for r in train if key(r)} & {key(r) for r in held_out if key(r)}
        if both:
            logger.warning(
                "%s in training and in evaluation, which flatters the accuracy: %s",
                things(len(both), f"{what} is", f"{what}s are"),
                ", ".join(sorted(both)[:5]),
            )
