"""Choice of what the dear stages of a cascade see (`vidjax cascade FAST SLOW`, `vidjax cascade RUN`)."""

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
from vidjax.apps.run_costs import gmacs_of, gmacs_of_stages
from vidjax.cascade import CascadeSettings, write_settings
from vidjax.errors import UserError
from vidjax.evaluation import identity
from vidjax.evaluation.calibration import ViewScores
from vidjax.evaluation.cascade import by_clips, choose, held_out, measured
from vidjax.evaluation.fusion import VideoScores, align
from vidjax.evaluation.metrics import join_views, top_k_accuracy
from vidjax.evaluation.summary_file import percent
from vidjax.models.state import split
from vidjax.training.checkpoints import load_model
from vidjax.wording import things

_ALWAYS = 2.0  # a threshold that no confidence reaches
_DROPS = 101  # accepted losses of accuracy for which the plot shows the cascade


@dataclass(frozen=True)
class Stages:
    """The stages of a cascade, cheap to dear, as evaluated.

    Attributes:
      names: names of the stages.
      scores: scores of the same videos at each stage.
      alone: multiply-adds per video of each stage and what it needs, 10⁹.
      costs: multiply-adds per video of each stage, after those before it, 10⁹.
      gmacs: the same per view.
    """

    names: tuple[str, ...]
    scores: list[VideoScores]
    alone: tuple[float, ...]
    costs: tuple[float, ...]
    gmacs: tuple[float, ...]

    @property
    def arrays(self) -> list[np.ndarray]:
        """Scores of each stage, `(N, K)`."""
        return [each.scores for each in self.scores]

    @property
    def targets(self) -> np.ndarray:
        """Classes of the videos, int `(N,)`."""
        return self.scores[0].targets


# Name → accuracy, multiply-adds per video, and the share of the dear stage's views that are computed.
Rows = dict[str, tuple[float, float, float]]


def cascade(
    fast: str, slow: str | None, *, out: str = "", drop: float = 0.005, salient: bool = False, as_json: bool = False
) -> int:
    """Choose what the dear stages are asked, from the evaluations of the runs, and write the cascade.

    Args:
      fast: work directory of the cheap, evaluated run; if it is a linear probe on a layer of the dear run, the dear
        network goes on from that layer.
      slow: work directory of the dear, evaluated run; None: `fast` has early exits, and goes on from them.
      out: folder to write `cascade.json` and the plot of accuracy against cost to; empty: `cascade` in that of the
        dear run.
      drop: accepted loss of accuracy against the last stage, 0…1.
      salient: whether the dear network sees the clips of every video of which the cheap one is surest, instead of all
        clips of the videos of which it is not sure.
      as_json: print JSON instead of a table.

    Raises:
      UserError: if a run is not evaluated, they share no video or differ in their classes, or have several labels; for
        clips also if they divide videos into different numbers of them; for one run if it has no early exits.
    """
    if not 0 <= drop < 1:
        raise UserError(f"drop = {drop}: give the accepted loss of accuracy as a fraction, such as 0.005")
    if salient and slow is None:
        raise UserError("--salient needs two runs: the first one chooses the clips that the second one sees")
    runs = [fast] if slow is None else [fast, slow]
    told = {run: identity.read(Path(run)) or {} for run in runs}
    for line in identity.differences(told):
        Console(stderr=True).print(f"warning: {line}", highlight=False, soft_wrap=True)
    views = [ViewScores(Path(run)) for run in runs]
    if views[0].scores.targets.ndim == 2:
        raise UserError(f"{fast}: a cascade needs one class per video; this run has several labels")
    temperatures = [each.temperature(Path(run)) for each, run in zip(views, runs, strict=True)]
    layers = views[0].exits if slow is None else () if salient else _layer_of_both(fast, slow)
    if slow is None and not layers:
        raise UserError(f"{fast} has no early exits: train it with --config.model.exits, or give a second run")
    stages = _stages(runs, views, temperatures, layers)
    folder = Path(out) if out else Path(runs[-1]) / "cascade"
    if salient:
        settings, rows, lines, words = _by_clips(views, temperatures, stages, drop)
    else:
        settings, rows, lines, words = _by_threshold(stages, drop)
    near = tuple(os.path.relpath(run, folder) for run in runs)
    write_settings(folder, CascadeSettings(near, gmacs=stages.gmacs, layers=layers, **settings))
    _plot(lines, rows, folder / "cascade.png")
    if as_json:
        figures = {n: {"top1": a, "gmacs": g, "asked": s} for n, (a, g, s) in rows.items()}
        print(json.dumps({**settings, "num_videos": len(stages.targets), **figures}, indent=2))
        return 0
    if slow is not None and layers:
        words += f", and goes on from its layer {layers[0]}"
    last = stages.names[-1]
    table = Table("", "video top-1", "GMACs per video", f"of {last} alone", f"asks {last}")
    for name, (top1, cost, part) in rows.items():
        table.add_row(name, percent(top1), f"{cost:.3g}", percent(cost / stages.alone[-1]), percent(part))
    console = Console()
    console.print(table)
    console.print(f"{words}; cascade for `vidjax predict` and plot in {folder}", highlight=False, soft_wrap=True)
    return 0


def _stages(
    runs: Sequence[str], views: Sequence[ViewScores], temperatures: Sequence[float], layers: tuple[str, ...]
) -> Stages:
    configs, count = [_config(run) for run in runs], len(views[0].scores.class_names)
    gmacs = tuple(gmacs_of(config, count) for config in configs)
    parts = gmacs_of_stages(configs[-1], count, layers) if layers else gmacs
    ends = [each.calibrated(t) for each, t in zip(views, temperatures, strict=True)]
    if len(runs) == 1:
        seen = [views[0].mean_views] * len(parts)
        alone = (*np.cumsum(parts)[:-1].tolist(), gmacs[0])
        names, scores = (*layers, "the end"), align([*views[0].at_exits(temperatures[0]), *ends])
    else:
        seen, alone, names, scores = [each.mean_views for each in views], gmacs, ("fast", "slow"), align(ends)
    alone, costs = (tuple(g * n for g, n in zip(each, seen, strict=True)) for each in (alone, parts))
    return Stages(names, scores, alone, costs, parts)


Lines = dict[str, tuple[np.ndarray, np.ndarray]]  # name → multiply-adds per video and accuracy, of a plot


def _by_threshold(stages: Stages, drop: float) -> tuple[dict[str, Any], Rows, Lines, str]:
    scores, targets, costs = stages.arrays, stages.targets, np.array(stages.costs)
    thresholds = choose(scores, targets, drop)
    found = {"cascade": measured(scores, targets, thresholds), "cascade, held out": held_out(scores, targets, drop)}
    rows = _each_alone(stages)
    rows |= {name: (right, float(reached @ costs), float(reached[-1])) for name, (right, reached) in found.items()}
    drops = np.linspace(0, 1, _DROPS) * max(top1 for top1, _, _ in rows.values())
    line = [measured(scores, targets, choose(scores, targets, each)) for each in drops]
    lines = {"any accepted loss": (np.array([reached @ costs for _, reached in line]), np.array([a for a, _ in line]))}
    kept = [min(float(each), _ALWAYS) for each in thresholds]
    asked = ", ".join(f"{name} where {before} is less than {percent(t)} sure" for name, before, t in zip(
        stages.names[1:], stages.names, kept, strict=False))  # fmt: skip
    return {"thresholds": kept}, rows, lines, f"{len(targets)} videos; asked are {asked}"


def _each_alone(stages: Stages) -> Rows:
    last, every = len(stages.names) - 1, zip(stages.names, stages.arrays, stages.alone, strict=True)
    return {
        f"{name} alone": (top_k_accuracy(scores, stages.targets, 1), cost, float(number == last))
        for number, (name, scores, cost) in enumerate(every)
    }


def _by_clips(
    views: Sequence[ViewScores], temperatures: Sequence[float], stages: Stages, drop: float
) -> tuple[dict[str, Any], Rows, Lines, str]:
    cheap, dear = align([replace(e.scores, scores=e.of_clips(t)) for e, t in zip(views, temperatures, strict=True)])
    count, how, costs = dear.scores.shape[1], views[1].ensemble, stages.alone
    if cheap.scores.shape[1] != count:
        raise UserError(
            f"the fast run has {things(cheap.scores.shape[1], 'clip')} of a video, and the slow one {count}: "
            "evaluate both with the same --config.eval.num_clips"
        )
    surest, spread = by_clips(cheap.scores, dear.scores, cheap.targets, how)
    place = int(np.argmax(surest >= surest[-1] - drop - 1e-9))
    shares = np.arange(1, count + 1) / count
    alone = top_k_accuracy(join_views(cheap.scores, views[0].ensemble), cheap.targets, 1)
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
    return {"thresholds": [_ALWAYS], "clips": place + 1}, rows, lines, words


def _layer_of_both(fast: str, slow: str) -> tuple[str, ...]:
    """Path of the layer on which the cheap run is a probe, if the network up to it is the dear run's; or nothing."""
    early, whole = (cfg.from_dict(dict(_config(run))) for run in (fast, slow))
    if not early.model.probe_layer or early.model.name != whole.model.name or whole.model.probe or whole.model.exits:
        return ()
    (_, mine, my_stats), (_, theirs, their_stats) = (split(load_model(run)[0]) for run in (fast, slow))
    frozen = {p.removeprefix("backbone."): a for p, a in (mine | my_stats).items() if p.startswith("backbone.")}
    other = theirs | their_stats
    same = all(path in other and np.array_equal(a, other[path]) for path, a in frozen.items())
    return (early.model.probe_layer,) if same else ()


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
        axes.plot(gmacs, 100 * accuracy, "osD^v<>pPX"[number % 10], color=f"C{number % 10}", label=name, zorder=3)
    axes.set(xlabel="multiply-adds per video, 10⁹", ylabel="video top-1, %")
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=110)
