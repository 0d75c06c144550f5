"""The file of figures, and how they are written."""

import json

from vidjax.evaluation.summary_file import percent, write_summary


def test_not_a_number_becomes_null(tmp_path):
    write_summary(tmp_path, {"a": float("nan"), "b": [1.0, (float("inf"),)], "c": {"ü": 2}})
    assert json.loads((tmp_path / "eval.json").read_text()) == {"a": None, "b": [1.0, [None]], "c": {"ü": 2}}
    assert [path.name for path in tmp_path.iterdir()] == ["eval.json"]


def test_percentages():
    assert [percent(0.12345), percent(0.12345, 2), percent(None), percent(float("nan"))] == [
        "12.3 %", "12.35 %", "n/a", "n/a",
    ]  # fmt: skip
