"""`eval.py`: where an evaluation goes, so that none takes the place of another."""

import dataclasses
import json
import shutil

import pytest
from rich.console import Console

from tests.videos import write_halves
from vidjax.__main__ import main
from vidjax.apps.evaluate import evaluate_checkpoint
from vidjax.config import (
    ClipConfig,
    Config,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    with_settings,
)
from vidjax.errors import UserError
from vidjax.training.checkpoints import load_meta, steps
from vidjax.training.loop import train

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    config = Config(
        model=ModelConfig("frame_pool_tiny"),
        data=DataConfig(
            train=str(write_halves(folder / "videos")), clip=ClipConfig(num_frames=2, size=16, resize=(20,))
        ),
        optimizer=OptimizerConfig(learning_rate=1e-6),
        train=TrainConfig(batch_size=8, steps=2, eval_epochs=0.01, checkpoint_epochs=0.01),
        eval=EvalConfig(batch_size=8),
    )
    train(config, folder / "run", QUIET)
    return folder / "run"


@pytest.fixture
def workdir(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def evaluate(folder, step=None, out=None, **settings):
    config = load_meta(folder).config
    config = with_settings(config, {name.replace("__", "."): value for name, value in settings.items()})
    return evaluate_checkpoint(folder, config, step=step, out=out, console=QUIET)


@pytest.mark.slow
def test_the_same_settings_give_the_same_figures_in_the_same_place(workdir):
    before = (workdir / "eval.json").read_bytes(), (workdir / "config.json").read_bytes()
    (workdir / "scores.npz").unlink()
    evaluate(workdir)
    evaluate(workdir / "checkpoints" / "2", data__reading__num_threads=2)
    assert before == ((workdir / "eval.json").read_bytes(), (workdir / "config.json").read_bytes())
    assert (workdir / "scores.npz").exists() and not list(workdir.glob("eval_*"))


@pytest.mark.slow
def test_what_differs_goes_into_a_folder_of_its_own(workdir, capsys):
    before = (workdir / "eval.json").read_bytes()
    evaluate(workdir, eval__num_clips=4, eval__num_crops=3)
    evaluate(workdir, step=1)
    found = json.loads((workdir / "eval_4x3" / "eval.json").read_text())
    assert (found["num_views"], found["step"], found["checkpoint"]) == (12, 2, "best")
    assert json.loads((workdir / "eval_step1" / "eval.json").read_text())["checkpoint"] == "earlier"
    assert (workdir / "eval.json").read_bytes() == before
    runs = [str(workdir), str(workdir / "eval_4x3")]
    assert main(["compare", *runs, "--json"]) == 0
    labels = [run["label"] for run in json.loads(capsys.readouterr().out)["runs"]]
    assert sorted(labels) == ["frame_pool_tiny, 1×1 views", "frame_pool_tiny, 4×3 views"]


@pytest.mark.slow
def test_a_runs_own_result_is_never_written_over(workdir, tmp_path):
    before = (workdir / "eval.json").read_bytes()
    with pytest.raises(UserError, match=r"has a run and its own result, which this evaluation would replace"):
        evaluate(workdir, out=workdir, eval__num_clips=4)
    other = shutil.copytree(workdir, tmp_path / "other")
    with pytest.raises(UserError, match=r"--out=.*other: that folder has a run"):
        evaluate(workdir, out=other)
    assert (workdir / "eval.json").read_bytes() == before
    evaluate(workdir, out=tmp_path / "mine", eval__num_clips=4)
    assert json.loads((tmp_path / "mine" / "config.json").read_text())["eval"]["num_clips"] == 4


def test_clip_settings_of_the_evaluation_are_its_own(workdir):
    assert evaluate(workdir, data__clip__num_frames=4)["spec"] == {"num_frames": 4, "size": 16}
    assert (workdir / "eval_num_frames-4" / "eval.json").exists()


@pytest.mark.slow
def test_table_and_last_line_say_what_was_evaluated_and_where_it_lies(workdir, capsys):
    config = dataclasses.replace(load_meta(workdir).config, eval=EvalConfig(num_clips=3))
    evaluate_checkpoint(workdir, config, console=Console(width=300))
    lines = capsys.readouterr().out.splitlines()
    told = "update 2, the best by video/top1; 3 clips × 1 crop; evaluation part of videos"
    assert steps(workdir) == [1, 2] and told in lines[0] and lines[1] == told
    assert lines[-1] == f"{told}; results in {workdir / 'eval_3x1'}"
