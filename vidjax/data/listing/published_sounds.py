"""Parsers of publishers' lists of sounds, and of videos whose sound is labelled.

Parts of YouTube's videos are named `ID_000030_000040`, from second 30 to second 40; their files have several names in
use, see `part_names`.
"""

from vidjax.data.listing.annotations import AnnotationFile, csv_rows, csv_with_header, seconds
from vidjax.data.listing.class_lists import read_class_ids
from vidjax.data.listing.rows import Row
from vidjax.data.text import raise_problems

_LONG = 10  # seconds of a part of VGGSound


def parse_audioset(source: AnnotationFile) -> list[Row]:
    """Parse AudioSet: `ID, 30.000, 40.000, "/m/09x0r,/m/05zppz"` below lines that begin with `#`; identifiers of
    classes that are not among the 527 (of the ontology's 632) are an error."""
    ids, found, problems = read_class_ids("audioset"), [], []
    for where, cells in csv_rows(source.file, spaced=True):
        if cells[0].startswith("#"):
            continue
        name, *times = cells[:3]
        start, end = (map(seconds, times)) if len(cells) == 4 else (None, None)
        if not name or start is None or end is None or end <= start:
            problems.append(f'{where}: not of the form ID, start, end, "/m/…,/m/…": {", ".join(cells)!r}')
            continue
        given = [each.strip() for each in cells[3].split(",")]
        if unknown := [each for each in given if each not in ids]:
            problems.append(f"{where}: {unknown[0]!r} is not the identifier of one of the {len(ids)} classes")
        else:
            labels = sorted(ids[each] for each in given)
            found.append(source.row(_part(name, start, end), labels, where, name))
    raise_problems(problems)
    return found


def parse_vggsound(source: AnnotationFile) -> list[Row]:
    """Parse VGGSound: `ID,start,label,split` without a header; every part has ten seconds."""
    found, problems = [], []
    wanted = {"train": "train", "eval": "test"}[source.role]
    for where, cells in csv_rows(source.file):
        start = seconds(cells[1]) if len(cells) == 4 else None
        if start is None or not cells[0] or cells[3] not in ("train", "test"):
            problems.append(f"{where}: not of the form ID,start,label,train or test: {','.join(cells)!r}")
        elif (index := source.classes.get(cells[2])) is None:
            problems.append(f"{where}: {source.classes.unknown(cells[2])}")
        elif cells[3] == wanted:
            found.append(source.row(_part(cells[0], start, start + _LONG), (index,), where, cells[0]))
    raise_problems(problems)
    return found


def parse_esc50(source: AnnotationFile) -> list[Row]:
    """Parse ESC-50: a header with `filename,fold,target,category,src_file`; evaluation takes the fold with the number
    of the split, training the four others. Clips of one recording are a group."""
    found, problems = [], []
    for where, cells in csv_with_header(source.file, ("filename", "fold", "target", "category", "src_file"), problems):
        if (index := source.classes.get(cells["category"])) is None:
            problems.append(f"{where}: {source.classes.unknown(cells['category'])}")
        elif cells["target"] != str(index):
            problems.append(f"{where}: class {cells['category']!r} has the number {index}, not {cells['target']}")
        elif cells["fold"] not in ("1", "2", "3", "4", "5") or not cells["filename"]:
            problems.append(f"{where}: no file name, or the fold {cells['fold']!r} is not one of 1…5")
        elif (cells["fold"] == str(source.split)) == (source.role == "eval"):
            found.append(source.row(cells["filename"], (index,), where, cells["src_file"]))
    raise_problems(problems)
    return found


def part_names(name: str, start: float, end: float) -> tuple[str, ...]:
    """Names, without suffix, that files of a part of a YouTube video have: `ID_000030_000040`, `ID_000030` (VGGSound),
    `ID_30000_40000` (milliseconds: audiosetdl), `ID`, or `YID` (PANNs).

    Args:
      name: identifier of the video.
      start, end: its part, seconds.
    """
    first, last = int(start), int(end)
    return (
        _part(name, start, end), f"{name}_{first:06d}", f"{name}_{1000 * first}_{1000 * last}", name, f"Y{name}",
    )  # fmt: skip


def _part(name: str, start: float, end: float) -> str:
    return f"{name}_{int(start):06d}_{int(end):06d}"
