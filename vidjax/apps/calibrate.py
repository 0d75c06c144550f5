"""Calibration of a run's probabilities (`vidjax calibrate RUN`)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from vidjax.errors import UserError
from vidjax.evaluation.calibration import (
    Calibration,
    Reliability,
    ViewScores,
    fit_temperature,
    halves,
    log_loss,
    reliability,
    write_calibration,
)
from vidjax.evaluation.summary_file import percent

PLOT = "reliability.png"


def calibrate(folder: str, *, as_json: bool = False) -> int:
    """Choose the temperature of a run on the videos of its evaluation, and store it with the run.

    `predict` uses it from then on. What is printed as "held out" was measured on halves of the videos with the
    temperature of the other half.

    Args:
      folder: work directory of an evaluated run.
      as_json: print JSON instead of a table.

    Raises:
      UserError: if the folder has no evaluation with scores of clips, or fewer than 4 videos.
    """
    run = Path(folder)
    views = ViewScores(run)
    targets = views.scores.targets
    if views.step is None:
        raise UserError(f"{run / 'eval.json'} is not there or does not name its checkpoint; evaluate the run again")
    if len(targets) < 4:
        raise UserError(f"{run}: {len(targets)} evaluated videos are too few to choose a temperature")
    everything = np.arange(len(targets))
    found = Calibration(_fit(views, everything), views.step, len(everything))
    rows = {"as trained": views.at(1.0), "calibrated": views.at(found.temperature), "held out": _held_out(views)}
    figures = {name: _figures(joined, targets) for name, joined in rows.items()}
    write_calibration(run, found)
    curves = {name: reliability(rows[name], targets) for name in ("as trained", "held out")}
    _plot(curves, run / PLOT)
    if as_json:
        print(json.dumps({"temperature": found.temperature, "num_videos": found.num_videos, **figures}, indent=2))
        return 0
    table = Table("", "ECE", "log loss")
    for name, values in figures.items():
        table.add_row(name, percent(values["ece"]), f"{values['loss']:.4f}")
    console = Console()
    console.print(table)
    console.print(
        f"temperature {found.temperature:.3f} from {found.num_videos} videos, stored in {run / 'calibration.json'}; "
        f"predict uses it; plot in {run / PLOT}",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def _fit(scores: ViewScores, rows: np.ndarray) -> float:
    return fit_temperature(lambda temperature: scores.at(temperature, rows), scores.scores.targets[rows])


def _held_out(scores: ViewScores) -> np.ndarray:
    """Scores of each half of the videos at the temperature of the other, `(N, K)`."""
    joined = np.empty(scores.scores.scores.shape)
    for own, other in halves(len(scores.scores)):
        joined[own] = scores.at(_fit(scores, other), own)
    return joined


def _figures(scores: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    return {"ece": reliability(scores, targets).error, "loss": log_loss(scores, targets)}


def _plot(curves: dict[str, Reliability], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(curves), 4.6), layout="constrained")
    axes: Any
    for axes, (name, curve) in zip(figure.subplots(1, len(curves), sharey=True), curves.items(), strict=True):
        bins = len(curve.count)
        middles, full = (np.arange(bins) + 0.5) / bins, curve.count > 0
        share = curve.count / max(curve.count.sum(), 1)
        axes.bar(100 * middles, 100 * share, 90 / bins, color="#d9dee4", label="share of answers")
        axes.plot([0, 100], [0, 100], color="#c44", linestyle="--", linewidth=1, label="calibrated")
        axes.plot(100 * curve.confidence[full], 100 * curve.accuracy[full], "o-", color="#1b3a5c", label="answers")
        axes.set(xlim=(0, 100), ylim=(0, 102), xlabel="confidence, %", title=f"{name}: ECE {percent(curve.error)}")
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    figure.axes[0].set_ylabel("right answers, %")
    figure.axes[0].legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=110)
