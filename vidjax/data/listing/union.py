"""Mixtures of data sets: parsing the list of names, uniting their classes, and their mirror pairs.

A class is identified by its name: classes of two sources are the same only if their names are equal.
"""

import logging
import os
from collections.abc import Sequence

from vidjax.config import DataConfig
from vidjax.data.listing.rows import Source
from vidjax.data.text import DataError
from vidjax.video.byte_sources import is_remote
from vidjax.wording import things

logger = logging.getLogger("vidjax")

LIST_FILES = (".csv", ".jsonl")


def names(text: str) -> list[str]:
    """Split a setting into its comma-separated sources, each with its suffix @SPLIT, if any; a file or folder with
    commas in its name is one source.

    Raises:
      DataError: if a name is empty, or a source is listed twice.
    """
    if "," not in text or os.path.exists(os.path.expanduser(text)):
        return [text]
    found = [part.strip() for part in text.split(",")]
    if not all(found):
        raise DataError(f"{text!r}: a source is missing before, between or after its commas")
    if twice := {name for name in found if found.count(name) > 1}:
        raise DataError(f"{text!r}: lists {', '.join(sorted(twice))} twice; config.data.mixture gives it more weight")
    return found


def is_list_file(source: str, suffixes: tuple[str, ...] = LIST_FILES) -> bool:
    """Whether a path or an address has the suffix of a file that lists videos."""
    return source.lower().partition("?")[0].endswith(suffixes)


def part(source: str) -> tuple[str, str]:
    """Separate a source such as `all.csv@val` into its name and split; the split is empty if none is given."""
    name, at, split = source.rpartition("@")
    if not at or "/" in split or os.path.exists(os.path.expanduser(source)):
        return source, ""
    if is_remote(name) and not is_list_file(name):
        return source, ""
    return name, split


def check(config: DataConfig) -> None:
    """Refuse weights that do not match the sources, and several sources with a published data set.

    Raises:
      DataError: if they do not match; names the setting.
    """
    count, weights = len(names(config.train)), len(config.mixture)
    if config.dataset and count > 1:
        raise DataError(
            f"config.data.train = {config.train!r}: config.data.dataset = {config.dataset!r} takes one source. To mix "
            "published data sets, write each with `python -m vidjax prepare` and list the folders"
        )
    if weights and weights != count:
        raise DataError(
            f"config.data.mixture has {things(weights, 'weight')}, but config.data.train lists "
            f"{things(count, 'source')}"
        )


def warn_of_twins(listed: Sequence[tuple[str, int]]) -> None:
    """Warn of files that several sources list; `listed` holds pairs of path and source."""
    first: dict[str, int] = {}
    twins = [path for path, source in listed if first.setdefault(os.path.realpath(path), source) != source]
    if twins:
        what = things(len(twins), "video is", "videos are")
        logger.warning("%s listed by several sources, such as %s", what, ", ".join(twins[:3]))


def union(classes: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Unite the classes of all sources, in the sources' order if all have the same, or else sorted.

    Warns of names that differ only in case, spaces, hyphens and underscores, as these are different classes.
    """
    if all(list(one) == list(classes[0]) for one in classes):
        return tuple(classes[0])
    together = sorted({name for one in classes for name in one})
    alike: dict[str, list[str]] = {}
    for name in together:
        alike.setdefault("".join(c for c in name.casefold() if c not in " _-"), []).append(name)
    if doubtful := [group for group in alike.values() if len(group) > 1]:
        logger.warning(
            "%d classes have almost the same name as another but count as different classes: %s; a class that sources "
            "share must have the same name in all of them",
            sum(map(len, doubtful)),
            ", ".join(" and ".join(map(repr, group)) for group in doubtful[:5]),
        )
    return tuple(together)


def directions(declared: Sequence[Source], class_names: Sequence[str]) -> tuple[bool, dict[int, int]]:
    """Whether the classes of any source tell left from right, and the pairs of `class_names` that mirroring swaps.

    Args:
      declared: sources that declare classes.
      class_names: classes of all sources together.

    Raises:
      DataError: if two sources mirror the same class to different ones.
    """
    index = {name: i for i, name in enumerate(class_names)}
    mirrored: dict[int, int] = {}
    for source in declared:
        if source.labels is None:
            continue
        names = source.labels.names
        for one, other in source.labels.mirrored.items():
            name, mirror = names[one], names[other]
            if mirrored.setdefault(index[name], index[mirror]) != index[mirror]:
                known = class_names[mirrored[index[name]]]
                raise DataError(f"{source.name}: {name!r} mirrored is {mirror!r}, but {known!r} in another source")
    return any(source.labels.directional for source in declared if source.labels), mirrored
