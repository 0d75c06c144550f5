"""Choice of what the dear network of a cascade sees (`vidjax cascade FAST SLOW`)."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from vidjax import config as cfg
from vidjax.apps.run_costs import gmacs_of, rest_of
from vidjax.cascade import CascadeSettings, write_settings
from vidjax.errors import UserError
from vidjax.evaluation import identity
from vidjax.evaluation.calibration import ViewScores
from vidjax.evaluation.cascade import by_clips, curve, held_out
from vidjax.evaluation.fusion import align
from vidjax.evaluation.metrics import join_views, top_k_accuracy
from vidjax.evaluation.summary_file import percent
from vidjax.models.state import split
from vidjax.training.checkpoints import load_model
from vidjax.wording import things

_ALWAYS = 2.0  # a threshold that no confidence reaches


@dataclass(frozen=True)
class Compared:
    """The evaluations of both runs: multiply-adds of a clip, 10⁹, and views of a video on average, cheap run first; and
    the multiply-adds of the dear run where it is asked, fewer than alone if it goes on from a layer of both."""

    views: list[ViewScores]
    temperatures: list[float]
    gmacs: tuple[float, float]
    asking: float

    @property
    def costs(self) -> list[float]:
        """Multiply-adds per video of each run alone, 10⁹."""
        return [gmacs * each.mean_views for gmacs, each in zip(self.gmacs, self.views, strict=True)]

    @property
    def rest(self) -> float:
        """Multiply-adds per video of the dear run where it is asked, 10⁹."""
        return self.asking * self.views[1].mean_views


# Name → accuracy, multiply-adds per video, and the share of the dear network's views that are computed.
Rows = dict[str, tuple[float, float, float]]


def cascade(
    fast: str, slow: str, *, out: str, drop: float = 0.005, salient: bool = False, as_json: bool = False
) -> int:
    """Choose what the dear network is asked, from the evaluations of both runs, and write the cascade.

    Args:
      fast: work directory of the cheap, evaluated run; if it is a linear probe on a layer of the dear run, the dear
        network goes on from that layer.
      slow: work directory of the dear, evaluated run.
      out: folder to write `cascade.json` and the plot of accuracy against cost to.
      drop: accepted loss of accuracy against the dear run, 0…1.
      salient: whether the dear network sees the clips of every video of which the cheap one is surest, instead of all
        clips of the videos of which it is not sure.
      as_json: print JSON instead of a table.

    Raises:
      UserError: if a run is not evaluated, they share no video or differ in their classes, or have several labels; for
        clips also if they divide videos into different numbers of them.
    """
    if not 0 <= drop < 1:
        raise UserError(f"drop = {drop}: give the accepted loss of accuracy as a fraction, such as 0.005")
    runs = {"fast": fast, "slow": slow}
    told = {run: identity.read(Path(run)) or {} for run in runs.values()}
    for line in identity.differences(told):
        Console(stderr=True).print(f"warning: {line}", highlight=False, soft_wrap=True)
    views = [ViewScores(Path(run)) for run in runs.values()]
    if views[0].scores.targets.ndim == 2:
        raise UserError(f"{fast}: a cascade needs one class per video; this run has several labels")
    count = len(views[0].scores.class_names)
    configs = [_config(run) for run in runs.values()]
    gmacs = (gmacs_of(configs[0], count), gmacs_of(configs[1], count))
    layer = "" if salient else _layer_of_both(fast, slow, configs)
    asking = rest_of(configs[0], configs[1], count) if layer else gmacs[1]
    temperatures = [each.temperature(Path(run)) for each, run in zip(views, runs.values(), strict=True)]
    compared = Compared(views, temperatures, gmacs, asking)
    folder = Path(out)
    near, far = (os.path.relpath(run, folder) for run in (fast, slow))
    choose = _by_clips if salient else _by_threshold
    settings, rows, lines, words = choose(compared, drop)
    write_settings(folder, CascadeSettings(near, far, gmacs=(gmacs[0], asking), layer=layer, **settings))
    _plot(lines, rows, folder / "cascade.png")
    if as_json:
        figures = {n: {"top1": a, "gmacs": g, "asked": s} for n, (a, g, s) in rows.items()}
        print(json.dumps({**settings, "num_videos": len(views[0].scores), **figures}, indent=2))
        return 0
    if layer:
        words += f", and goes on from its layer {layer}"
    table = Table("", "video top-1", "GMACs per video", "of slow alone", "asks slow")
    for name, (top1, cost, part) in rows.items():
        table.add_row(name, percent(top1), f"{cost:.3g}", percent(cost / compared.costs[1]), percent(part))
    console = Console()
    console.print(table)
    console.print(f"{words}; cascade for `vidjax predict` and plot in {folder}", highlight=False, soft_wrap=True)
    return 0


Lines = dict[str, tuple[np.ndarray, np.ndarray]]  # name → multiply-adds per video and accuracy, of a plot


def _by_threshold(compared: Compared, drop: float) -> tuple[dict[str, Any], Rows, Lines, str]:
    cheap, dear = align([e.calibrated(t) for e, t in zip(compared.views, compared.temperatures, strict=True)])
    costs, targets = compared.costs, cheap.targets
    found = curve(cheap.scores, dear.scores, targets)
    place = found.place(drop)
    threshold, asked = min(float(found.thresholds[place]), _ALWAYS), float(found.asked[place])
    accuracy, share = held_out(cheap.scores, dear.scores, targets, drop)
    rows = {
        "fast alone": (top_k_accuracy(cheap.scores, targets, 1), costs[0], 0.0),
        "slow alone": (top_k_accuracy(dear.scores, targets, 1), costs[1], 1.0),
        "cascade": (float(found.accuracy[place]), costs[0] + asked * compared.rest, asked),
        "cascade, held out": (accuracy, costs[0] + share * compared.rest, share),
    }
    lines = {"any threshold": (costs[0] + found.asked * compared.rest, found.accuracy)}
    words = f"{len(cheap)} videos; the slow run is asked where the fast one is less than {percent(threshold)} sure"
    return {"threshold": threshold}, rows, lines, words


def _by_clips(compared: Compared, drop: float) -> tuple[dict[str, Any], Rows, Lines, str]:
    cheap, dear = align(
        [replace(e.scores, scores=e.of_clips(t)) for e, t in zip(compared.views, compared.temperatures, strict=True)]
    )
    count, how, costs = dear.scores.shape[1], compared.views[1].ensemble, compared.costs
    if cheap.scores.shape[1] != count:
        raise UserError(
            f"the fast run has {things(cheap.scores.shape[1], 'clip')} of a video, and the slow one {count}: "
            "evaluate both with the same --config.eval.num_clips"
        )
    surest, spread = by_clips(cheap.scores, dear.scores, cheap.targets, how)
    place = int(np.argmax(surest >= surest[-1] - drop - 1e-9))
    shares = np.arange(1, count + 1) / count
    alone = top_k_accuracy(join_views(cheap.scores, compared.views[0].ensemble), cheap.targets, 1)
    rows = {
        "fast alone": (alone, costs[0], 0.0),
        "slow alone": (float(surest[-1]), costs[1], 1.0),
        "surest clips": (float(surest[place]), costs[0] + shares[place] * costs[1], float(shares[place])),
        "as many in equal distances": (float(spread[place]), shares[place] * costs[1], float(shares[place])),
    }
    lines = {
        "the surest clips": (costs[0] + shares * costs[1], surest),
        "clips in equal distances": (shares * costs[1], spread),
    }
    seen = f"{place + 1} of {things(count, 'clip')}"
    words = f"{len(cheap)} videos; the slow run sees {seen}, those of which the fast one is surest"
    return {"threshold": 0.0, "clips": place + 1}, rows, lines, words


def _layer_of_both(fast: str, slow: str, configs: Sequence[dict[str, Any]]) -> str:
    """Path of the layer on which the cheap run is a probe, if the network up to it is the dear run's; or nothing."""
    early, whole = (cfg.from_dict(dict(each)) for each in configs)
    if not early.model.probe_layer or early.model.name != whole.model.name or whole.model.probe:
        return ""
    (_, mine, my_stats), (_, theirs, their_stats) = (split(load_model(run)[0]) for run in (fast, slow))
    frozen = {p.removeprefix("backbone."): a for p, a in (mine | my_stats).items() if p.startswith("backbone.")}
    other = theirs | their_stats
    same = all(path in other and np.array_equal(a, other[path]) for path, a in frozen.items())
    return early.model.probe_layer if same else ""


def _config(run: str) -> dict[str, Any]:
    try:
        return json.loads((Path(run) / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{run} has no config.json, from which its cost is counted: give the folder of a run") from None


def _plot(lines: Lines, rows: Rows, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes: Any = figure.subplots()
    for colour, (name, (costs, accuracy)) in zip(("#7aa6d8", "#b0b0b0"), lines.items(), strict=False):
        axes.plot(costs, 100 * accuracy, color=colour, label=name)
    for number, (name, (accuracy, gmacs, _)) in enumerate(rows.items()):
        axes.plot(gmacs, 100 * accuracy, "osD^"[number], color=f"C{number}", label=name, zorder=3)
    axes.set(xlabel="multiply-adds per video, 10⁹", ylabel="video top-1, %")
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=110)
