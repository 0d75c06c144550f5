"""What counts as the same answer."""

import numpy as np
import pytest

from vidjax.errors import UserError
from vidjax.export.parity import need_parity, parity, relative_error

LOGITS = np.array([[1.0, -4.0], [2.0, 0.0]])


def test_the_error_is_relative_to_the_largest_value_of_each_output():
    wanted = {"a": LOGITS, "b": np.array([100.0])}
    assert relative_error(wanted, wanted) == 0
    assert relative_error({**wanted, "a": LOGITS + [0, 0.04]}, wanted) == pytest.approx(0.01)
    assert relative_error({**wanted, "b": np.array([101.0])}, wanted) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("found", "wanted", "error"),
    [
        (np.zeros(2), np.zeros(2), 0),
        (np.full(2, 1e-3), np.zeros(2), 1e-3),
        (np.array([-np.inf, 1.0]), np.array([-np.inf, 1.0]), 0),
        (np.array([-np.inf, 1.0]), np.array([-np.inf, 2.0]), 0.5),
        (np.array([0.0, 1.0]), np.array([-np.inf, 1.0]), np.inf),
        (np.array([np.nan, 1.0]), np.array([0.0, 1.0]), np.inf),
        (np.ones(2), np.ones(3), np.inf),
        (np.array([True, False]), np.array([True, True]), 1),
    ],
)
def test_other_values(found, wanted, error):
    assert relative_error({"a": found}, {"a": wanted}) == pytest.approx(error)


def test_other_names_are_no_answer():
    assert relative_error({"b": LOGITS}, {"a": LOGITS}) == np.inf


def test_clips_are_tried_alone_and_together():
    """The reference computes them once."""
    tried, computed = [], []

    def run(clips):
        tried.append(len(clips["video"]))
        return {"y": clips["video"] * (1 if len(clips["video"]) > 1 else 1.5)}

    def reference(clips):
        computed.append(len(clips["video"]))
        return {"y": clips["video"]}

    errors = parity(run, reference, {"video": np.ones(8)})
    assert (tried, computed) == ([1, 3, 8], [8]) and errors == {"1": 0.5, "3": 0, "8": 0}
    with pytest.raises(UserError, match=r"relative error 5\.0e-01, 0\.0e\+00, 0\.0e\+00 for 1, 3, 8 clips"):
        need_parity(errors, "runs/a")
    need_parity({"1": 1e-4}, "runs/a")
