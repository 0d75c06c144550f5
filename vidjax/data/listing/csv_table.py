"""CSV files with a header: their columns, and the cells of each line by column."""

import csv
import io
import logging
from collections.abc import Callable, Iterator, Sequence

from vidjax.data.listing.gather import Gathered
from vidjax.data.text import DataError, decode, list_mend
from vidjax.video import VideoError
from vidjax.video.byte_sources import read_bytes
from vidjax.wording import things

logger = logging.getLogger("vidjax")


def read_table(
    path: str, needed: Sequence[str], optional: Sequence[str], found: Gathered
) -> Iterator[tuple[str, dict[str, str]]]:
    """Read the lines below the header: location, such as "train.csv:12", and stripped cells by column.

    Lines with another number of cells become problems in `found`; further columns are ignored, with a warning.

    Args:
      path: path or address of the file.
      needed: columns that the header must have.
      optional: other columns that are used.
      found: collector of problems.

    Raises:
      DataError: if a needed column is missing, or a line is not valid CSV.
    """
    with io.StringIO(decode(path, read_bytes(path)), newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            reader.fieldnames = columns = [cell.strip() for cell in reader.fieldnames or ()]
            _check(path, columns, needed, optional, file.getvalue())
            for cells in reader:
                where = f"{path}:{reader.line_num}"
                count = sum(v is not None for k, v in cells.items() if k is not None) + len(cells.get(None, ()))
                if count != len(columns):
                    what = f"{things(count, 'cell')} where the header has {len(columns)}"
                    found.note(where, f"{what}; quote cells that hold a comma")
                else:
                    yield where, {name: value.strip() for name, value in cells.items()}
        except csv.Error as error:
            raise DataError(f"{path}:{reader.line_num}: not a valid CSV line ({error})") from None


def parse_lines(
    path: str,
    needed: Sequence[str],
    optional: Sequence[str],
    found: Gathered,
    parse: Callable[[dict[str, str], str], None],
) -> None:
    """Parse the lines below the header one by one; what `parse` raises as a ValueError is a problem of the line.

    Args:
      path, needed, optional, found: as for `read_table`.
      parse: function of the cells of a line by column, and its location.

    Raises:
      DataError: as `read_table` does.
    """
    for where, cells in read_table(path, needed, optional, found):
        try:
            parse(cells, where)
        except ValueError as error:
            found.note(where, str(error))


def read_header(path: str) -> list[str]:
    """Read the cells of the first line of the CSV file at a path or an address; [] if that is not possible."""
    try:
        first = decode(path, read_bytes(path)).partition("\n")[0].strip()
        return [cell.strip() for cell in next(csv.reader([first]), [])]
    except (csv.Error, DataError, VideoError):  # reported by whoever reads the rows
        return []


def _check(path: str, columns: list[str], needed: Sequence[str], optional: Sequence[str], text: str) -> None:
    if missing := [c for c in needed if c not in columns]:
        first, others = text.split("\n", 1)[0], f"[,{','.join(optional)}]" if optional else ""
        raise DataError(
            f"{path}:1: no column {' and no column '.join(map(repr, missing))} in the header {','.join(columns)!r}; "
            f"the first line must be {','.join(needed)}{others}{list_mend(first, needed)}"
        )
    if unknown := [c for c in columns if c not in (*needed, *optional)]:
        logger.warning("%s:1: unused columns: %s", path, ", ".join(unknown))
