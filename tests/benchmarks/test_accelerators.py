"""The run that fills in `accelerators.md`: smaller batches where memory is short, and the form's own columns."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.benchmarks import accelerators
from tests.benchmarks.accelerators import HEADER, RECIPES, cells, line, main, measure

FORM = Path(accelerators.__file__).with_suffix(".md").read_text()
FOUND = {
    "batch_size": 16, "chips": 8, "clips_per_s": 400.0, "mfu": 0.5, "memory": {"total": 2**31},
    "seconds": {"step": 0.04, "host": 0.002, "compile": 61.0}, "plan": {"reason": "plan does not know cpu"},
}  # fmt: skip


@pytest.fixture
def runs(monkeypatch):
    """Batch sizes that were tried, on devices that hold up to 32 videos."""
    tried = []

    def run(command, **_):
        if "-c" in command:
            return subprocess.CompletedProcess(command, 0, "8\n")
        size = next(int(word.split("=")[1]) for word in command if word.startswith("--config.train.batch_size"))
        tried.append(size)
        if size > 32:
            return subprocess.CompletedProcess(command, 1, "", "…\nRESOURCE_EXHAUSTED: Out of memory\n")
        return subprocess.CompletedProcess(command, 0, json.dumps(FOUND | {"batch_size": size}))

    monkeypatch.setattr(subprocess, "run", run)
    return tried


def test_half_as_many_videos_where_memory_is_short(runs):
    assert measure("k400_x3d_s", 16, 8, [])["batch_size"] == 32 and runs == [128, 64, 32]
    assert measure("k400_x3d_s", 1, 64, []) == "RESOURCE_EXHAUSTED: Out of memory"


def test_other_failures_are_told_at_once(monkeypatch):
    done = subprocess.CompletedProcess([], 1, "", "Traceback\nconfig.mesh.data = 3 is no divisor\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert measure("k400_x3d_s", 16, 8, []) == "config.mesh.data = 3 is no divisor"


def test_rows_and_files_of_the_recipes(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["", "--out", str(tmp_path / "measured"), "--recipes", "k400_timesformer"])
    assert main() == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("| k400_timesformer | 4 | 40.0 | 2.00 | 400.0 | 50.0 % |")
    assert json.loads((tmp_path / "measured" / "k400_timesformer.json").read_text())["batch_size"] == 32


def test_cells_of_a_device_that_plan_knows():
    ratios = {"clips_per_s": 1.4, "clips_per_s_corrected": 0.9, "memory": 1.0}
    compared = {name: {"ratio": ratio} for name, ratio in ratios.items()} | {"mfu": {"measured": 0.25, "ratio": 1.4}}
    row = cells("x", FOUND | {"plan": {"compared": compared}})
    assert row == ["x", "2", "40.0", "2.00", "400.0", "50.0 %", "25.0 %", "2.00", "1.40", "0.90", "1.00", "61"]
    assert cells("x", FOUND)[-6:] == ["–", "2.00", "–", "–", "–", "61"] and len(row) == len(HEADER)


def test_the_form_has_these_rows_and_columns():
    """In a table for each of six devices."""
    assert FORM.count(line(HEADER)) == 6
    for recipe in RECIPES:
        assert (Path(__file__).parents[2] / "configs" / f"{recipe}.py").exists() and FORM.count(f"\n| {recipe} |") == 6
