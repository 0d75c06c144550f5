"""Prepared data sets as sources of videos: those of `python -m vidjax prepare`, and other data sets of TFDS."""

from dataclasses import dataclass, replace

from vidjax.data.listing.rows import STORED, Row
from vidjax.data.listing.union import part
from vidjax.data.prepared.read import Prepared, load
from vidjax.data.records import LabelSpace


@dataclass(frozen=True)
class PreparedSet:
    """Source of the videos of a prepared data set, or of one of its splits.

    Attributes:
      name: name as given in the setting.
      data: videos and classes read from its index.
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
        """List the videos; see `Source`."""
        one_split = bool(part(self.name)[1])
        return [replace(row, split="") if one_split else row for row in self.data.rows]


def open_prepared(name: str, root: str) -> PreparedSet | None:
    """Open the prepared data set that a setting names; None if it names something else.

    Args:
      name: folder or `tfds:NAME`, with or without `@SPLIT`.
      root: data_dir of TFDS.

    Raises:
      DataError: if the data set cannot be read, see `vidjax.data.prepared.read.load`.
    """
    data = load(name, root)
    return None if data is None else PreparedSet(name, data)
