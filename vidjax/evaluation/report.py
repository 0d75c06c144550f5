"""Report of an evaluation: `eval.json`, files of the evaluators, and a table on the console."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vidjax.evaluation.engine import levels
from vidjax.evaluation.evaluator import Evaluator
from vidjax.evaluation.identity import caption, read, same
from vidjax.evaluation.summary_file import percent, write_summary
from vidjax.wording import things


def write(folder: str | Path, summary: dict[str, Any], evaluators: Iterable[Evaluator], run: str = "") -> None:
    """Write an evaluation to `folder`, with `eval.json` last, so that its presence means the others are complete.

    Args:
      folder: folder to write to, created if necessary.
      summary: figures and their identity, see `identity`. The names of the other `files` are added when written.
      evaluators: evaluators that write the other files.
      run: name of the run, for titles of pictures.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = [name for evaluator in evaluators for name in evaluator.write(folder, run)]
    write_summary(folder, summary | {"files": files})


def read_whole(folder: str | Path, expected: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the `eval.json` of `folder` if its identity is `expected` and its other files exist; otherwise None."""
    folder = Path(folder)
    found = read(folder)
    if found is None or not same(found, expected):
        return None
    # Older versions do not list the files.
    return found if all((folder / name).exists() for name in found.get("files", ())) else None


def show(summary: dict[str, Any], console: Console) -> None:
    """Print the evaluated videos, the clip- and video-level figures, the coverage and unreadable videos."""
    if told := caption(summary):
        console.print(told, highlight=False, soft_wrap=True)
    tables: dict[tuple[str, ...], list[str]] = {}
    for level in levels(summary):
        tables.setdefault(tuple(summary[level]), []).append(level)
    for names, alike in tables.items():
        table = Table("", *names)
        for level in alike:
            table.add_row(level, *(_figure(name, summary[level][name]) for name in names))
        console.print(table)
    total = round(summary["num_videos"] / summary["coverage"]) if summary["coverage"] else len(summary["unreadable"])
    each = f"{things(summary['num_views'], 'view')} each"
    if "num_clips_scored" in summary:
        each = f"up to {things(summary['num_views'], 'view')} each, {summary['num_clips_scored']} in all"
    console.print(f"{summary['num_videos']} of {things(total, 'video')}, {each}")
    for word, listed in (("unreadable", summary["unreadable"]), ("without sound", summary.get("unheard", []))):
        for bad in listed[:10]:
            console.print(f"[yellow]{word}:[/] {bad['path']}: {bad['reason']}", highlight=False, soft_wrap=True)
        if len(listed) > 10:
            console.print(f"[yellow]… and {len(listed) - 10} more in eval.json[/]")


def closing(summary: dict[str, Any], folder: Path) -> str:
    """Closing lines of a command: the figures, and their identity and folder."""
    told = caption(summary)
    return f"{headline(summary)}\n{told}{'; ' if told else ''}results in {folder}"


def headline(summary: dict[str, Any]) -> str:
    """Figures in one line: `clip top-1 97.3 %  top-5 100.0 %   video top-1 98.0 %  top-5 100.0 %`."""
    parts = []
    for level in levels(summary):
        figures = "  ".join(f"{_spelled(n)} {_figure(n, v)}" for n, v in summary[level].items())
        parts.append(f"{level} {figures}")
    return "   ".join(parts)


def _spelled(name: str) -> str:
    return name.replace("top", "top-", 1) if name.removeprefix("top").isdigit() else name


def _figure(name: str, value: float | None) -> str:
    """Format a loss, an end-point error, multiply-adds and a rank as numbers and everything else as a percentage."""
    digits = (
        4
        if name == "loss"
        else 3
        if name.startswith("epe") or name == "gmacs"
        else 1
        if name.endswith("_rank")
        else None
    )
    if value is None or not math.isfinite(value) or digits is None:
        return percent(value)
    return f"{value:.{digits}f}"
