"""Picture of the figures of each class, as bars."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vidjax.evaluation.summary_file import percent
from vidjax.lettering import lettering

_NAMED = 400  # with more classes, names are not legible


def plot_classes(
    path: str | Path, names: Sequence[str], values: np.ndarray, counts: np.ndarray, measure: str, title: str = ""
) -> None:
    """Draw a bar for each class that has a figure, the highest on top, with the number of its truths.

    Args:
      path: PNG file to write.
      names: names of the K classes.
      values: figures in 0…1, `(K,)`; NaN: none, not drawn.
      counts: number of truths, int `(K,)`.
      measure: name of the figure.
      title: title of the picture.
    """
    with lettering((*names, title)) as shown:
        _draw(Path(path), [shown(name) for name in names], values, counts, measure, shown(title))


def _draw(path: Path, names: Sequence[str], values: np.ndarray, counts: np.ndarray, measure: str, title: str) -> None:
    from matplotlib.figure import Figure

    order = np.argsort(-np.where(np.isnan(values), -1, values), kind="stable")[: int((~np.isnan(values)).sum())]
    height = min(1.4 + 0.2 * len(order), 80.0)
    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.subplots()
    axes.barh(np.arange(len(order)), 100 * values[order], height=0.7, color="#7aa6d8")
    if len(order) <= _NAMED:
        axes.set_yticks(np.arange(len(order)), [names[i] for i in order], fontsize=8)
        for place, number in enumerate(order):
            told = f"{percent(float(values[number]))} ({counts[number]})"
            axes.annotate(told, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=7)
    mean = float(np.mean(values[order])) if len(order) else float("nan")
    axes.axvline(100 * mean, color="#c44", linestyle="--", linewidth=1)
    axes.xaxis.set_major_formatter("{x:g} %")
    axes.set(
        xlim=(0, 100),
        ylim=(max(len(order), 1) - 0.4, -0.6),
        xlabel=f"{measure} and number of truths; mean {percent(mean)}",
    )
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=100)
