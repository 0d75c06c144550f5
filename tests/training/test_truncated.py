"""A folder of which a tenth of the files is truncated at random: training ends, and exactly those are listed."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from vidjax.__main__ import main
from vidjax.config import (
    ClipConfig,
    Config,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    ReadingConfig,
    TrainConfig,
)
from vidjax.data.listing.load import load_sets
from vidjax.data.synthetic import write_motion
from vidjax.training.logs import read_metrics
from vidjax.training.loop import train


@pytest.fixture(scope="module")
def torn(tmp_path_factory):
    """The folder, and the names of the files cut: 2 of the 20 to train on, 1 of the 10 for evaluation."""
    folder = write_motion(tmp_path_factory.mktemp("torn"), num_train=20, num_eval=10, num_frames=8, size=32)
    rng, cut = np.random.default_rng(0), {}
    for split in ("train", "val"):
        files = sorted((folder / split).iterdir())
        cut[split] = {files[i] for i in rng.choice(len(files), len(files) // 10, replace=False)}
        for path in cut[split]:
            data = path.read_bytes()
            path.write_bytes(data[: int(len(data) * rng.random())])
    return folder, {split: {str(path) for path in paths} for split, paths in cut.items()}


def config(folder, workers=0, quarantine=""):
    return Config(
        model=ModelConfig(name="frame_pool_tiny"),
        data=DataConfig(
            train=str(folder / "train.csv"),
            eval=str(folder / "val.csv"),
            clip=ClipConfig(num_frames=2, size=16, resize=(20,)),
            reading=ReadingConfig(num_workers=workers),
            quarantine=quarantine,
        ),
        optimizer=OptimizerConfig(name="adamw"),
        train=TrainConfig(batch_size=8, epochs=2, eval_epochs=0, checkpoint_epochs=0),
        eval=EvalConfig(batch_size=8),
    )


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_training_ends_and_lists_exactly_the_truncated_files(torn, tmp_path, workers):
    folder, cut = torn
    output = io.StringIO()
    summary = train(config(folder, workers), tmp_path, Console(file=output, width=200))
    listed = read_metrics(tmp_path / "bad_records.jsonl")
    assert {line["path"] for line in listed} == cut["train"] and len(listed) == 2
    assert all(line["reason"] and line["replaced"] >= 2 for line in listed)
    report = json.loads((tmp_path / "eval.json").read_text())
    assert {line["path"] for line in report["unreadable"]} == cut["val"] and len(report["unreadable"]) == 1
    assert report["num_videos"] == 9 and report["coverage"] == summary["coverage"] == 0.9
    text = output.getvalue()
    assert "2 unreadable training videos were replaced by others" in text
    batches = {0: 5, 2: 2 * (4 + 4) + 1}[workers]
    assert f"at most {batches} batches of 0.0 MB in memory" in text and "at most 2 on the devices" in text


@pytest.fixture
def report(torn, tmp_path, monkeypatch):
    """The report of `check` on the folder, in the current folder."""
    folder, _ = torn
    monkeypatch.chdir(tmp_path)
    assert main(["check", str(folder / "train.csv"), "--eval", str(folder / "val.csv"), "--workers", "1"]) == 1
    return "check.csv"


def test_a_report_keeps_exactly_those_files_out_of_training_and_marks_them_for_evaluation(torn, report):
    folder, cut = torn
    left, held_out = load_sets(config(folder, quarantine=report).data)
    assert {str(p) for p in (folder / "train").iterdir()} - {r.path for r in left.records} == cut["train"]
    assert len(held_out) == 10 and {held_out.records[i].path for i in held_out.quarantined} == cut["val"]


@pytest.mark.slow
def test_a_run_without_those_files_has_no_bad_ones_and_the_same_coverage(torn, report, tmp_path):
    folder, cut = torn
    summary = train(config(folder, quarantine=report), tmp_path / "run", Console(quiet=True))
    assert not (tmp_path / "run" / "bad_records.jsonl").exists()
    assert summary["coverage"] == 0.9 and {line["path"] for line in summary["unreadable"]} == cut["val"]
    assert summary["unreadable"][0]["reason"].startswith("in quarantine (unreadable: ")
