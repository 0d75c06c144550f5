"""`vidjax calibrate`, on the scores that evaluations leave."""

import json

import numpy as np
import pytest

from vidjax.__main__ import main
from vidjax.evaluation.metrics import join_views, softmax


def evaluated(folder, videos=300, **told):
    """An evaluation whose logits are three times too large."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((videos, 3))
    targets = np.array([rng.choice(3, p=p) for p in softmax(logits)])
    views = softmax(3 * logits)[:, None].repeat(2, axis=1)
    np.savez(
        folder / "scores.npz", scores=join_views(views, "mean"), view_scores=views, num_views=np.full(videos, 2),
        targets=targets, paths=np.arange(videos).astype(str), class_names=np.array(["a", "b", "c"]),
    )  # fmt: skip
    (folder / "eval.json").write_text(json.dumps({"step": 7, "views": {}} | told))


def test_a_run_that_is_too_sure(tmp_path, capsys):
    evaluated(tmp_path)
    assert main(["calibrate", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    stored = json.loads((tmp_path / "calibration.json").read_text())
    assert stored == {"temperature": found["temperature"], "step": 7, "num_videos": 300} and stored["temperature"] > 2
    assert found["held out"]["ece"] < 0.5 * found["as trained"]["ece"]
    assert found["calibrated"]["loss"] <= found["held out"]["loss"] < found["as trained"]["loss"]
    assert (tmp_path / "reliability.png").stat().st_size > 10_000
    assert main(["calibrate", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "held out" in out and f"stored in {tmp_path / 'calibration.json'}" in out


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "eval.json").unlink(), "eval.json is not there"),
        (lambda folder: evaluated(folder, videos=3), "3 evaluated videos are too few"),
        (lambda folder: (folder / "scores.npz").unlink(), "holds no scores of an evaluation"),
    ],
)
def test_what_is_missing_is_named(tmp_path, capsys, spoil, message):
    evaluated(tmp_path)
    spoil(tmp_path)
    assert main(["calibrate", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "calibration.json").exists()
