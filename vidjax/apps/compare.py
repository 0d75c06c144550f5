"""Comparison of evaluated runs (`vidjax compare RUN RUN …`): accuracies as a table and a plot, seeds averaged."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vidjax import config as cfg
from vidjax.apps.compare_labels import flat, label
from vidjax.apps.compare_plots import draw_bars, draw_costs, figure_of
from vidjax.apps.run_costs import gmacs_of
from vidjax.errors import UserError
from vidjax.evaluation import identity

_LEVELS = ("clip", "video")
# Settings of the data's location and reading, which are not part of the experiment.
_UNTOLD = (
    "seed", "data.train", "data.eval", "data.synthetic", "data.reading.num_workers", "data.reading.num_threads",
    "data.reading.prefetch", "data.reading.isolate", "data.reading.max_memory",
    "data.reading.max_pixels", "data.reading.patience",
    "train.log_every", "train.checkpoint_epochs", "train.keep_last",
    "train.compilation_cache", "train.best_metric", "eval.num_clips", "eval.num_crops", "eval.batch_size",
    "data.sampling.eval",
)  # fmt: skip


@dataclass
class Group:
    """Runs that differ only in the seed, with the multiply-adds of a clip in 10⁹ if they are asked for."""

    settings: dict[str, Any]
    config: dict[str, Any]
    classes: list[str]
    label: str = ""
    seeds: list[int] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: {level: [] for level in _LEVELS})
    gmacs: float | None = None

    def mean(self, level: str) -> float:
        """Mean over the seeds, in 0…1."""
        return statistics.fmean(self.values[level])

    def deviation(self, level: str) -> float | None:
        """Standard deviation over the seeds, with n - 1; None for one run."""
        return statistics.stdev(self.values[level]) if len(self.seeds) > 1 else None


def compare(
    runs: Sequence[str],
    *,
    plot: str | None = None,
    show: Sequence[str] | None = None,
    as_json: bool = False,
    markdown: bool = False,
    gmacs: bool = False,
) -> int:
    """Print the clip- and video-level accuracy of evaluated runs, best first, and draw them.

    Args:
      runs: work directories, or folders of `eval.py` with other views or data; those without `eval.json` are counted,
        listed and left out. Runs that differ only in the seed share a line with their mean and standard deviation.
      plot: path of the plot; empty: none; None: `compare.png`, or none with `as_json`.
      show: settings to name beside each model, such as `train.epochs`; None: all that differ.
      as_json, markdown: print JSON, or a table in Markdown, instead of one for the terminal.
      gmacs: also count the multiply-adds of a clip, and plot accuracies against them.

    Raises:
      UserError: if no run has been evaluated, one has no accuracy of videos, they were evaluated by different measures,
        or `show` has a name that is not a setting of any run.
    """
    results = {run: found for run in runs if (found := identity.read(Path(run)))}
    groups, name, chance = _read(results, show, runs)
    plot = ("" if as_json else "compare.png") if plot is None else plot
    if gmacs:
        for group in groups:
            group.gmacs = gmacs_of(group.config, len(group.classes))
    if plot:
        (draw_costs if gmacs else draw_bars)(groups, name, chance, Path(plot))
    left_out = [run for run in runs if run not in results]
    notes = [f"warning: {line}" for line in identity.differences(results)]
    notes += [f"{len(left_out)} without eval.json left out: {', '.join(left_out)}"] if left_out else []
    notes += [f"plot in {plot}"] if plot else []
    _print(groups, name, as_json=as_json, markdown=markdown)
    Console(stderr=True).print("\n".join(notes), highlight=False, soft_wrap=True)
    return 0


def _read(
    results: Mapping[str, Mapping[str, Any]], show: Sequence[str] | None, runs: Sequence[str]
) -> tuple[list[Group], str, float | None]:
    groups: dict[str, Group] = {}
    known: dict[str, str] = {}
    names, chances = {}, set()
    for run, result in results.items():
        if "video" not in result:
            told = ", ".join(result.get("levels", ())) or "reconstruction"
            raise UserError(f"{run} reports {told}, and no accuracy of videos: leave it out")
        config = _of_today(_config(Path(run)))
        settings = dict(flat(config))
        seed, evaluated = settings["seed"], _evaluated(result, settings, known)
        settings = {name: value for name, value in settings.items() if name not in _UNTOLD} | evaluated
        group = groups.setdefault(
            json.dumps(settings, sort_keys=True), Group(settings, config, list(result["per_class"]))
        )
        group.seeds.append(seed)
        measure = next(iter(result["video"]))
        names.setdefault(measure, run)
        chances.add(1 / len(result["per_class"]) if measure == "top1" else None)
        for level in _LEVELS:
            group.values[level].append(result[level][measure])
    if not groups:
        raise UserError(f"none of {', '.join(runs)} has an eval.json: train or evaluate first")
    if len(names) > 1:
        raise UserError("measured differently: " + ", ".join(f"{run} by {name}" for name, run in names.items()))
    found = sorted(groups.values(), key=lambda group: -group.mean("video"))
    label(found, show)
    return found, next(iter(names)), chances.pop() if len(chances) == 1 else None


def _config(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{folder} has an eval.json, but no config.json, which says how it was made: evaluate again with eval.py"
        ) from None


def _evaluated(result: Mapping[str, Any], settings: Mapping[str, Any], known: dict[str, str]) -> dict[str, Any]:
    """Describe an evaluation by settings like those of the config.

    Args:
      result: content of an `eval.json`; those of older versions lack some entries.
      settings: settings of the evaluation by dotted name.
      known: names of video sets by fingerprint, to which this one is added.
    """
    views = result.get("views") or {"num_clips": settings["eval.num_clips"], "num_crops": settings["eval.num_crops"],
                                    "sampling": settings["data.sampling.eval"]}  # fmt: skip
    told = {"views": f"{views['num_clips'] or 'all'}×{views['num_crops']}", "sampling": views["sampling"]}
    if "views" in result:
        standing, data = result["checkpoint"], result["data"]
        told["checkpoint"] = f"update {result['step']}" if standing == identity.EARLIER else standing
        told["data"] = f"{known.setdefault(data['fingerprint'], data['name'])} {data['fingerprint']}"
        told |= result["spec"]
    return {f"evaluation.{name}": value for name, value in told.items()}


def _of_today(config: dict[str, Any]) -> dict[str, Any]:
    """Complete an older run's config with the settings added since, at their defaults, which change nothing."""
    try:
        return cfg.to_dict(cfg.from_dict(config))
    except cfg.ConfigError:  # with a setting that no longer exists
        return config


def _print(groups: Sequence[Group], name: str, *, as_json: bool, markdown: bool) -> None:
    if as_json:
        rows = [
            {"label": g.label, "seeds": g.seeds}
            | ({} if g.gmacs is None else {"gmacs": g.gmacs})
            | {
                level: {"mean": g.mean(level), "deviation": g.deviation(level), "values": g.values[level]}
                for level in _LEVELS
            }
            for g in groups
        ]
        print(json.dumps({"measure": name, "runs": rows}, indent=2, ensure_ascii=False))
        return
    priced = groups[0].gmacs is not None
    header = ["", *(f"{level} {name}" for level in _LEVELS), *(["GMACs/clip"] if priced else []), "runs"]
    rows = [
        [
            g.label, *(figure_of(g, level) for level in _LEVELS), *([f"{g.gmacs:.3g}"] if priced else []),
            str(len(g.seeds)),
        ]
        for g in groups
    ]  # fmt: skip
    if markdown:
        for cells in (header, ["---"] * len(header), *([f"`{row[0]}`", *row[1:]] for row in rows)):
            print(f"| {' | '.join(cells)} |")
        return
    table = Table(*header)
    table.columns[0].overflow = "fold"
    for row in rows:
        table.add_row(*row)
    Console().print(table)
