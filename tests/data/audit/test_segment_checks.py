"""Segments that cannot be: after the end of their video, without length, of classes that training does not have."""

from vidjax.data.audit.segment_checks import outside, training_labels, unknown_labels
from vidjax.data.listing.rows import Row
from vidjax.data.records import Labels, Segments


def row(*spans, split=""):
    return Row("a.mp4", "s.csv:2", Segments(spans), split)


def test_segments_after_the_end():
    found = outside(row((1.0, 2.0, "run"), (8.0, 120.0, "jump"), (9.0, 11.0, "run")), 10.0)
    assert found.startswith("2 segments end after the video, which lasts 10.00 s, such as 'jump' from 8 to 120 s")
    assert outside(row((1.0, 10.3, "run")), 10.0) == ""  # rounding
    assert outside(Row("a.mp4", "x", Labels(("run",))), 1.0) == ""


def test_segments_without_length():
    assert outside(row((2.0, 2.0, "run")), 10.0) == "1 segment does not last, such as 'run' from 2 to 2 s"


def test_labels_that_training_does_not_have():
    rows = [row((0.0, 1.0, "run"), split="train"), row((0.0, 1.0, "rum"), (1.0, 2.0, "run"), split="val")]
    assert training_labels(rows) == ["run"]
    assert unknown_labels(rows, ["run"]) == {rows[1]: "1 label that training does not have: rum"}
    assert training_labels([row((0.0, 1.0, "b")), row((0.0, 1.0, "a"))]) == ["a", "b"]
