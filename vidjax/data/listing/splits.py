"""Division of the rows of sources into training and evaluation."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from vidjax.data.listing.rows import ALL_SPLITS, EVAL_SPLITS, TRAIN_SPLITS, Row, Source
from vidjax.data.records import VideoSet
from vidjax.data.text import DataError, raise_problems
from vidjax.wording import things

logger = logging.getLogger("vidjax")

_SHARE = 23  # combined with the seed for the draws of `take_share`


def by_role(sources: Mapping[str, Sequence[Source]], rows: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
    """Select the rows of each role, "train" or "eval", from its own sources; unused rows are logged.

    Args:
      sources: sources of each role.
      rows: rows of each role's sources.

    Raises:
      DataError: if a split is neither for training nor for evaluation, or a source has no rows for its role.
    """
    taken = {role: _of_role(rows[role], role, sources[role]) for role in sources}
    used = {row.part for own in taken.values() for row in own}
    for role in sources:
        _say_left_out(rows[role], sources[role], used)
    return taken


def _of_role(rows: list[Row], role: str, sources: Sequence[Source]) -> list[Row]:
    """All rows of sources without splits, and the rows of other sources for the role."""
    _refuse_unknown(rows)
    taken = []
    for i, source in enumerate(sources):
        own = [row for row in rows if row.source == i]
        if any(row.split for row in own):
            kept = [row for row in own if (row.split in EVAL_SPLITS) == (role == "eval")]
            if not kept:
                what = {"train": "training", "eval": "evaluation"}[role]
                column = "drop the column, " if source.splits == "listed" else ""
                instead = {
                    "train": "or drop config.data.eval and give another config.data.train",
                    "eval": "or drop config.data.eval: evaluation then takes its videos from config.data.train",
                }[role]
                raise DataError(
                    f"{source.name}: none of its {things(len(own), 'row')} is for {what}, their split being "
                    f"{_splits(own)}; write {source.name}@{ALL_SPLITS} to take them all the same, {column}{instead}"
                )
            own = kept
        taken += own
    return taken


def _say_left_out(rows: list[Row], sources: Sequence[Source], used: set) -> None:
    """Log each source with rows that neither training nor evaluation uses."""
    for i, source in enumerate(sources):
        own = [row for row in rows if row.source == i]
        if left := [row for row in own if row.part not in used]:
            logger.warning(
                "%s: %d of %s left out, the split being %s; %s@%s takes all of them",
                source.name, len(left), things(len(own), "row is", "rows are"), _splits(left), source.name, ALL_SPLITS,
            )  # fmt: skip


def _splits(rows: list[Row]) -> str:
    return ", ".join(sorted({row.split or "empty" for row in rows}))


def _refuse_unknown(rows: list[Row]) -> None:
    raise_problems(
        [
            f"{r.where}: split {r.split!r} is neither train nor one of {', '.join(sorted(EVAL_SPLITS))}; a split of "
            f"another name is taken where it is asked for: SOURCE@{r.split}"
            for r in rows
            if r.split and r.split not in TRAIN_SPLITS | EVAL_SPLITS
        ]
    )


def divide(
    rows: list[Row], sources: Sequence[Source], text: str, share: float, seed: int
) -> tuple[list[Row], list[Row]]:
    """Divide rows into those for training and those for evaluation, if one setting gives both.

    A source with splits is divided by them. From other sources, and from prepared data sets without evaluation videos,
    whole groups are held out.

    Args:
      rows: rows of all sources.
      sources: sources of the rows.
      text: value of the setting, for messages.
      share: share of each class's videos to hold out.
      seed: seed of the choice of groups.

    Raises:
      DataError: if a split is neither for training nor for evaluation, or one of the two would be empty.
    """
    split = {row.source for row in rows if row.split}
    split -= {
        i
        for i in split
        if sources[i].splits == "stored" and all(r.split in TRAIN_SPLITS for r in rows if r.source == i)
    }
    train, held_out = _by_split([r for r in rows if r.source in split], text) if split else ([], [])
    if whole := [row for row in rows if row.source not in split]:
        further = _hold_out(whole, share, seed)
        train, held_out = sorted(train + further[0], key=lambda r: r.source), held_out + further[1]
    return train, held_out


def _by_split(rows: list[Row], text: str) -> tuple[list[Row], list[Row]]:
    """Rows for training, including those without a split, and rows for evaluation."""
    _refuse_unknown(rows)
    train = [r for r in rows if r.split not in EVAL_SPLITS]
    held_out = [r for r in rows if r.split in EVAL_SPLITS]
    if not train or not held_out:
        raise DataError(
            f"{text}: the split column gives {things(len(train), 'training video')} and "
            f"{things(len(held_out), 'evaluation video')}; both need some: give config.data.eval, or add "
            f"@{ALL_SPLITS} to hold out a share of all rows"
        )
    return train, held_out


def _hold_out(rows: list[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Hold out whole groups, drawn class by class until each class has its share in evaluation."""
    groups: dict[tuple[str, ...], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    first_labels: dict[str, tuple[str, ...]] = {}
    for row in rows:
        group = row.group or row.path
        # A group with videos of several classes counts under its first class, so that it is drawn once and whole.
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


def take_share(videos: VideoSet, share: float, seed: int) -> VideoSet:
    """Take a share of the videos of each class of each source, at least one, in their order. A smaller share is part of
    a larger one."""
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
