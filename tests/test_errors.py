"""What errors say of extras that are not installed: commands that work, and no name that somebody else could take."""

import ast
import tomllib
from pathlib import Path

from vidjax.errors import install

ROOT = Path(__file__).parents[1]
FILES = sorted([*(ROOT / "vidjax").rglob("*.py"), *(ROOT / "tests" / "benchmarks").rglob("*.py")])


def asked_for():
    """The argument of every call of `install`."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "install":
                yield node.args[0]


def test_every_extra_that_an_error_names_is_there():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = [argument.value for argument in asked_for() if isinstance(argument, ast.Constant)]
    assert {"tpu", "beam", "bench"} <= set(named) <= extras.keys()


def test_the_command_is_the_readmes():
    command, _, where = install("tpu").partition(" in ")
    assert f"`{command}`" in (ROOT / "README.md").read_text() and where == "vidjax's folder"


def test_no_package_called_vidjax_is_asked_of_an_index():
    texts = [*FILES, *ROOT.glob("*.md"), *(ROOT / "configs").rglob("*.md"), *(ROOT / "vidjax").rglob("*.md")]
    assert [str(path) for path in texts if "vidjax[" in path.read_text()] == []
