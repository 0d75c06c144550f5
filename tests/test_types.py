"""The types: what pyrefly finds with its default preset, stricter than that of `pyproject.toml`.

The baseline holds the errors that are known; where it is exact, none is hidden. Those that are gone leave it with
`pyrefly check --preset default --baseline .pyrefly-baseline.json --prune-baseline`.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers import needs

ROOT = Path(__file__).parents[1]
BASELINE = ROOT / ".pyrefly-baseline.json"
CLEAN = ("vidjax/models/", "vidjax/tasks/", "vidjax/evaluation/")  # no error is known there, and none is let in


def errors_of(*arguments):
    """The errors that pyrefly finds with the default preset, a line each."""
    command = [sys.executable, "-m", "pyrefly", "check", "--preset=default", "--min-severity=error", *arguments]
    command += ["--output-format=min-text", f"--python-interpreter-path={sys.executable}", f"--search-path={ROOT}"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert found.returncode in (0, 1), found.stderr
    return [line for line in found.stdout.splitlines() if "ERROR" in line]


def test_no_error_of_types_is_new():
    needs("pyrefly")
    assert errors_of(f"--baseline={BASELINE}") == []


@pytest.mark.parametrize("folder", CLEAN)
def test_the_baseline_excuses_nothing_in(folder):
    known = json.loads(BASELINE.read_text())["errors"]
    assert [error for error in known if error["path"].startswith(folder)] == []


def test_an_error_of_types_is_found(tmp_path):
    """Or the first test would pass where pyrefly sees nothing of the package."""
    needs("pyrefly")
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from vidjax.nn.grids import triple_of\n\nname: str = triple_of((1, 2, 3))\n")
    (found,) = errors_of(str(wrong))
    assert "`tuple[int, int, int]` is not assignable to `str`" in found
