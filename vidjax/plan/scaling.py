"""Weak scaling of a training: predicted speed on 8 to 512 devices, each with the same share of the batch."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from vidjax import config as cfg
from vidjax.parallel import mesh_sizes
from vidjax.plan.estimates import UNRESOLVED, DataFacts, DoesNotFitError, Target
from vidjax.progress import progress_bar
from vidjax.wording import duration

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def scaling(
    target: Target,
    config: cfg.Config,
    facts: DataFacts,
    clips_per_core: float,
    *,
    most: int,
    out: str,
    console: Console,
) -> dict[str, Any]:
    """Plan `config` on 8 to 512 devices of the kind of `target`, and plot the result.

    Args:
      target: devices that share the config's batch; the batch of other sizes is proportional to their devices.
      config: config of the training.
      facts: facts of its data set.
      clips_per_core: clips/s that one core of the hosts decodes.
      most: most sizes to compile, spread from the smallest to the largest.
      out: path of the plot; empty: none.
      console: console for the progress bar.

    Returns:
      "sizes": figures, with "efficiency": clips/s per device relative to the smallest size; "rejected": sizes that do
      not fit; "plot": path of the plot.

    Raises:
      ConfigError: if the config's batch cannot be split over the devices of `target`.
    """
    shards = _shards(config, target.count)
    unit = shards * config.train.accumulate
    if (size := config.train.batch_size) % unit:
        raise cfg.ConfigError(
            f"config.train.batch_size = {size} cannot be split evenly over the {target.count} devices of "
            f"{target.name}, which set the share of each device; {max(1, size // unit) * unit} would do"
        )
    share = size // shards
    sizes, rejected = [], []
    with progress_bar(console) as bar:
        chosen = _spread(target.sizes(), most)
        task = bar.add_task("scaling", total=len(chosen), info="")
        for one in chosen:
            bar.update(task, info=one.name)
            try:
                figures = one.figures(_at(config, one.count, share), facts, clips_per_core)
            except DoesNotFitError as error:
                rejected.append({"target": one.name, "reason": str(error)})
            else:
                larger = bool(one.chip.largest) and one.count > one.chip.largest
                sizes.append(figures | {"larger_than_a_pod": larger})
            bar.advance(task)
    for figures in sizes:
        figures["efficiency"] = _per_device(figures) / _per_device(sizes[0])
    if sizes and out:
        plot(sizes, Path(out))
    return {"model": config.model.name, "sizes": sizes, "rejected": rejected, "plot": out if sizes else ""}


def _per_device(figures: dict[str, Any]) -> float:
    return figures["clips_per_s"] / figures["chips"]


def _spread(targets: list[Target], most: int) -> list[Target]:
    """Choose at most `most` targets, including the first and the last."""
    if most >= len(targets):
        return targets
    if most == 1:
        return targets[:1]
    return [targets[round(i * (len(targets) - 1) / (most - 1))] for i in range(most)]


def _mesh(config: cfg.MeshConfig) -> cfg.MeshConfig:
    """`config` with one axis set to the remaining devices."""
    return config if -1 in (config.data, config.fsdp, config.model) else replace(config, data=-1)


def _shards(config: cfg.Config, count: int) -> int:
    mesh = _mesh(config.mesh)
    sizes = mesh_sizes(count, mesh.data, mesh.fsdp, mesh.model)
    return sizes["data"] * sizes["fsdp"]


def _at(config: cfg.Config, count: int, share: int) -> cfg.Config:
    config = copy.deepcopy(config)
    config.mesh = _mesh(config.mesh)
    config.train.batch_size = share * _shards(config, count)
    return config


def plot(sizes: list[dict[str, Any]], path: Path) -> None:
    """Draw `picture` and save it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(sizes).savefig(path, dpi=120)


def picture(sizes: list[dict[str, Any]]) -> "Figure":
    """Figure of speed, duration of the training, and efficiency over the number of devices."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    counts = [figures["chips"] for figures in sizes]
    speeds = [figures["clips_per_s"] for figures in sizes]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(counts, speeds, "o-", color="#1f5fa8")
    for count, speed, one in zip(counts, speeds, sizes, strict=True):
        left.annotate(_duration(one["hours"]), (count, speed), xytext=(6, -6), textcoords="offset points", va="top",
                      fontsize=8)  # fmt: skip
    left.set(xscale="log", yscale="log", xlabel="devices", ylabel="clips/s", xlim=(0.75 * counts[0], 1.9 * counts[-1]))
    left.set(ylim=(0.5 * min(speeds), 1.6 * max(speeds)), title="Speed, and duration of the config's epochs")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    right.plot(counts, [100 * figures["efficiency"] for figures in sizes], "o-", color="#1f5fa8")
    right.set(xscale="log", xlabel="devices", ylabel="efficiency, %",
              title=f"Speed per device, relative to {counts[0]} devices")  # fmt: skip
    right.set(ylim=(0, max(105.0, *(105 * figures["efficiency"] for figures in sizes))), xlim=left.get_xlim())
    for axes in (left, right):
        axes.set_xticks(counts, [str(n) for n in counts])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
        axes.title.set_fontsize(10)
    kind, share = sizes[0]["target"].split(":")[0], sizes[0]["batch_size"] / counts[0]
    figure.suptitle(f"{sizes[0]['model']} on {kind}, {share:g} videos per device, estimated", fontsize=11)
    return figure


def _duration(hours: float) -> str:
    return f"{hours:.{int(hours < 10)}f} h" if hours >= 1 else f"{60 * hours:.0f} min" if 60 * hours >= 1 else "< 1 min"


def show(result: dict[str, Any], console: Console) -> None:
    """Print the table and the path of the plot."""
    table = Table("devices", "batch", "GiB", "step ms", "exchange ms", "clips/s", "efficiency", "MFU", "run",
                  title=f"{result['model']}: scaling, estimated")  # fmt: skip
    for figures in result["sizes"]:
        seconds = figures["seconds"]
        table.add_row(
            f"{figures['target']}{' *' if figures['larger_than_a_pod'] else ''}",
            str(figures["batch_size"]),
            f"{figures['memory']['total'] / 2**30:.2f}",
            f"{'' if figures['resolved'] else '~'}{1e3 * seconds['step']:.1f}",
            f"{1e3 * (seconds['collectives'] + seconds['latency']):.1f}",
            f"{figures['clips_per_s']:.0f}",
            f"{100 * figures['efficiency']:.1f} %",
            f"{100 * figures['mfu']:.1f} %",
            duration(figures["hours"]),
        )
    console.print(table)
    if any(figures["larger_than_a_pod"] for figures in result["sizes"]):
        console.print("* larger than a pod; planned as if the torus went on", highlight=False)
    if not all(figures["resolved"] for figures in result["sizes"]):
        console.print(f"~ {UNRESOLVED}", highlight=False)
    console.print(
        "the batch grows with the devices, so each size is another recipe; the run has the config's epochs",
        highlight=False,
    )
    for one in result["rejected"]:
        console.print(f"{one['target']} left out: {one['reason']}", highlight=False, soft_wrap=True)
    if result["plot"]:
        console.print(f"plot: {result['plot']}", highlight=False, soft_wrap=True)
