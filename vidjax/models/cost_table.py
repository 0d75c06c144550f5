"""Costs of the named models, counted once and stored with the package: `costs.json`.

`python -m vidjax.models.cost_table` recounts them in a minute; a test compares them with the computation.
"""

import importlib.resources
import json
from functools import cache
from pathlib import Path
from typing import Any

from vidjax.models.cost import Cost, model_cost
from vidjax.models.registry import list_models

FILE = "costs.json"


def cost_of(name: str) -> Cost:
    """Cost of a named model on the clip of its spec, without its layers: stored, or counted for a newer model.

    Raises:
      UnknownModelError: if no model has that name; the message names similar ones.
    """
    stored = _stored().get(name)
    if stored is None:
        return without_layers(model_cost(name))
    return Cost(tuple(stored["input"]), stored["params"], stored["macs"], stored["activations"], ())


def without_layers(cost: Cost) -> Cost:
    """Copy of a cost without its layers, as stored."""
    return Cost(cost.input, cost.params, cost.macs, cost.activations, ())


@cache
def _stored() -> dict[str, Any]:
    return json.loads((importlib.resources.files("vidjax.models") / FILE).read_text(encoding="utf-8"))


def write(path: Path) -> None:
    """Compute the costs of all models and write them, one line each."""
    lines = []
    for name in list_models():
        cost = model_cost(name)
        row = {"input": cost.input, "params": cost.params, "macs": cost.macs, "activations": cost.activations}
        lines.append(f"  {json.dumps(name)}: {json.dumps(row)}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).with_name(FILE))
