"""Temperatures and calibration errors, against their definitions."""

import json

import chex
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidjax.errors import UserError
from vidjax.evaluation import calibration
from vidjax.evaluation.metrics import sigmoid, softmax

RNG = np.random.default_rng(0)
LOGITS = 3 * RNG.standard_normal((400, 5))


@given(st.floats(0.1, 10))
def test_a_temperature_divides_the_logits(temperature):
    for squash, several in ((softmax, False), (sigmoid, True)):
        found = calibration.tempered(squash(LOGITS), temperature, several)
        chex.assert_trees_all_close(found, squash(LOGITS / temperature), atol=1e-7)


def test_certain_probabilities_stay_finite():
    for several in (False, True):
        found = calibration.tempered(np.array([[1.0, 0.0], [0.5, 0.5]]), 2.0, several)
        assert np.isfinite(found).all() and found[0, 0] > 0.99 and found[0, 1] < 0.01


def test_the_error_is_that_of_the_definition():
    scores, targets = softmax(LOGITS), RNG.integers(0, 5, 400)
    found = calibration.reliability(scores, targets, bins=10)
    expected = 0.0
    for low in np.arange(10) / 10:
        best = scores.max(axis=1)
        inside = (best > low) & (best <= low + 0.1)
        if inside.any():
            right = (scores.argmax(axis=1) == targets)[inside].mean()
            expected += inside.mean() * abs(right - best[inside].mean())
    assert found.error == pytest.approx(expected) and found.count.sum() == 400


def test_several_labels_count_every_known_decision():
    scores = np.array([[0.95, 0.15], [0.95, 0.15]])
    targets = np.array([[1, 0], [0, -1]])
    found = calibration.reliability(scores, targets, bins=10)
    assert found.count.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert found.error == pytest.approx((0.15 + 2 * 0.45) / 3)
    assert calibration.log_loss(scores, targets) == pytest.approx(-np.log([0.95, 0.85, 0.05]).mean())
    assert np.isnan(calibration.reliability(scores[:0], targets[:0]).error)


@pytest.mark.parametrize("true", [0.5, 3.0])
def test_the_temperature_with_which_labels_were_drawn_is_found(true):
    logits = 4 * RNG.standard_normal((6000, 4))
    drawn = np.array([RNG.choice(4, p=p) for p in softmax(logits / true)])
    found = calibration.fit_temperature(lambda t: softmax(logits / t), drawn)
    assert found == pytest.approx(true, rel=0.06)
    before, after = (calibration.reliability(softmax(logits / t), drawn).error for t in (1.0, found))
    assert after < 0.02 < before


def test_it_is_used_for_the_checkpoint_it_is_of(tmp_path, caplog):
    assert calibration.stored_temperature(tmp_path, 3) == 1.0
    calibration.write_calibration(tmp_path, calibration.Calibration(1.5, 3, 40))
    assert calibration.stored_temperature(tmp_path, 3) == 1.5 and not caplog.records
    assert calibration.stored_temperature(tmp_path, 4) == 1.0
    assert "is of update 3 and not used for update 4" in caplog.text
    for wrong in ("{", json.dumps({"temperature": 0, "step": 1, "num_videos": 1}), json.dumps({"t": 1})):
        (tmp_path / "calibration.json").write_text(wrong)
        with pytest.raises(UserError, match=r"calibration\.json is damaged"):
            calibration.read_calibration(tmp_path)
