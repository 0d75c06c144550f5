"""Picture of a run's learning curve: training loss, and accuracy on the held-out videos."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MEASURES = {"top1": "top-1", "top5": "top-5", "mAP": "mAP", "explained": "variance explained"}
_AXES = {"mAP": "mean average precision, %", "explained": "variance explained, %"}
_MARKED = 20  # lines of up to this many points mark each, so that a single point is visible
_TRAIN, _HELD_OUT, _BEST = "#8c8c8c", "#1f5fa8", "#c8442b"


def plot_learning_curve(
    metrics: Sequence[Mapping[str, Any]], path: Path, best_metric: str, run: str, best_step: int | None = None
) -> None:
    """Draw the learning curve and write it to `path`; see `learning_curve`."""
    learning_curve(metrics, best_metric, run, best_step).savefig(path, dpi=120)


def learning_curve(
    metrics: Sequence[Mapping[str, Any]], best_metric: str, run: str, best_step: int | None = None
) -> "Figure":
    """Draw training loss and evaluation metric over the updates, with training accuracy if it is comparable.

    Args:
      metrics: lines of `metrics.jsonl`.
      best_metric: name of the metric, as in the config; a fraction, drawn as a percentage.
      run: beginning of the title.
      best_step: update of the checkpoint that is the run's result; None: not marked.
    """
    from matplotlib.figure import Figure

    level, measure = best_metric.split("/")
    held_out = f"held-out {'videos' if level == 'video' else 'clips'}, {_MEASURES.get(measure, measure)}"
    losses = _points(metrics, "train", "loss")
    accuracies = [] if measure in _AXES else _points(metrics, "train", "accuracy", 100)
    evaluated = _points(metrics, "eval", best_metric, 100)
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _line(left, losses, "training loss", _TRAIN)
    _line(right, accuracies, "training clips, top-1", _TRAIN)
    _line(right, evaluated, held_out, _HELD_OUT, marked=True)
    best = [(step, value) for step, value in evaluated if step == best_step]
    if best:
        right.plot(*best[-1], "o", color=_BEST, markersize=9, fillstyle="none", markeredgewidth=2,
                   label="best checkpoint", clip_on=False)  # fmt: skip
    left.set(ylabel="training loss", ylim=(0, _above(losses)))
    lowest = min([0.0, *(value for _, value in evaluated)])
    right.set(ylabel=_AXES.get(measure, "accuracy, %"), ylim=(lowest - 3, 103))
    last = max([1, *(step for step, _ in losses + evaluated)])
    for axes in (left, right):
        axes.set(xlabel="update", xlim=(-0.04 * last, 1.04 * last))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=3, fontsize="small",
                  frameon=False)  # fmt: skip
    figure.suptitle(f"{run}: {held_out} {best[-1][1]:.1f} % after update {best_step}" if best else run, fontsize=11)
    return figure


def _points(metrics: Sequence[Mapping[str, Any]], kind: str, name: str, factor: float = 1) -> list[tuple[int, float]]:
    return [
        (line["step"], factor * line[name]) for line in metrics if line["kind"] == kind and line.get(name) is not None
    ]


def _line(axes: "Axes", points: list[tuple[int, float]], label: str, colour: str, *, marked: bool = False) -> None:
    if points:
        mark = "o" if marked or len(points) <= _MARKED else ""
        axes.plot(*zip(*points, strict=True), marker=mark, markersize=4, color=colour, label=label)


def _above(points: list[tuple[int, float]]) -> float:
    """Upper end of an axis from 0, a little above all points."""
    return 1.08 * max((value for _, value in points if math.isfinite(value)), default=1) or 1.0
