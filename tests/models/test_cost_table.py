"""The stored costs are those that counting gives."""

import json
from importlib.resources import files

import pytest

import vidjax
from vidjax.models import cost_table
from vidjax.models.cost import model_cost
from vidjax.models.registry import get_variant

QUICK = vidjax.list_models("*_tiny")[::4]
# Counting a large network takes seconds: the smallest and the largest that a constructor makes stand for the others.
_COSTS = {name: cost_table.cost_of(name).macs for name in vidjax.list_models() if name not in QUICK}
_KINDS = {get_variant(name).build for name in _COSTS}
_BY_KIND = [sorted((n for n in _COSTS if get_variant(n).build == kind), key=_COSTS.__getitem__) for kind in _KINDS]
SMALLEST = sorted({names[0] for names in _BY_KIND})
LARGEST = sorted({names[-1] for names in _BY_KIND} - set(SMALLEST))
AGAIN = "count anew: python -m vidjax.models.cost_table"


def test_every_model_has_a_row_and_no_other():
    stored = json.loads((files("vidjax.models") / "costs.json").read_text())
    assert list(stored) == vidjax.list_models(), AGAIN


@pytest.mark.parametrize(
    "name",
    [
        *QUICK,
        *(pytest.param(name, marks=pytest.mark.slow) for name in SMALLEST[::2]),
        *(pytest.param(name, marks=pytest.mark.exhaustive) for name in SMALLEST[1::2]),
        *(pytest.param(name, marks=pytest.mark.exhaustive) for name in LARGEST),
    ],
)
def test_the_stored_cost_is_the_counted_one(name):
    counted = model_cost(name)
    assert cost_table.cost_of(name) == cost_table.without_layers(counted), AGAIN
    assert counted.layers and not cost_table.cost_of(name).layers


def test_a_model_that_has_come_since_is_counted(monkeypatch):
    monkeypatch.setattr(cost_table, "_stored", dict)
    assert cost_table.cost_of("conv3d_tiny") == cost_table.without_layers(model_cost("conv3d_tiny"))


def test_counting_anew_writes_the_file_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(cost_table, "list_models", lambda: ["conv3d_tiny", "x3d_xs"])
    cost_table.write(tmp_path / "costs.json")
    rows = (files("vidjax.models") / "costs.json").read_text().splitlines()
    wanted = [row.removesuffix(",") for row in rows if '"conv3d_tiny"' in row or '"x3d_xs"' in row]
    assert [row.removesuffix(",") for row in (tmp_path / "costs.json").read_text().splitlines()[1:-1]] == wanted
