"""The benchmark of scorers, in small: both ways agree, and every line is printed."""

import sys

from tests.benchmarks import scorers


def test_both_ways_agree(monkeypatch, capsys):
    sizes = ["--videos", "30", "--predictions", "20", "--classes", "4", "--measured", "4"]
    monkeypatch.setattr(sys, "argv", ["scorers", *sizes])
    scorers.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("30 videos") and lines[1].startswith("vidjax: ") and lines[2].endswith(" x")
