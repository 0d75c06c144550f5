"""Choice of a cascade's threshold (`vidjax cascade FAST SLOW`)."""

import json
import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vidjax.apps.run_costs import gmacs_of
from vidjax.cascade import CascadeSettings, write_settings
from vidjax.errors import UserError
from vidjax.evaluation import identity
from vidjax.evaluation.calibration import ViewScores
from vidjax.evaluation.cascade import Curve, curve, held_out
from vidjax.evaluation.fusion import align
from vidjax.evaluation.metrics import top_k_accuracy
from vidjax.evaluation.summary_file import percent

_ALWAYS = 2.0  # a threshold that no confidence reaches


def cascade(fast: str, slow: str, *, out: str, drop: float = 0.005, as_json: bool = False) -> int:
    """Choose when the dear network is asked, from the evaluations of both runs, and write the cascade.

    Args:
      fast: work directory of the cheap, evaluated run.
      slow: work directory of the dear, evaluated run.
      out: folder to write `cascade.json` and the plot of accuracy against cost to.
      drop: accepted loss of accuracy against the dear run, 0…1.
      as_json: print JSON instead of a table.

    Raises:
      UserError: if a run is not evaluated, they share no video or differ in their classes, or have several labels.
    """
    if not 0 <= drop < 1:
        raise UserError(f"drop = {drop}: give the accepted loss of accuracy as a fraction, such as 0.005")
    runs = {"fast": fast, "slow": slow}
    told = {run: identity.read(Path(run)) or {} for run in runs.values()}
    for line in identity.differences(told):
        Console(stderr=True).print(f"warning: {line}", highlight=False, soft_wrap=True)
    views = [ViewScores(Path(run)) for run in runs.values()]
    cheap, dear = align([each.calibrated(Path(run)) for each, run in zip(views, runs.values(), strict=True)])
    if cheap.targets.ndim == 2:
        raise UserError(f"{fast}: a cascade needs one class per video; this run has several labels")
    clips = tuple(_clip_gmacs(run, len(cheap.class_names)) for run in runs.values())
    costs = [gmacs * each.mean_views for gmacs, each in zip(clips, views, strict=True)]
    found = curve(cheap.scores, dear.scores, cheap.targets)
    place = found.place(drop)
    threshold, asked = float(found.thresholds[place]), float(found.asked[place])
    accuracy, share = held_out(cheap.scores, dear.scores, cheap.targets, drop)
    rows = {
        "fast alone": (top_k_accuracy(cheap.scores, cheap.targets, 1), costs[0], 0.0),
        "slow alone": (top_k_accuracy(dear.scores, dear.targets, 1), costs[1], 1.0),
        "cascade": (float(found.accuracy[place]), costs[0] + asked * costs[1], asked),
        "cascade, held out": (accuracy, costs[0] + share * costs[1], share),
    }
    folder = Path(out)
    near, far = (os.path.relpath(run, folder) for run in (fast, slow))
    write_settings(folder, CascadeSettings(near, far, min(threshold, _ALWAYS), (clips[0], clips[1])))
    _plot(found, costs, rows, folder / "cascade.png")
    if as_json:
        figures = {n: {"top1": a, "gmacs": g, "asked": s} for n, (a, g, s) in rows.items()}
        print(json.dumps({"threshold": threshold, "num_videos": len(cheap), **figures}, indent=2))
        return 0
    table = Table("", "video top-1", "GMACs per video", "of slow alone", "asks slow")
    for name, (top1, gmacs, part) in rows.items():
        table.add_row(name, percent(top1), f"{gmacs:.3g}", percent(gmacs / costs[1]), percent(part))
    console = Console()
    console.print(table)
    words = f"{len(cheap)} videos; the slow run is asked where the fast one is less than {percent(threshold)} sure"
    console.print(f"{words}; cascade for `vidjax predict` and plot in {folder}", highlight=False, soft_wrap=True)
    return 0


def _clip_gmacs(run: str, num_classes: int) -> float:
    try:
        return gmacs_of(json.loads((Path(run) / "config.json").read_text(encoding="utf-8")), num_classes)
    except FileNotFoundError:
        raise UserError(f"{run} has no config.json, from which its cost is counted: give the folder of a run") from None


def _plot(found: Curve, costs: list[float], rows: dict[str, tuple[float, float, float]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes: Any = figure.subplots()
    axes.plot(costs[0] + found.asked * costs[1], 100 * found.accuracy, color="#7aa6d8", label="any threshold")
    for number, (name, (accuracy, gmacs, _)) in enumerate(rows.items()):
        axes.plot(gmacs, 100 * accuracy, "osD^"[number], color=f"C{number}", label=name, zorder=3)
    axes.set(xlabel="multiply-adds per video, 10⁹", ylabel="video top-1, %")
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=110)
