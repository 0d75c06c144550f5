"""Plots of compared runs: accuracies as bars, or against the cost of a clip."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

_LABEL_WIDTH = 48  # characters in a line of the bars' labels
_LEVELS = {"clip": ("|", 13, "#c8601a"), "video": ("o", 4, "#1b3a5c")}  # mark, size and colour of single runs


class Compared(Protocol):
    """Runs that differ only in the seed: their label, values in 0…1 by level, and multiply-adds of a clip in 10⁹."""

    label: str
    gmacs: float | None

    @property
    def values(self) -> Mapping[str, Sequence[float]]: ...

    def mean(self, level: str) -> float: ...

    def deviation(self, level: str) -> float | None: ...


def figure_of(group: Compared, level: str) -> str:
    """Mean and standard deviation in percent, such as "81.4 ± 1.3 %"."""
    deviation = group.deviation(level)
    spread = "" if deviation is None else f" ± {100 * deviation:.1f}"
    return f"{100 * group.mean(level):.1f}{spread} %"


def draw_bars(groups: Sequence[Compared], name: str, chance: float | None, path: Path) -> None:
    """Draw a bar for each group, a mark for each of its runs, and the level of chance.

    Args:
      groups: groups, from top to bottom.
      name: measure, such as "top1".
      chance: value reached by chance, in 0…1; None: unknown.
      path: file to write.
    """
    labels = ["\n".join(textwrap.wrap(group.label, _LABEL_WIDTH, break_long_words=False)) for group in groups]
    most = max(1 + label.count("\n") for label in labels)
    # In inches: a line of a label takes 0.16, plus the distance between labels.
    figure, axes = _start(9, 1.5 + len(labels) * (0.16 * most + 0.16))
    places = range(len(groups))
    axes.barh(
        places, [100 * group.mean("video") for group in groups], height=0.62, color="#7aa6d8", label="videos, mean"
    )
    for level, (mark, size, colour) in _LEVELS.items():
        dots = [
            (100 * value, place) for place, group in zip(places, groups, strict=True) for value in group.values[level]
        ]
        edge = 2 if mark == "|" else 0
        axes.plot(*zip(*dots, strict=True), mark, color=colour, markersize=size, markeredgewidth=edge,
                  label=f"{level}s, each run", clip_on=False, zorder=4)  # fmt: skip
    if chance is not None:
        axes.axvline(100 * chance, color="#c44", linestyle="--", linewidth=1, label="chance")
    for place, group in zip(places, groups, strict=True):
        axes.annotate(figure_of(group, "video"), (1.015, place), xycoords=("axes fraction", "data"), va="center",
                      fontsize=9)  # fmt: skip
    axes.set(xlim=(0, 100), xlabel=f"{_worded(name)}, %", yticks=places)
    axes.set_yticks(places, labels, fontsize=9)
    axes.invert_yaxis()
    _finish(figure, axes, groups, name, path, grid="x")


def draw_costs(groups: Sequence[Compared], name: str, chance: float | None, path: Path) -> None:
    """Draw the video-level value of each group against its multiply-adds per clip, with a number that the key explains.

    Args:
      groups: groups with their `gmacs`, numbered in this order.
      name: measure, such as "top1".
      chance: value reached by chance, in 0…1; None: unknown.
      path: file to write.
    """
    figure, axes = _start(9, 4.6 + 0.19 * len(groups))
    numbers: dict[tuple[float, float], list[str]] = {}  # of the groups at the same place
    for number, group in enumerate(groups, 1):
        x, y, spread = group.gmacs, 100 * group.mean("video"), 100 * (group.deviation("video") or 0)
        axes.errorbar(x, y, yerr=spread, fmt="o", color=f"C{(number - 1) % 10}", capsize=3, elinewidth=1, zorder=3,
                      label=f"{number}  {group.label}: {figure_of(group, 'video')}")  # fmt: skip
        numbers.setdefault((round(x or 0, 6), round(y, 3)), []).append(str(number))
    for place, found in numbers.items():
        axes.annotate(", ".join(found), place, xytext=(5, 4), textcoords="offset points", fontsize=9, zorder=4)
    if chance is not None:
        axes.axhline(100 * chance, color="#c44", linestyle="--", linewidth=1, label="chance")
    axes.set(xscale="log", xlabel="multiply-adds per clip, 10⁹", ylabel=f"{_worded(name)} of videos, %")
    for which in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        which(lambda value, _: f"{value:g}")
    _finish(figure, axes, groups, name, path, grid="both")


def _worded(name: str) -> str:
    return name.replace("top", "top-")


def _start(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _finish(figure: Any, axes: Any, groups: Sequence[Compared], name: str, path: Path, *, grid: str) -> None:
    axes.grid(axis=grid, alpha=0.3)
    axes.set_axisbelow(True)
    runs = sum(len(group.values["video"]) for group in groups)
    figure.suptitle(f"{_worded(name)} on held-out videos, {runs} {'run' if runs == 1 else 'runs'}", fontsize=11)
    columns = 4 if grid == "x" else 1
    figure.legend(loc="outside lower center", ncols=columns, fontsize="small", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
