"""Loading of the training and evaluation videos: sources → rows → splits → classes → `VideoSet`s.

A source with a split column, or stored splits, gives training and evaluation their own rows, whether it is named in
`config.train`, `config.eval` or both; `SOURCE@SPLIT` selects one split. The kinds of sources are in `sources.py`.
"""

import difflib
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

from vidjax.config import DataConfig
from vidjax.data.listing import quarantine, splits, union
from vidjax.data.listing.paths import Presence
from vidjax.data.listing.published import open_published
from vidjax.data.listing.rows import UNLABELLED, Row, Source
from vidjax.data.listing.sources import open_sources, read_rows, refuse_kinds
from vidjax.data.records import LABELS, Boxes, Labels, LabelSpace, Record, VideoSet, classes_of, map_classes
from vidjax.data.text import DataError, raise_problems
from vidjax.wording import things

logger = logging.getLogger("vidjax")

ANY = "any"  # the class of everything, with `config.one_class`


def load_sets(
    config: DataConfig,
    seed: int = 0,
    kinds: frozenset[str] = LABELS,
    *,
    need_files: bool = True,
) -> tuple[VideoSet, VideoSet]:
    """Load the training and evaluation videos that `config` names; class names are sorted, so that they never change.

    From a source with splits, training takes rows marked train or unmarked, and evaluation those marked val or test;
    unused rows are logged. Without `config.eval`, evaluation takes its rows of `config.train`, or else holds out whole
    groups.

    With `config.dataset`, both follow the publisher's annotations instead: see `vidjax.data.listing.published`.
    Prepared data sets keep the classes, and their order, from their preparation: see `vidjax.data.prepared.read`. The
    classes of several sources are united: see `vidjax.data.listing.union`.

    Training skips the videos of `config.quarantine` and takes `config.train_share` of the others; evaluation keeps
    quarantined videos, marked.

    Args:
      config: data settings, of which `dataset`, `split`, `train`, `eval`, `root`, `eval_share`, `mixture`, `quarantine`
        and `train_share` are used.
      seed: seed of the choice of held-out groups and of `train_share`.
      kinds: kinds of annotations needed, such as {"labels"}; a record has one of them. Empty: annotations are ignored.
        A CSV then needs only the column `path`, a folder may hold videos in sub-folders or directly, and every video
        has the one class `UNLABELLED`.
      need_files: whether the listed videos must exist; False is enough for counting them.

    Raises:
      DataError: if lines are invalid, naming each (up to 20): a missing file, an empty label or class, a duplicate, a
        malformed line, an evaluation label that training does not have, an unknown split; or if a source has none of
        the `kinds`, or its splits leave no videos for its role.
    """
    union.check(config)
    if not (config.train or config.dataset):
        raise DataError(
            "config.data.train is empty: give a CSV file (path,label) or a folder with one sub-folder per class"
        )
    sources = _open(config, ("train", "eval") if config.eval or config.dataset else ("train",), kinds, need_files)
    rows = {role: _rows(config, own, kinds) for role, own in sources.items()}
    if "eval" in sources:
        taken = splits.by_role(sources, rows)
        train, held_out = taken["train"], taken["eval"]
        _need_classes(train, sources["train"], config.train, kinds)
    else:
        _need_classes(rows["train"], sources["train"], config.train, kinds)
        train, held_out = splits.divide(rows["train"], sources["train"], config.train, config.eval_share, seed)
    labels = LabelSpace((ANY,)) if config.one_class else _label_space(sources["train"], train, held_out, kinds)
    union.warn_of_twins([(row.path, row.source) for row in train])
    _warn_of_overlap(train, held_out, official=bool(config.dataset))
    sets = (make_set(train, labels), make_set(held_out, labels))
    listed = quarantine.read(config)
    training = splits.take_share(quarantine.leave_out(sets[0], listed), config.train_share, seed)
    return training, quarantine.mark(sets[1], listed)


def load_eval_set(config: DataConfig, labels: LabelSpace, kinds: frozenset[str] = LABELS) -> VideoSet:
    """Load only the evaluation videos of `config.eval` or `config.dataset`, with the classes of a trained model.

    Args:
      config: data settings, of which `dataset`, `split`, `train`, `eval` and `root` are used.
      labels: classes of the model.
      kinds: kinds of annotations needed; empty: none, see `load_sets`.

    Raises:
      DataError: as in `load_sets`, or if a published data set has other classes than the model.
    """
    sources = _open(config, ("eval",), kinds)
    rows = {"eval": _rows(config, sources["eval"], kinds)}
    shown: tuple[int, ...] = ()
    declared = config.dataset and kinds and not config.one_class
    source = sources["eval"][0] if declared else None
    if source is not None and source.labels is not None:  # those of captions declare no classes
        boxes = Boxes.kind in source.kinds
        several = labels.several or (boxes and source.labels.several)  # a box may, whatever the model was trained with
        if source.labels.names == labels.names:
            labels = replace(source.labels, several=several)
        elif boxes and set(source.labels.names) < set(labels.names):  # AVA's 60 of 80
            labels = replace(labels, several=several)
            shown = tuple(labels.names.index(name) for name in source.labels.names)
        else:
            raise DataError(f"{source.name} has other classes than the checkpoint")
    return replace(make_set(splits.by_role(sources, rows)["eval"], labels), shown=shown)


def list_videos(config: DataConfig, kinds: frozenset[str] = LABELS) -> list[Row]:
    """List all videos that training and evaluation would use, each with its state `missing`.

    Args:
      config: data settings, of which `dataset`, `split`, `train`, `eval` and `root` are used; one of `train` and `eval`
        may be empty.
      kinds: kinds of annotations needed, as in `load_sets`.

    Raises:
      DataError: if lines are invalid for another reason than a missing file; names each.
    """
    given = tuple(role for role in ("train", "eval") if config.dataset or getattr(config, role))
    sources = _open(config, given, kinds, need_files=False)
    rows = {role: _rows(config, own, kinds) for role, own in sources.items()}
    if len(given) == 2:
        rows = splits.by_role(sources, rows)
    there = Presence()
    listed = {(row.part, row.where): row for own in rows.values() for row in own}  # one file may be listed for both
    return [row if row.missing is not None else replace(row, missing=not there(row.path)) for row in listed.values()]


def _open(
    config: DataConfig, roles: Sequence[str], kinds: frozenset[str], need_files: bool = True
) -> dict[str, list[Source]]:
    """Sources of each role, "train" or "eval"."""
    if config.dataset:
        published = open_published(config, need_files)
        return {role: [refuse_kinds(source, kinds) for source in published[role]] for role in roles}
    root, features = config.root, config.features.folder
    return {role: open_sources(getattr(config, role), root, kinds, need_files, features) for role in roles}


def _rows(config: DataConfig, sources: Sequence[Source], kinds: frozenset[str]) -> list[Row]:
    """Rows of sources, with `config.one_class` all of the class `ANY`."""
    rows = read_rows(sources, kinds)
    if not config.one_class:
        return rows
    return [replace(row, annotation=map_classes(row.annotation, lambda _: ANY)) for row in rows]


def _need_classes(rows: list[Row], sources: Sequence[Source], text: str, kinds: frozenset[str]) -> None:
    """Refuse to train on a single class; published data sets declare their classes."""
    if kinds != LABELS or any(source.splits == "official" for source in sources):
        return
    if len(found := {label for row in rows for label in row.labels}) < 2:
        raise DataError(f"{text}: training needs at least two classes, found only {', '.join(found)}")


def _label_space(sources: Sequence[Source], train: list[Row], held_out: list[Row], kinds: frozenset[str]) -> LabelSpace:
    """Classes of all sources together: those that a source declares, or else those of its training rows."""
    if not kinds:
        return LabelSpace((UNLABELLED,))
    declared = [source for source in sources if source.labels]
    own = [
        source.labels.names
        if source.labels
        else sorted({name for row in train if row.source == i for name in classes_of(row.annotation)})
        for i, source in enumerate(sources)
    ]
    names = union.union(own)
    several = any(source.labels.several for source in sources if source.labels) or any(
        map(_shows_several, train + held_out)
    )
    return LabelSpace(names, several, *union.directions(declared, names))


def _shows_several(row: Row) -> bool:
    """Whether a video, or a box, shows several classes or none."""
    if isinstance(row.annotation, Boxes):
        return any(len(classes) != 1 for classes in row.annotation.classes)
    return isinstance(row.annotation, Labels) and (len(row.labels) != 1 or row.annotation.spans is not None)


def make_set(rows: Iterable[Row], labels: LabelSpace) -> VideoSet:
    """Make the set of the videos of rows, with the numbers of their classes.

    Raises:
      DataError: if a row has other classes, or several where each video has one; names each (up to 20).
    """
    index = {name: i for i, name in enumerate(labels.names)}
    records, sources, problems = [], [], []
    for row in rows:
        if unknown := [name for name in classes_of(row.annotation) if name not in index]:
            close = difflib.get_close_matches(unknown[0], labels.names, n=2)
            hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
            problems.append(
                f"{row.where}: label {unknown[0]!r} is not one of the {len(labels.names)} training classes{hint}"
            )
        elif not labels.several and _shows_several(row):
            number = "no label" if isinstance(row.annotation, Labels) and not row.labels else "several labels"
            problems.append(f"{row.where}: {number}, but the model was trained with one per video")
        else:
            annotation = map_classes(row.annotation, index.__getitem__)
            if isinstance(annotation, Labels) and (problem := _wrong_category(annotation, labels)):
                problems.append(f"{row.where}: {problem}")
            records.append(Record(row.path, annotation, row.group, row.start, row.end, row.at))
            sources.append(row.source)
    raise_problems(problems)
    return VideoSet(tuple(records), labels, sources=tuple(sources) if any(sources) else ())


def _wrong_category(annotation: Labels, labels: LabelSpace) -> str:
    """Problem with the categories of an annotation; empty: none."""
    if not annotation.categories:
        return ""
    known = sorted({name.partition("/")[0] for name in labels.names})
    for category in annotation.categories:
        if category not in known:
            return f"no class is of the category {category!r}, the part of its name before a slash; there are " + (
                ", ".join(known[:10])
            )
    outside = ~labels.known(annotation.categories)
    wrong = [labels.names[i] for i in annotation.classes if outside[i]]
    return f"has the label {wrong[0]!r}, but not its category among {annotation.categories}" if wrong else ""


def _warn_of_overlap(train: list[Row], held_out: list[Row], official: bool) -> None:
    """Warn of videos and groups in both sets. Publishers' splits share no videos, and their groups are their choice, so
    for these only videos are compared, in case a file is given in the wrong place."""
    if official:
        if both := {row.part for row in train} & {row.part for row in held_out}:
            logger.warning(
                "%s in training and in evaluation, which inflates the accuracy: check config.data.train and "
                "config.data.eval",
                things(len(both), "video is", "videos are"),
            )
        return
    for what, key in (("video", lambda r: os.path.realpath(r.path)), ("group", lambda r: r.group)):
        both = {key(r) for r in train if key(r)} & {key(r) for r in held_out if key(r)}
        if both:
            logger.warning(
                "%s in training and in evaluation, which inflates the accuracy: %s",
                things(len(both), f"{what} is", f"{what}s are"),
                ", ".join(sorted(both)[:5]),
            )
