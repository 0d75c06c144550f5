"""What every source of videos gives: rows, each a video or a part of one, with the split and the words it is listed by.

A source is a CSV file, a file of JSON Lines, a folder, a prepared data set or a published one; `load.py` makes
`VideoSet`s of their rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from vidjax.data.records import Annotation, Labels, LabelSpace
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

Part = tuple[str, float | None, float | None, float | None]


@dataclass(frozen=True)
class Row:
    """One video, or part of one, as a source lists it.

    Attributes:
      path: of the file or folder of images, or the address of a stored video.
      where: the line it is listed at, such as "train.csv:12", for messages.
      annotation: what is known of it, with the names of classes; None: nothing.
      split: in lower case; empty where the source has none, or one was asked for.
      group: videos of one origin share it; empty: not known.
      start, end, at: seconds; see `Record`.
      source: number of the source, where several are listed.
      missing: whether there is no such file; None: nobody has looked.
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
        """The classes of the video as a whole; () where its annotation is of another kind."""
        return self.annotation.classes if isinstance(self.annotation, Labels) else ()

    @property
    def part(self) -> Part:
        """Path, start, end and key time: what a source may list once."""
        return self.path, self.start, self.end, self.at


class Source(Protocol):
    """Something that lists videos.

    Attributes:
      name: as a setting gives it, for messages.
      kinds: kinds of annotations that it can give, known before anything is opened where that is possible.
      labels: the classes that it declares; None: those of its rows.
      splits: where its splits come from. "listed": each row may name one, for all to change. "stored": they are part of
        how it is stored. "official": its publisher's, one annotation file or more for training and for evaluation; the
        source plays one of these roles, and its rows name no split.
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
        """What it lists, in a fixed order.

        Raises:
          DataError: naming every wrong line (up to 20).
        """
        ...


@dataclass(frozen=True)
class OneSplit:
    """Those rows of a source that belong to one split, or all of them, as if the source had no splits.

    Attributes:
      source: the whole.
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
        """See `Source`.

        Raises:
          DataError: if there are no splits, or none of this name.
        """
        rows, split, name = list(self.source.rows()), self.split, self.source.name
        found = {row.split for row in rows}
        if not any(found):
            raise DataError(f"{self.name}: {name} has no splits; leave @{split} out to take all of it")
        wanted = found if split.lower() == ALL_SPLITS and ALL_SPLITS not in found else {split.lower()}
        if not wanted & found:
            known = ", ".join(sorted(filter(None, found)))
            raise DataError(f"{self.name}: there is no split {split!r}, only {known}; @{ALL_SPLITS} takes every row")
        return [replace(row, split="") for row in rows if row.split in wanted]
