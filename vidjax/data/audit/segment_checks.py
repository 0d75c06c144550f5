"""Checks of labelled segments against their videos, before anything is trained on them."""

from collections.abc import Iterable, Sequence

from vidjax.data.listing.rows import TRAIN_SPLITS, Row
from vidjax.data.records import Segments
from vidjax.wording import things

_SLACK = 0.5  # seconds by which segments may end late: annotations are rounded, and some headers count a frame less


def outside(row: Row, duration: float) -> str:
    """Describe the segments of a row that end after its video, or do not last; empty: there are none.

    Args:
      row: video with its segments.
      duration: length of the video, seconds.
    """
    if not isinstance(row.annotation, Segments):
        return ""
    late = [span for span in row.annotation.spans if span[1] > duration + _SLACK]
    empty = [span for span in row.annotation.spans if span[1] <= span[0]]
    said = []
    if late:
        said.append(
            f"{things(len(late), 'segment ends', 'segments end')} after the video, which lasts {duration:.2f} s, such "
            f"as {_words(late[0])}; are these times of another file, or frame numbers?"
        )
    if empty:
        said.append(f"{things(len(empty), 'segment does', 'segments do')} not last, such as {_words(empty[0])}")
    return "; ".join(said)


def unknown_labels(rows: Iterable[Row], known: Sequence[str]) -> dict[Row, str]:
    """Describe the labels of evaluation rows that are not among the classes of training."""
    classes = set(known)
    found = {}
    for row in rows:
        if not isinstance(row.annotation, Segments):
            continue
        if strange := sorted({label for _, _, label in row.annotation.spans} - classes):
            found[row] = f"{things(len(strange), 'label')} that training does not have: {', '.join(strange[:3])}"
    return found


def training_labels(rows: Iterable[Row]) -> list[str]:
    """Classes of the segments of training rows, or of all rows if no split is named."""
    rows = list(rows)
    own = [row for row in rows if row.split in TRAIN_SPLITS] or rows
    return sorted({span[2] for row in own if isinstance(row.annotation, Segments) for span in row.annotation.spans})


def _words(span: tuple[float, float, str]) -> str:
    return f"{span[2]!r} from {span[0]:g} to {span[1]:g} s"
