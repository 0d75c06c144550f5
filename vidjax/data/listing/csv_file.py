"""CSV files of videos: a header with `path` and `label`, optionally `split` and `group`.

Videos cut from one recording share a group. Several labels of one video are joined by `|`. The file and its videos may
be remote: `gs://bucket/train.csv`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from vidjax.data.listing.csv_table import read_table
from vidjax.data.listing.gather import Gathered
from vidjax.data.listing.paths import locate
from vidjax.data.listing.rows import LISTED, Row
from vidjax.data.records import LABELS, Labels
from vidjax.data.text import DataError


@dataclass(frozen=True)
class CsvFile:
    """Source of videos and labels in a CSV file, one per line.

    Attributes:
      name: name as given in the setting.
      path: path or address of the file.
      root: base folder or address of relative paths.
      labelled: whether labels are needed; otherwise their column may be absent and is ignored.
      need_files: whether a missing video is an error.
    """

    name: str
    path: str
    root: str
    labelled: bool = True
    need_files: bool = True
    kinds = LABELS
    labels = None
    splits = LISTED

    def rows(self) -> list[Row]:
        """Read the rows; see `Source`."""
        found = Gathered(self.need_files)
        needed, optional = (("path", "label"), ()) if self.labelled else (("path",), ("label",))
        for where, values in read_table(self.path, needed, (*optional, "split", "group"), found):
            self._parse(values, where, found)
        if not (rows := found.rows()):
            raise DataError(f"{self.path}: no videos below the header line")
        return rows

    def _parse(self, values: Mapping[str, str], where: str, found: Gathered) -> None:
        labels = tuple(part.strip() for part in values["label"].split("|")) if self.labelled else None
        if not values["path"]:
            found.note(where, "the path is empty")
        elif labels and not all(labels):
            found.note(where, f"the label of {values['path']!r} is empty")
        elif labels and len(set(labels)) < len(labels):
            found.note(where, f"a label of {values['path']!r} is repeated: {values['label']!r}")
        else:
            row = Row(
                locate(self.root, values["path"]),
                where,
                Labels(labels) if labels else None,
                values.get("split", "").lower(),
                values.get("group", ""),
            )
            found.add(row, values["path"])
