"""`python -m vidjax compare RUN RUN …`: accuracies of runs side by side, seeds together, as a table and a plot."""

import json
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vidjax import config as cfg
from vidjax.errors import UserError

_LEVELS = ("clip", "video")
# Where a run's data lies and how it is read tells nothing of what was tried.
_UNTOLD = (
    "seed", "data.train", "data.eval", "data.synthetic", "data.num_workers", "data.num_threads", "data.prefetch",
    "data.isolate", "train.log_every", "train.checkpoint_epochs", "train.keep_last",
    "train.compilation_cache",
)  # fmt: skip
_LABEL_WIDTH = 48  # characters in a line of the plot


@dataclass
class Group:
    """Runs with the same settings but for the seed."""

    settings: dict[str, Any]
    label: str = ""
    seeds: list[int] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: {level: [] for level in _LEVELS})

    def mean(self, level: str) -> float:
        """Of the seeds, in 0…1."""
        return statistics.fmean(self.values[level])

    def deviation(self, level: str) -> float | None:
        """Standard deviation over the seeds, with n - 1; None for one run."""
        return statistics.stdev(self.values[level]) if len(self.seeds) > 1 else None


def compare(
    runs: Sequence[str],
    *,
    plot: str = "compare.png",
    show: Sequence[str] | None = None,
    as_json: bool = False,
    markdown: bool = False,
) -> int:
    """Print the clip- and video-level accuracy of evaluated runs, best first, and draw them.

    Args:
      runs: work directories; those without `eval.json` are counted, listed and left out. Runs that differ in the seed
        alone share a line, which has their mean and standard deviation.
      plot: where the picture goes; empty: none is drawn.
      show: the settings to name beside each model, such as `train.epochs`; None: all that differ.
      as_json, markdown: print JSON, or a table in Markdown, instead of one for the terminal.

    Raises:
      UserError: if no run has been evaluated, one is a pre-training, they were evaluated by different measures, or
        `show` names what is no setting of any.
    """
    groups, name, chance, left_out = _read(runs, show)
    if plot:
        _draw(groups, name, chance, Path(plot))
    notes = [f"{len(left_out)} without eval.json left out: {', '.join(left_out)}"] if left_out else []
    notes += [f"plot in {plot}"] if plot else []
    _print(groups, name, as_json=as_json, markdown=markdown)
    Console(stderr=True).print("\n".join(notes), highlight=False, soft_wrap=True)
    return 0


def _read(runs: Sequence[str], show: Sequence[str] | None) -> tuple[list[Group], str, float | None, list[str]]:
    groups: dict[str, Group] = {}
    names, chances, left_out = {}, set(), []
    for run in runs:
        folder = Path(run)
        if not (folder / "eval.json").exists():
            left_out.append(run)
            continue
        result, config = (json.loads((folder / f"{name}.json").read_text()) for name in ("eval", "config"))
        if "video" not in result:
            raise UserError(f"{run} is a pre-training, which has no accuracy: leave it out")
        settings = dict(_flat(_of_today(config)))
        seed = settings["seed"]
        settings = {name: value for name, value in settings.items() if name not in _UNTOLD}
        group = groups.setdefault(json.dumps(settings, sort_keys=True), Group(settings))
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
    _label(found, show)
    return found, next(iter(names)), chances.pop() if len(chances) == 1 else None, left_out


def _of_today(config: dict[str, Any]) -> dict[str, Any]:
    """An older run's config with the settings that have come since, at their defaults, which change nothing."""
    try:
        return cfg.to_dict(cfg.from_dict(config))
    except cfg.ConfigError:  # with a setting that is no more
        return config


def _flat(values: Mapping[str, Any], prefix: str = "") -> Any:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _label(groups: Sequence[Group], show: Sequence[str] | None) -> None:
    """Names each group by its model and what else tells it from the others, or what is to be shown."""
    names = dict.fromkeys(name for group in groups for name in group.settings)
    told = [n for n in names if len({json.dumps(group.settings.get(n)) for group in groups}) > 1]
    if show is not None:
        told = list(show)
        for name in show:
            if name not in names:
                raise UserError(f"--show {name}: no setting of these runs; such as train.epochs or model.input")
    for group in groups:
        others = (_told(name, group.settings[name]) for name in told if name != "model.name" and name in group.settings)
        group.label = ", ".join([group.settings["model.name"], *others])


def _told(name: str, value: Any) -> str:
    short = name.removeprefix("model.kwargs.").removeprefix("model.").removeprefix("data.")
    return f"{short}={value:g}" if isinstance(value, float) else f"{short}={value}"


def _print(groups: Sequence[Group], name: str, *, as_json: bool, markdown: bool) -> None:
    if as_json:
        rows = [
            {"label": g.label, "seeds": g.seeds}
            | {
                level: {"mean": g.mean(level), "deviation": g.deviation(level), "values": g.values[level]}
                for level in _LEVELS
            }
            for g in groups
        ]
        print(json.dumps({"measure": name, "runs": rows}, indent=2, ensure_ascii=False))
        return
    header = ["", *(f"{level} {name}" for level in _LEVELS), "runs"]
    rows = [[g.label, *(_figure(g, level) for level in _LEVELS), str(len(g.seeds))] for g in groups]
    if markdown:
        for cells in (header, ["---"] * len(header), *([f"`{row[0]}`", *row[1:]] for row in rows)):
            print(f"| {' | '.join(cells)} |")
        return
    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _figure(group: Group, level: str) -> str:
    deviation = group.deviation(level)
    spread = "" if deviation is None else f" ± {100 * deviation:.1f}"
    return f"{100 * group.mean(level):.1f}{spread} %"


def _draw(groups: Sequence[Group], name: str, chance: float | None, path: Path) -> None:
    """A bar for each group, a dot for each of its runs, and what guessing gives."""
    from matplotlib.figure import Figure

    labels = ["\n".join(textwrap.wrap(group.label, _LABEL_WIDTH)) for group in groups]
    lines = sum(1 + label.count("\n") for label in labels)
    figure = Figure(figsize=(8, 1 + 0.28 * max(lines, len(labels))), layout="constrained")
    axes = figure.subplots()
    places = range(len(groups))
    axes.barh(places, [100 * group.mean("video") for group in groups], color="#7aa6d8", label="video")
    for level, mark in (("video", "o"), ("clip", "|")):
        dots = [
            (100 * value, place) for place, group in zip(places, groups, strict=True) for value in group.values[level]
        ]
        axes.plot(*zip(*dots, strict=True), mark, color="#1b3a5c", markersize=4, label=f"{level}, each run")
    if chance is not None:
        axes.axvline(100 * chance, color="#c44", linestyle="--", linewidth=1, label="chance")
    axes.set(xlim=(0, 100), xlabel=f"{name}, %", yticks=places, yticklabels=labels)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=4, fontsize="small", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
