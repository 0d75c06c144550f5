"""Prepared data sets as sources of videos: what `python -m vidjax prepare` wrote, and other data sets of TFDS."""

from dataclasses import dataclass, replace

from vidjax.data.listing.rows import STORED, Row
from vidjax.data.listing.union import part
from vidjax.data.prepared.read import Prepared, load
from vidjax.data.records import LabelSpace


@dataclass(frozen=True)
class PreparedSet:
    """The videos of a prepared data set, or of one of its splits; a `Source`.

    Attributes:
      name: as the setting gives it.
      data: what its index holds of them.
    """

    name: str
    data: Prepared
    splits = STORED

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset({self.data.kind})

    @property
    def labels(self) -> LabelSpace:
        return self.data.labels

    def rows(self) -> list[Row]:
        """See `Source`."""
        one_split = bool(part(self.name)[1])
        return [replace(row, split="") if one_split else row for row in self.data.rows]


def open_prepared(name: str, root: str) -> PreparedSet | None:
    """The prepared data set that a setting names; None if it is something else.

    Args:
      name: a folder or `tfds:NAME`, with `@SPLIT` or without.
      root: TFDS's data_dir.

    Raises:
      DataError: see `vidjax.data.prepared.read.load`.
    """
    data = load(name, root)
    return None if data is None else PreparedSet(name, data)
