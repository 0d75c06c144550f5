"""Tests that compare with another library skip where it is missing, but never in CI."""

import ast
from pathlib import Path

import pytest

from tests.peers import needs

TESTS = Path(__file__).parent
PEERS = {"torch", "torchvision", "transformers", "sklearn", "apache_beam"}


def test_a_peer_that_is_missing_skips_and_says_what_to_install(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"needs a_missing_peer: pip install -e '\.\[test\]'"):
        needs("a_missing_peer")


def test_ci_has_every_peer(monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(ModuleNotFoundError, match="a_missing_peer"):
        needs("a_missing_peer")


def test_no_test_imports_a_peer_by_itself():
    """It would fail with the extra `dev` alone, or skip in CI without anybody knowing."""
    found = []
    for path in sorted(TESTS.rglob("*.py")):
        if path.is_relative_to(TESTS / "benchmarks") or path.is_relative_to(TESTS / "data" / "golden"):
            continue  # programs, not tests
        tree = ast.parse(path.read_text())
        for node in tree.body:
            roots = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            roots += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{path}:{node.lineno}" for root in roots if root.split(".")[0] in PEERS]
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "importorskip":
                found.append(f"{path}:{node.lineno}")
    assert found == []
