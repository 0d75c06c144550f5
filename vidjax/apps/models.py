"""List of the models and their costs."""

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from vidjax.config import Spec
from vidjax.models.cost import Cost, Layer, model_cost
from vidjax.models.cost_table import cost_of
from vidjax.models.detectors import DETECTORS
from vidjax.models.registry import family_of, get_spec, list_models
from vidjax.weights.origins import EVERY, Origin, origin_of
from vidjax.weights.packages import packages_of

_WIDE = 120  # columns of a terminal with room for published accuracies and checkpoints


def models(pattern: str = "*", *, as_json: bool = False, markdown: bool = False, depth: int = 2) -> int:
    """Print the models that match a pattern, or, for the exact name of one, its layers.

    Args:
      pattern: a name, or a shell-style pattern.
      as_json: print JSON instead of a table.
      markdown: print the README's tables.
      depth: depth, in modules, of the layers listed for a single model; 0: all.

    Returns:
      0, the exit status.

    Raises:
      UnknownModelError: if there is no such model; it suggests similar names.
    """
    names = list_models(pattern)
    if not names:
        get_spec(pattern)  # raises an error with similar names
    # The layers of one model are counted now, but not those of all models, which would take a minute.
    costs = {name: model_cost(name) if name == pattern else cost_of(name) for name in names}
    console = Console()
    if as_json:
        console.print_json(json.dumps([_record(name, cost, name == pattern) for name, cost in costs.items()]))
    elif markdown:
        print("\n".join([*markdown_table(costs), "", *origins_table(costs)]))
    elif names == [pattern]:
        _print_layers(console, pattern, costs[pattern], depth)
    else:
        _print_models(console, costs)
        if pattern == "*":
            found = [f"{d.name} ({d.origin}, {d.licence})" for d in DETECTORS.values() if d.origin]
            console.print(f"detectors of people, for vidjax detect: {', '.join(found)}", highlight=False)
    return 0


def markdown_table(costs: dict[str, Cost]) -> list[str]:
    """Lines of a Markdown table with one model per line, by family."""
    lines = ["| model | clip | parameters | GMACs | published accuracy | checkpoints |", "|---|---|---|---|---|---|"]
    for name, cost in sorted(costs.items(), key=lambda item: family_of(item[0])):
        spec = get_spec(name)
        lines.append(
            f"| `{name}` | {_clip(spec)} | {cost.params / 1e6:.1f} M | {_gmacs(cost)} | {spec.published} "
            f"| {_checkpoints(spec)} |"
        )
    return lines


def origins_table(names: Iterable[str]) -> list[str]:
    """Lines of a Markdown table of the models' checkpoints: a line for each place where some are."""
    lines = ["| checkpoints | from | licence of the weights, or of the software where none is stated for them |"]
    lines.append("|---|---|---|")
    found = {origin for name in names for origin in _origins(get_spec(name))}
    for origin in sorted(
        found, key=lambda origin: (origin.source, origin.models == EVERY, origin.models, origin.address)
    ):
        patterns = "" if origin.models == EVERY else f" of {', '.join(f'`{pattern}`' for pattern in origin.models)}"
        lines.append(f"| {origin.source}{patterns} | {origin.address} | {origin.licence} |")
    return lines


def _print_models(console: Console, costs: dict[str, Cost]) -> None:
    """Print one line per model for 80 columns; published accuracies and checkpoints need a wider terminal."""
    wide = console.width >= _WIDE
    elsewhere = "" if wide else f"; published accuracy and checkpoints: with {_WIDE} columns, --json or --markdown"
    elsewhere += "; licences of checkpoints: with one model's name, --json or --markdown"
    table = Table(
        title=f"{len(costs)} models",
        caption=f"per view; K: 10³, M: 10⁶, G: 10⁹, GMACs: 10⁹ multiply-adds{elsewhere}",
        box=None,
        padding=(0, 2 if wide else 1, 0, 0),
        pad_edge=False,
    )
    for column in ("model", "clip"):
        table.add_column(column, no_wrap=True)
    for column in ("params", "GMACs", "activations"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("published", "checkpoints") if wide else ():
        table.add_column(column)
    for name, cost in costs.items():
        spec = get_spec(name)
        others = (spec.published, _checkpoints(spec)) if wide else ()
        params = f"{cost.params / 1e6:.{0 if cost.params >= 1e8 else 2}f} M"
        figures = params, _narrow(cost.gmacs), _short(cost.activations)
        # In a narrow terminal length and size of the first input; --json has the others, and fields of flow.
        clip = _clip(spec) if wide else ", ".join(_clip(spec).partition(";")[0].split(", ")[:2])
        table.add_row(name, clip, *figures, *others)
    console.print(table)


def _print_layers(console: Console, name: str, cost: Cost, depth: int) -> None:
    spec, frames = get_spec(name), "×".join(map(str, cost.input))
    table = Table("layer", "kind", "output", title=f"{name} on a clip of {frames}")
    for column in ("calls", "parameters", "MMACs"):
        table.add_column(column, justify="right")
    for layer, level in shown(cost.layers, depth):
        inside = layer.path.removeprefix(f"{layer.parent}.") if layer.parent else layer.path
        table.add_row(
            f"{'  ' * level}{inside or name}",
            layer.kind,
            "×".join(map(str, layer.output[1:])),
            str(layer.calls) if layer.calls > 1 else "",
            f"{layer.params:,}" if layer.params else "",
            f"{layer.macs / 1e6:,.1f}" if layer.macs else "",
        )
    console.print(table)
    for title, text in (
        ("clip", _clip(spec)),
        ("total", f"{cost.params:,} parameters, {_gmacs(cost)} GMACs, {_short(cost.activations)} activations"),
        ("pixels", "; ".join(filter(None, (value.preparation for value in spec.inputs.values())))),
        ("published", spec.published),
        ("paper", spec.paper),
        *(("checkpoints", f"{origin.source}, {origin.address}, {origin.licence}") for origin in _origins(spec)),
    ):
        if text:
            console.print(f"{title}: {text}", highlight=False, soft_wrap=True)


def shown(layers: tuple[Layer, ...], depth: int) -> list[tuple[Layer, int]]:
    """Layers that ran or have parameters, at most `depth` modules deep (0: any depth), with their depths."""
    level: dict[str | None, int] = {None: -1}
    for layer in layers:
        level[layer.path] = level[layer.parent] + 1
    return [
        (layer, level[layer.path])
        for layer in layers
        if (layer.calls or layer.params) and (not depth or level[layer.path] <= depth)
    ]


def _record(name: str, cost: Cost, layers: bool) -> dict[str, Any]:
    record = {"name": name, **get_spec(name).to_dict(), **dataclasses.asdict(cost)}
    record["gmacs"] = cost.gmacs
    keys = ("source", "address", "licence")
    record["checkpoints"] = [{key: getattr(origin, key) for key in keys} for origin in _origins(get_spec(name))]
    if not layers:
        del record["layers"]
    return record


def _origins(spec: Spec) -> list[Origin]:
    """Origins of the checkpoints that a model takes: of its sources, and of the weights of installable packages."""
    packaged = (Origin(word, package.source, package.licence) for word, package in packages_of(spec.name).items())
    return [*(origin_of(source, spec.name) for source in spec.sources), *packaged]


def _checkpoints(spec: Spec) -> str:
    return ", ".join(origin.source for origin in _origins(spec))


def _clip(spec: Spec) -> str:
    """A clip as text, such as 16×4, 224²: 16 frames, every 4th, 224 pixels high and wide."""
    return "; ".join(value.brief for value in spec.inputs.values())


def _gmacs(cost: Cost) -> str:
    return f"{cost.gmacs:.1f}" if cost.gmacs >= 10 else f"{cost.gmacs:.3g}"


def _narrow(figure: float) -> str:
    """A figure in at most five characters up to 99999: 56911, 235.8, 4.09 or 0.072."""
    decimals = next(places for least, places in ((1000, 0), (10, 1), (1, 2), (0, 3)) if figure >= least)
    return f"{figure:.{decimals}f}"


def _short(count: int) -> str:
    """A count with three digits and a unit, such as 37.9 K, 306 K, 65.3 M or 333 G."""
    unit, size = next((pair for pair in (("G", 1e9), ("M", 1e6)) if count >= pair[1]), ("K", 1e3))
    value = count / size
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
