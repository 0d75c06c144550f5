"""Videos found in an index, for people and programs: a contact sheet, a table and JSON."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vidjax.apps.contact_sheet import CELL, Row, draw_sheet
from vidjax.data.reading.open_video import open_video
from vidjax.embeddings.index import Index
from vidjax.embeddings.matches import Match
from vidjax.video import VideoError

FRAMES = 8  # of each video on a sheet
_LINE = 30  # characters of a label's line


def entries(
    index: Index, matches: Sequence[Match], times: tuple[np.ndarray, np.ndarray] | None
) -> list[dict[str, Any]]:
    """Describe matches for JSON: `path`, `score` and, of the most similar clips, `start`, `end`, `clip_score` and the
    query's `query_start` and `query_end`, seconds.

    Args:
      index: index that was searched.
      matches: what was found, best first.
      times: starts and ends of the query's clips; None: the query is no video.
    """
    rows = []
    for match in matches:
        row = {"path": index.videos[match.video].path, "score": round(match.score, 6)}
        row |= {"start": float(index.start[match.row]), "end": float(index.end[match.row])}
        if times is not None:
            row["clip_score"] = round(match.clip_score, 6)
            row |= {
                f"query_{name}": float(each[match.query_clip])
                for name, each in zip(("start", "end"), times, strict=True)
            }
        rows.append(row)
    return rows


def show(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print matches as a table."""
    table = Table("", "video", "similarity", "most similar clip")
    for place, row in enumerate(rows, 1):
        table.add_row(str(place), escape(row["path"]), f"{row['score']:.3f}", span(row["start"], row["end"]))
    console.print(table)


def write(folder: Path, summary: dict[str, Any], title: str, sheet: Sequence[Row], name: str) -> list[Path]:
    """Write `NAME.json` and the contact sheet `NAME.png` to a folder, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(summary, indent=2, ensure_ascii=False)
    (folder / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
    draw_sheet(folder / f"{name}.png", title, sheet)
    return [folder / f"{name}.png", folder / f"{name}.json"]


def sheet_row(head: str, path: str, start: float, end: float, *lines: str) -> Row:
    """Row of a contact sheet: frames of a video from `start` to `end`, seconds; no frames if it cannot be read.

    Args:
      head: beginning of the first line, such as "1.".
      path: video file or address.
      start, end: times of the first and last frame shown.
      lines: further lines of the label.
    """
    label = "\n".join([short(f"{head} {os.path.basename(path) or path}".strip()), *lines])
    try:
        with open_video(path) as video:
            stamps = video.timestamps
            first = int(np.searchsorted(stamps, start - 1e-6))
            last = max(int(np.searchsorted(stamps, end + 1e-6)) - 1, first)
            numbers = np.unique(np.round(np.linspace(first, last, FRAMES)).astype(int))
            numbers = numbers[numbers < len(video)]
            return Row(label, video.read(numbers, resize=CELL), numbers, stamps[numbers])
    except VideoError as error:
        nothing = np.empty((0, CELL, CELL, 3), np.uint8)
        return Row(f"{label}\n{short(error.reason)}", nothing, np.empty(0, int), np.empty(0))


def span(start: float, end: float) -> str:
    """Times for people: `1:02.5 – 1:04.1`, or `2.5 – 4.1 s` within the first minute."""
    if end < 60:
        return f"{start:.1f} – {end:.1f} s"
    return " – ".join(f"{int(seconds) // 60}:{seconds % 60:04.1f}" for seconds in (start, end))


def short(text: str) -> str:
    """Text of at most one line of a label, cut in the middle."""
    return text if len(text) <= _LINE else f"{text[: _LINE // 2 - 1]}…{text[-_LINE // 2 :]}"
