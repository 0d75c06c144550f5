"""CSV files of videos: a header with `path` and `label`, optionally `split` and `group`.

Videos cut from one recording share a group. Several labels of one video are joined by `|`. The file and its videos may
be remote: `gs://bucket/train.csv`.
"""

import csv
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from vidjax.data.listing.gather import Gathered
from vidjax.data.listing.paths import locate
from vidjax.data.listing.rows import LISTED, Row
from vidjax.data.records import LABELS, Labels
from vidjax.data.text import DataError, decode, list_mend
from vidjax.video.byte_sources import read_bytes
from vidjax.wording import things

logger = logging.getLogger("vidjax")


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
        with io.StringIO(decode(self.path, read_bytes(self.path)), newline="") as file:
            reader = csv.DictReader(file, strict=True)
            try:
                reader.fieldnames = columns = self._columns(reader.fieldnames or (), file.getvalue())
                for cells in reader:
                    self._parse(cells, len(columns), f"{self.path}:{reader.line_num}", found)
            except csv.Error as error:
                raise DataError(f"{self.path}:{reader.line_num}: not a valid CSV line ({error})") from None
        if not (rows := found.rows()):
            raise DataError(f"{self.path}: no videos below the header line")
        return rows

    def _columns(self, header: Sequence[str], text: str) -> list[str]:
        columns = [c.strip() for c in header]
        needed = ("path", "label")[: 1 + self.labelled]
        if missing := [c for c in needed if c not in columns]:
            first = text.split("\n", 1)[0]
            raise DataError(
                f"{self.path}:1: no column {' and no column '.join(map(repr, missing))} in the header "
                f"{','.join(columns)!r}; the first line must be path,label[,split,group]{list_mend(first, needed)}"
            )
        if unknown := [c for c in columns if c not in ("path", "label", "split", "group")]:
            logger.warning("%s:1: unused columns: %s", self.path, ", ".join(unknown))
        return columns

    def _parse(self, cells: dict, num_columns: int, where: str, found: Gathered) -> None:
        count = sum(v is not None for k, v in cells.items() if k is not None) + len(cells.get(None, ()))
        if count != num_columns:
            found.note(
                where,
                f"{things(count, 'cell')} where the header has {num_columns}; quote cells that hold a comma",
            )
            return
        values = {k: v.strip() for k, v in cells.items()}
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
            found.add(row, cells["path"])
