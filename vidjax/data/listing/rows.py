"""Rows of sources: videos, or parts of them, with the split and the class names under which they are listed.

A source is a CSV file, a file of JSON Lines, a folder, a prepared data set or a published one; `load.py` makes
`VideoSet`s of their rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from vidjax.data.records import Annotation, Caption, Labels, LabelSpace
from vidjax.data.text import DataError

TRAIN_SPLITS = frozenset({"train", "training"})
EVAL_SPLITS = frozenset({"val", "valid", "validation", "eval", "test", "testing"})
ALL_SPLITS = "all"  # SOURCE@all
# Where the splits of a source come from, see `Source`.
Splits = Literal["listed", "stored", "official"]
LISTED: Splits = "listed"
STORED: Splits = "stored"
OFFICIAL: Splits = "official"

UNLABELLED = "unlabelled"  # the class of all videos where no annotation is needed

Part = tuple[str, float | None, float | None, float | None, str]


@dataclass(frozen=True)
class Row:
    """Video, or part of one, as a source lists it.

    Attributes:
      path: path of the file or folder of images, or the address of a stored video.
      where: location of its line, such as "train.csv:12", for messages.
      annotation: annotation with class names; None: there is none.
      split: name of the split in lower case; empty if the source has no splits, or one was selected.
      group: name shared by videos of one origin; empty: unknown.
      start, end, at: start and end of the part and its key time, seconds; see `Record`.
      source: number of the source, if several are listed.
      missing: whether the file is missing; None: not checked.
    """

    path: str
    where: str
    annotation: Annotation[str] | None = None
    split: str = ""
    group: str = ""
    start: float | None = None
    end: float | None = None
    at: float | None = None
    source: int = 0
    missing: bool | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes of the whole video; () if its annotation is of another kind."""
        return self.annotation.classes if isinstance(self.annotation, Labels) else ()

    @property
    def part(self) -> Part:
        """Path, start, end, key time and question, which together a source may list only once."""
        question = self.annotation.question if isinstance(self.annotation, Caption) else ""
        return self.path, self.start, self.end, self.at, question


class Source(Protocol):
    """Source of videos, which lists them as rows.

    Attributes:
      name: name as given in a setting, for messages.
      kinds: kinds of annotations that it can give, known before anything is opened if possible.
      labels: classes that it declares; None: the classes of its rows.
      splits: origin of its splits. "listed": each row may name one, which users can edit. "stored": they are part of
        its storage. "official": its publisher's, with one or more annotation files each for training and evaluation;
        the source has one of these roles, and its rows name no split.
    """

    @property
    def name(self) -> str: ...

    @property
    def kinds(self) -> frozenset[str]: ...

    @property
    def labels(self) -> LabelSpace | None: ...

    @property
    def splits(self) -> Splits: ...

    def rows(self) -> Iterable[Row]:
        """List its videos, in a fixed order.

        Raises:
          DataError: if lines are invalid; names each (up to 20).
        """
        ...


@dataclass(frozen=True)
class OneSplit:
    """Source of the rows of one split of another source, or of all its rows, as if it had no splits.

    Attributes:
      source: source with all splits.
      split: name of the split; `ALL_SPLITS`: every row.
    """

    source: Source
    split: str

    @property
    def name(self) -> str:
        return f"{self.source.name}@{self.split}"

    @property
    def kinds(self) -> frozenset[str]:
        return self.source.kinds

    @property
    def labels(self) -> LabelSpace | None:
        return self.source.labels

    @property
    def splits(self) -> Splits:
        return self.source.splits

    def rows(self) -> list[Row]:
        """List the rows of the split; see `Source`.

        Raises:
          DataError: if the source has no splits, or none of this name.
        """
        rows, split, name = list(self.source.rows()), self.split, self.source.name
        found = {row.split for row in rows}
        if not any(found):
            raise DataError(f"{self.name}: {name} has no splits; omit @{split} to take all of it")
        wanted = found if split.lower() == ALL_SPLITS and ALL_SPLITS not in found else {split.lower()}
        if not wanted & found:
            known = ", ".join(sorted(filter(None, found)))
            raise DataError(f"{self.name}: there is no split {split!r}, only {known}; @{ALL_SPLITS} takes every row")
        return [replace(row, split="") for row in rows if row.split in wanted]
