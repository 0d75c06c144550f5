"""Work directories and converted checkpoints of earlier versions: they load, evaluate, predict and go on.

`tests/data/earlier/COMMIT.zip` was written at that commit: `classified`, a run of 4 updates with checkpoints of the 2nd
and the 4th, `converted`, a model in a folder of its own, and `logits.json`, what they answered there.
"""

import contextlib
import json
import shutil
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from vidjax import Predictor, load_model
from vidjax.apps.evaluate import evaluate_checkpoint
from vidjax.data.synthetic import write_motion
from vidjax.training.checkpoints import load_meta
from vidjax.training.loop import train

ARCHIVES = sorted((Path(__file__).parents[1] / "data" / "earlier").glob("*.zip"))
CLIP = np.linspace(-1, 1, 4 * 16 * 16 * 3, dtype=np.float32).reshape(1, 4, 16, 16, 3)


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.stem)
def folder(request, tmp_path):
    """The current directory, with what the archive holds and the videos of the run."""
    zipfile.ZipFile(request.param).extractall(tmp_path)
    with contextlib.chdir(tmp_path):
        write_motion("data", num_train=12, num_eval=6, num_frames=10, size=32)
        yield tmp_path


def test_there_are_archives():
    assert [path.stem for path in ARCHIVES] == ["9cbb8f1", "aa698fc"]


def test_checkpoints_answer_as_they_did(folder):
    logits = json.loads(Path("logits.json").read_text())
    for name, expected in logits.items():
        where, _, step = name.partition("/")
        model, meta, _ = load_model(where, step=int(step) if step else None)
        np.testing.assert_allclose(model(jnp.asarray(CLIP))[0], expected, rtol=1e-5, atol=1e-6)
        assert meta.spec.task == "classify" and not meta.labels.several
    assert load_meta("converted").labels.names == ("a", "b", "c")
    prediction = Predictor("classified")("data/val/0000.mp4")
    assert len(prediction.scores) == 6 and prediction.scores.sum() == pytest.approx(1)


@pytest.mark.slow
def test_runs_are_evaluated(folder):
    config = load_meta("classified").config
    assert config.task.classify.mixup == 0.2 and config.data.clip.size == 16
    summary = evaluate_checkpoint("classified", config, console=Console(quiet=True))
    before = json.loads(Path("classified/eval.json").read_text())
    assert summary["num_videos"] == 6 and set(summary["video"]) == {"top1", "top5"} == set(before["video"])


@pytest.mark.slow
def test_runs_go_on_as_if_nothing_had_happened(folder):
    shutil.rmtree("classified/checkpoints/4")
    Path("classified/eval.json").unlink()
    train(load_meta("classified").config, "classified", Console(quiet=True))
    model, _, step = load_model("classified", step=4)
    expected = json.loads(Path("logits.json").read_text())["classified/4"]
    np.testing.assert_allclose(model(jnp.asarray(CLIP))[0], expected, rtol=1e-4, atol=1e-5)
    assert step == 4
