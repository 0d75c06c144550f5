"""Pre-training without labels as a whole run."""

import dataclasses
import io
import json
import shutil

import chex
import jax
import numpy as np
import pytest
from rich.console import Console

from vidjax.apps.evaluate import evaluate_checkpoint
from vidjax.config import ConfigError, EvalConfig, ModelConfig, OptimizerConfig
from vidjax.evaluation.engine import levels
from vidjax.models.registry import create_model
from vidjax.models.state import split
from vidjax.predictor import Predictor
from vidjax.training import loop
from vidjax.training.checkpoints import CheckpointFolderError, load_model
from vidjax.training.init_from import start_from
from vidjax.training.logs import read_metrics
from vidjax.training.loop import train

from .small import SMALL, pretrain_config

QUIET = Console(quiet=True)

pytestmark = pytest.mark.slow  # whole runs


@pytest.fixture(scope="module")
def pretrained(halves, tmp_path_factory):
    """A run on the bare files of the two classes."""
    folder = tmp_path_factory.mktemp("pretraining")
    paths = sorted(halves.rglob("*.mp4"))
    (folder / "bare.csv").write_text("path\n" + "".join(f"{path}\n" for path in paths))
    config = pretrain_config(folder / "bare.csv")
    return config, folder / "run", train(config, folder / "run", QUIET)


def arrays(workdir, step=None):
    model, _, _ = load_model(workdir, step=step)
    return jax.device_get(split(model)[1])


def test_pre_training_needs_no_labels_and_leaves_its_files(pretrained):
    _, workdir, summary = pretrained
    report = json.loads((workdir / "eval.json").read_text())
    assert set(report) == {
        "reconstruction", "coverage", "num_videos", "num_views", "unreadable", "model", "step", "checkpoint", "views",
        "best_metric", "spec", "data", "levels", "evaluators", "files",
    }  # fmt: skip
    assert report["reconstruction"] == summary["reconstruction"] and report["num_views"] == 2
    assert levels(report) == ["reconstruction"] and report["evaluators"] == ["pixels", "pictures"]
    assert report["files"] == ["reconstructions.png"]
    loss, explained = report["reconstruction"]["loss"], report["reconstruction"]["explained"]
    # Half of these pictures is plain: the variance of the targets is about a half.
    assert 0.3 < loss / (1 - explained) < 0.7
    for name in ("reconstructions.png", "learning_curve.png"):
        assert (workdir / name).read_bytes()[:4] == b"\x89PNG"
    lines = [line for line in read_metrics(workdir / "metrics.jsonl") if line["kind"] == "train"]
    assert [line["step"] for line in lines] == [2, 4] and "accuracy" not in lines[0] and lines[0]["loss"] > 0
    _, meta, step = load_model(workdir)
    assert step == 4 and meta.spec.task == "reconstruct" and meta.config.train.best_metric.startswith("reconstruct")


def test_a_finished_pre_training_is_left_alone_but_for_what_is_missing(pretrained, tmp_path):
    config, whole, _ = pretrained
    workdir = shutil.copytree(whole, tmp_path / "run")
    for name in ("reconstructions.png", "eval.json"):
        content = (workdir / name).read_bytes()
        (workdir / name).unlink()
        train(config, workdir, QUIET)
        assert (workdir / name).read_bytes() == content
    before = (workdir / "eval.json").stat().st_mtime_ns
    train(config, workdir, QUIET)
    assert (workdir / "eval.json").stat().st_mtime_ns == before
    assert (workdir / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_stopped_and_continued_pre_training_is_bit_identical(pretrained, tmp_path):
    config, whole, _ = pretrained
    workdir = tmp_path / "broken"
    shutil.copytree(whole, workdir)
    steps = sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    assert len(steps) == 2  # as after a kill that came before the last checkpoint
    shutil.rmtree(workdir / "checkpoints" / str(steps[-1]))
    train(config, workdir, QUIET)
    chex.assert_trees_all_equal(arrays(whole, 4), arrays(workdir, 4))


def test_evaluation_hides_the_same_tubes_whatever_the_batch(pretrained, tmp_path):
    config, workdir, summary = pretrained
    other = dataclasses.replace(config, eval=EvalConfig(num_clips=2, batch_size=16))
    again = evaluate_checkpoint(workdir, other, out=tmp_path, console=QUIET)
    assert again["reconstruction"]["loss"] == pytest.approx(summary["reconstruction"]["loss"], rel=1e-5)
    assert (tmp_path / "reconstructions.png").exists()
    with pytest.raises(CheckpointFolderError, match=r"is trained to reconstruct.*init_from"):
        Predictor(workdir).predict([])


def test_a_classifier_starts_from_a_pre_training_run(pretrained, halves, tmp_path, caplog):
    _, workdir, _ = pretrained
    config = pretrain_config(halves, ema_decay=0.0, steps=1)
    config.model = ModelConfig(name="videomae_tiny", kwargs=SMALL, init_from=str(workdir))
    config.optimizer = OptimizerConfig(name="sgd", learning_rate=1e-9)  # stands still
    train(config, tmp_path / "fine", QUIET)
    before, after = arrays(workdir), arrays(tmp_path / "fine")
    shared = [path for path in after if path.startswith(("blocks.", "patch_embed."))]
    assert len(shared) == len(after) - 4
    chex.assert_trees_all_close({p: after[p] for p in shared}, {p: before[p] for p in shared}, atol=1e-6)
    assert after["head.kernel"].shape == (16, 2) and np.abs(after["head.kernel"]).max() < 1e-3
    assert "left out, having no place there" in caplog.text and "decoder.head.kernel" in caplog.text
    assert "newly initialised: fc_norm.bias, fc_norm.scale, head.bias, head.kernel" in caplog.text


def test_other_positions_than_those_it_learned_with_are_refused(pretrained):
    _, workdir, _ = pretrained
    model = create_model("videomae_tiny", num_classes=2, positions="axes", **SMALL)
    with pytest.raises(ConfigError, match=r"positions = 'index', this network has 'axes'; give .*\.positions=index"):
        start_from(model, str(workdir), "videomae_tiny")


@pytest.fixture
def watched(monkeypatch):
    """Which evaluators each evaluation of a run has, and what their figures are said to be, of the first on."""
    seen, original = [], loop.evaluate

    def evaluate(forwards, evaluators, *args):
        outcome = original(forwards, evaluators, *args)
        seen.append(list(evaluators))
        figures = {"loss": 1.0, "explained": evaluate.explained.pop(0)}
        return dataclasses.replace(outcome, summary=outcome.summary | {"reconstruction": figures})

    evaluate.explained = []
    monkeypatch.setattr(loop, "evaluate", evaluate)
    return seen, evaluate.explained


AGAIN = [0.1, 0.2, 0.9, 0.4, 0.9], 3, True


@pytest.mark.parametrize(
    ("explained", "best", "again"),
    [
        ([0.1, 0.9, 0.3, 0.4], 2, False),
        ([0.1, 0.2, 0.3, 0.4], 4, False),
        AGAIN,
    ],
)
def test_an_evaluator_with_a_cadence_runs_at_every_so_many_and_at_the_last(
    pretrained, tmp_path, watched, explained, best, again
):
    seen, figures = watched
    figures += explained
    config = dataclasses.replace(pretrained[0])
    config.train = dataclasses.replace(config.train, eval_epochs=0.01, checkpoint_epochs=0, ema_decay=0.0)
    config.eval = dataclasses.replace(config.eval, every=("pictures=2",))
    output = io.StringIO()
    summary = train(config, tmp_path / "run", Console(file=output, width=200))
    both, one = ["pixels", "pictures"], ["pixels"]
    assert seen == [one, both, one, both] + again * [both]
    # The result has all of them, whatever was due when its checkpoint was evaluated.
    assert ("evaluating the best checkpoint, of update 3, again" in output.getvalue()) == again
    assert summary["step"] == best and summary["evaluators"] == both and not figures
    assert (tmp_path / "run" / "reconstructions.png").exists()


def test_a_cadence_of_what_is_no_evaluator_is_refused(pretrained, tmp_path):
    config = dataclasses.replace(pretrained[0], eval=EvalConfig(every=("pixels=2",)))
    with pytest.raises(ConfigError, match=r"config\.eval\.every: 'pixels=2' must be NAME=N.*: pictures"):
        train(config, tmp_path / "run", QUIET)


def test_another_cadence_does_not_make_another_run(pretrained, tmp_path):
    config, whole, summary = pretrained
    workdir = shutil.copytree(whole, tmp_path / "run")
    again = train(
        dataclasses.replace(config, eval=dataclasses.replace(config.eval, every=("pictures=3",))), workdir, QUIET
    )
    assert again["reconstruction"] == summary["reconstruction"] and not list(workdir.glob("eval_*"))
