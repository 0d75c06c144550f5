"""The result of a run is its best checkpoint's: in every file, after a restart, and when the run is started again."""

import dataclasses
import io
import json
import shutil
import signal

import numpy as np
import pytest
from rich.console import Console

from tests.training.test_loop import make_config
from vidjax.apps.evaluate import evaluate_checkpoint
from vidjax.training import loop
from vidjax.training.logs import read_metrics
from vidjax.training.loop import train
from vidjax.training.stopping import Interrupted

QUIET = Console(quiet=True)


def best_early(monkeypatch, before=0):
    """Evaluations claim to become worse, so that the first of all is the best; the list of those from now on."""
    original, made = loop.evaluate, []

    def evaluate(*args):
        outcome = original(*args)
        made.append(outcome)
        summary, measure = outcome.summary, next(iter(outcome.summary["video"]))
        better = {"video": summary["video"] | {measure: 1 / (1 + before + len(made))}}
        return dataclasses.replace(outcome, summary=summary | better)

    monkeypatch.setattr(loop, "evaluate", evaluate)
    return made


def scores(folder):
    with np.load(folder / "scores.npz") as arrays:
        return arrays["scores"]


def say(config, workdir):
    output = io.StringIO()
    return train(config, workdir, Console(file=output, width=200)), output.getvalue()


@pytest.fixture(scope="module")
def whole(halves, tmp_path_factory):
    """(config, work directory, number of evaluations, what was said) of a run that is best after update 2 of 6."""
    config = make_config(halves, ema_decay=0.9, eval_epochs=2, checkpoint_epochs=2, keep_last=1)
    workdir = tmp_path_factory.mktemp("result") / "run"
    with pytest.MonkeyPatch.context() as patch:
        made = best_early(patch)
        _, said = say(config, workdir)
    return config, workdir, len(made), said


@pytest.fixture
def again(whole, tmp_path, monkeypatch):
    """(config, a copy of that work directory, evaluations made from now on)."""
    return whole[0], shutil.copytree(whole[1], tmp_path / "run"), best_early(monkeypatch)


@pytest.mark.slow
def test_every_file_of_a_run_is_of_its_best_checkpoint(whole, tmp_path):
    config, workdir, evaluations, said = whole
    assert evaluations == 3  # at updates 2, 4 and 6, and not again
    found = json.loads((workdir / "eval.json").read_text())
    assert (found["step"], found["checkpoint"], found["video"]["top1"]) == (2, "best", 0.5)
    assert found["views"] == {"num_clips": 2, "num_crops": 1, "sampling": "multi_clip"}
    assert found["data"]["num_videos"] == 4 and found["data"]["source"] == f"evaluation part of {config.data.train}"
    evaluate_checkpoint(workdir, config, step=2, out=tmp_path / "two", console=QUIET)
    evaluate_checkpoint(workdir, config, step=6, out=tmp_path / "six", console=QUIET)
    np.testing.assert_allclose(scores(workdir), scores(tmp_path / "two"), atol=1e-6)
    assert np.abs(scores(workdir) - scores(tmp_path / "six")).max() > 1e-4
    assert (workdir / "video_scores.csv").read_text() == (tmp_path / "two" / "video_scores.csv").read_text()
    lines = said.splitlines()
    assert lines[-1].startswith("update 2, the best by video/top1; 2 clips × 1 crop; evaluation part of ")
    assert lines[-1].endswith(f"results in {workdir}") and "video top-1 50.0 %" in lines[-2]
    assert any(
        line.startswith("after the last update, 6: clip top-1") and "video top-1 25.0 %" in line for line in lines
    )


def test_a_line_about_an_evaluation_says_how_training_does(whole):
    lines = [line for line in whole[3].splitlines() if line.startswith("update ") and "/6" in line]
    assert len(lines) == 3
    logged_losses = [m["loss"] for m in read_metrics(whole[1] / "metrics.jsonl") if m["kind"] == "train"]
    for line, loss in zip(lines, logged_losses, strict=True):
        assert f"training loss {loss:.3f}  top-1 " in line and "video top-1" in line


def files(workdir):
    names = ("eval.json", "video_scores.csv", "scores.npz", "confusion.png", "learning_curve.png", "metrics.jsonl")
    return {name: ((workdir / name).stat().st_mtime_ns, (workdir / name).read_bytes()) for name in names}


def test_a_finished_run_started_again_does_nothing(again):
    config, workdir, made = again
    before = files(workdir)
    summary, said = say(config, workdir)
    assert not made and summary == json.loads((workdir / "eval.json").read_text()) and files(workdir) == before
    assert f"{workdir} is finished: all 6 updates are done" in said and f"--config.model.init_from={workdir}" in said
    assert said.splitlines()[-1].endswith(f"results in {workdir}")


@pytest.mark.parametrize("missing", [pytest.param("eval.json", marks=pytest.mark.slow), "scores.npz"])
def test_what_is_missing_of_a_finished_run_is_written_again(again, missing):
    config, workdir, made = again
    before = files(workdir)
    (workdir / missing).unlink()
    say(config, workdir)
    assert len(made) == 1 and json.loads((workdir / "eval.json").read_text())["step"] == 2
    after = files(workdir)
    assert after.keys() == before.keys()
    assert all(after[name][1] == before[name][1] for name in ("eval.json", "video_scores.csv", "metrics.jsonl"))


def test_a_best_checkpoint_that_cannot_be_read_gives_way_to_the_next(again, caplog):
    config, workdir, _ = again
    (workdir / "eval.json").unlink()
    arrays = max((p for p in (workdir / "checkpoints" / "2" / "model").rglob("*") if p.is_file()),
                 key=lambda p: p.stat().st_size)  # fmt: skip
    arrays.write_bytes(arrays.read_bytes()[:100])
    say(config, workdir)
    assert json.loads((workdir / "eval.json").read_text())["step"] == 6
    assert "checkpoints/2 is damaged and skipped" in caplog.text


@pytest.fixture
def _interrupts():
    """Ctrl-C as a terminal gives it: a shell starts what runs in the background with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupting(monkeypatch, method, when=lambda *_: True):
    original = getattr(loop._Run, method)

    def with_signal(self, *args):
        result = original(self, *args)
        if when(*args):
            signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(loop._Run, method, with_signal)


@pytest.mark.slow
@pytest.mark.usefixtures("_interrupts")
def test_ctrl_c_saves_the_state_and_the_same_command_goes_on(whole, tmp_path, monkeypatch):
    config = dataclasses.replace(whole[0], train=dataclasses.replace(whole[0].train, checkpoint_epochs=0, log_every=1))
    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="130") as stopped:
        best_early(patch)
        interrupting(patch, "_log", lambda state, done: done == 3)
        say(config, tmp_path / "run")
    assert stopped.value.message == "stopped by signal after update 3; the same command continues from there"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    best_early(monkeypatch, before=1)
    _, said = say(config, tmp_path / "run")
    assert "continuing from update 3 of 6" in said
    assert "evaluating the best checkpoint, of update 2, again" in said
    np.testing.assert_allclose(scores(tmp_path / "run"), scores(whole[1]), atol=1e-6)


@pytest.mark.usefixtures("_interrupts")
def test_ctrl_c_before_there_is_anything_to_save_ends_at_once(whole, tmp_path, monkeypatch):
    interrupting(monkeypatch, "_compile")
    with pytest.raises(KeyboardInterrupt, match="the same command starts from the beginning"):
        say(whole[0], tmp_path / "run")
