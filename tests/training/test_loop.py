"""A whole run in this process: files it leaves, resuming, divergence, bad videos, wrong settings."""

import dataclasses
import io
import json
import shutil

import chex
import jax
import numpy as np
import pytest
from rich.console import Console

from vidjax.config import (
    ClassifyConfig,
    ClipConfig,
    Config,
    ConfigError,
    DataConfig,
    EvalConfig,
    MeshConfig,
    ModelConfig,
    OptimizerConfig,
    ReadingConfig,
    TaskConfig,
    TrainConfig,
)
from vidjax.models.state import split
from vidjax.training.checkpoints import CheckpointFolderError, load_model
from vidjax.training.logs import read_metrics
from vidjax.training.loop import dry_run, train
from vidjax.training.stopping import DivergedError

QUIET = Console(quiet=True)
TIMINGS = ("clips_per_second", "data_wait")


def make_config(data, classify=None, **train_settings):
    return Config(
        model=ModelConfig(name="frame_pool_tiny"),
        data=DataConfig(train=str(data), eval_share=0.3, clip=ClipConfig(num_frames=2, size=16, resize=(20,))),
        task=TaskConfig(classify=classify or ClassifyConfig()),
        optimizer=OptimizerConfig(name="adamw", learning_rate=0.01),
        train=TrainConfig(**{"batch_size": 8, "steps": 6, "log_every": 2, "eval_epochs": 2, **train_settings}),
        eval=EvalConfig(num_clips=2, batch_size=8),
    )


def label_twice(halves, folder):
    """An annotation file that gives every video of `halves` two labels, which are float32 in a batch."""
    lines = [f"{side}/{p.name},{side}|{'even' if i % 2 else 'odd'}" for side in ("left", "right")
             for i, p in enumerate(sorted((halves / side).iterdir()))]  # fmt: skip
    annotations = folder / "train.csv"
    annotations.write_text("\n".join(["path,label", *lines]) + "\n")
    return annotations


def arrays(workdir, step=None):
    model, _, _ = load_model(workdir, step=step)
    _, params, stats = split(model)
    return jax.device_get(params | stats)


def logged(workdir):
    return [{k: v for k, v in line.items() if k not in TIMINGS} for line in read_metrics(workdir / "metrics.jsonl")]


@pytest.fixture(scope="module")
def finished(halves, tmp_path_factory):
    """A run with EMA, accumulation, clipping, smoothing and dropout, to its end."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    config = make_config(halves, ClassifyConfig(label_smoothing=0.1), ema_decay=0.9, accumulate=1, checkpoint_epochs=2)
    config.model.dropout = 0.3
    config.optimizer.clip_norm = 1.0
    summary = train(config, workdir, QUIET)
    return config, workdir, summary


def test_run_leaves_its_files(finished):
    _, workdir, summary = finished
    for name in ("config.json", "metrics.jsonl", "eval.json", "confusion.png", "learning_curve.png"):
        assert (workdir / name).stat().st_size > 0, name
    assert any((workdir / "tensorboard").iterdir())
    report = json.loads((workdir / "eval.json").read_text())
    assert set(report) == {
        "clip", "video", "coverage", "num_videos", "num_views", "per_class", "unreadable", "model", "step",
        "checkpoint", "best_metric", "views", "spec", "data", "levels", "evaluators", "files",
    }  # fmt: skip
    assert set(report["clip"]) == set(report["video"]) == {"top1"}, "of 2 classes"
    assert report["coverage"] == 1.0 and report["num_views"] == 2 and report["unreadable"] == []
    assert report["num_videos"] == sum(c["num_videos"] for c in report["per_class"].values()) == 4
    assert report["video"] == summary["video"] and report["levels"] == ["clip", "video"]
    assert report["evaluators"] == ["classes"]
    assert report["files"] == ["video_scores.csv", "scores.npz", "confusion.png"]
    assert [m["step"] for m in logged(workdir) if m["kind"] == "train"] == [2, 4, 6]


@pytest.mark.slow
def test_checkpoint_is_complete_in_itself(finished, tmp_path):
    config, workdir, _ = finished
    moved = shutil.copytree(workdir / "checkpoints", tmp_path / "elsewhere")
    model, meta, step = load_model(moved, step=6)
    assert (meta.labels.names, step) == (("left", "right"), 6)
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, best_metric="video/top1"))
    assert meta.config == config and meta.spec.video.num_frames == 2 and meta.spec.video.size == 16
    chex.assert_shape(model(np.zeros((1, 2, 16, 16, 3), np.float32)), (1, 2))


@pytest.mark.slow
def test_stopped_and_continued_run_is_bit_identical(finished, halves, tmp_path, monkeypatch):
    config, whole, _ = finished
    workdir = tmp_path / "broken"

    class Killed(BaseException):
        pass

    from vidjax.training import loop

    original = loop._Run._log

    def die_after_checkpoint(self, state, done):
        state = original(self, state, done)
        if done == 4:
            self.checkpoints.wait()
            raise Killed
        return state

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop._Run, "_log", die_after_checkpoint)
        train(config, workdir, QUIET)
    assert load_model(workdir)[2] < 4
    train(config, workdir, QUIET)
    jax.tree.map(np.testing.assert_array_equal, arrays(whole, 6), arrays(workdir, 6))
    assert logged(whole) == logged(workdir)


@pytest.mark.slow
def test_a_run_goes_on_in_another_placement(halves, tmp_path, monkeypatch):
    from vidjax import parallel
    from vidjax.training import loop

    monkeypatch.setattr(parallel, "LARGE", 256)  # so that this small network is split too
    config = make_config(halves, ema_decay=0.9, checkpoint_epochs=2)
    config.optimizer.learning_rate = 1e-3
    placements = (MeshConfig(data=1), MeshConfig(data=1, fsdp=-1), MeshConfig(data=2, fsdp=2, model=2))
    alone, fsdp, tensor = (dataclasses.replace(config, mesh=mesh) for mesh in placements)
    train(alone, tmp_path / "alone", QUIET)

    class Killed(BaseException):
        pass

    original = loop._Run._log

    def die(self, state, done):
        assert any(not x.sharding.is_fully_replicated for x in state.params.values())
        if done == 4:
            self.checkpoints.wait()
            raise Killed
        return original(self, state, done)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop._Run, "_log", die)
        train(fsdp, tmp_path / "moved", QUIET)
    train(tensor, tmp_path / "moved", QUIET)
    assert json.loads((tmp_path / "moved" / "config.json").read_text())["mesh"]["model"] == 2
    chex.assert_trees_all_close(arrays(tmp_path / "moved", 6), arrays(tmp_path / "alone", 6), rtol=1e-4, atol=1e-4)


def test_another_config_does_not_continue_a_run(finished):
    config, workdir, _ = finished
    other = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, learning_rate=0.5))
    with pytest.raises(CheckpointFolderError, match=r"optimizer.learning_rate: 0.01 → 0.5"):
        train(other, workdir, QUIET)


def test_more_workers_may_continue_a_run(finished):
    config, workdir, _ = finished
    train(
        dataclasses.replace(config, data=dataclasses.replace(config.data, reading=ReadingConfig(num_threads=1))),
        workdir,
        QUIET,
    )


@pytest.mark.slow
def test_nan_stops_with_the_step_and_keeps_the_last_good_checkpoint(halves, tmp_path, monkeypatch):
    config = make_config(label_twice(halves, tmp_path), checkpoint_epochs=1.0, steps=8)
    config.data.root = str(halves)
    from vidjax.training import loop

    original = loop.train_batches

    def poisoned(*args, start_step, **kwargs):
        for i, batch in enumerate(original(*args, start_step=start_step, **kwargs), start_step):
            if i == 4:
                batch["targets"]["label"] *= np.float32(np.nan)
            yield batch

    monkeypatch.setattr(loop, "train_batches", poisoned)
    with pytest.raises(
        DivergedError, match=r"NaN or infinite in update 5; .* that of update [1-4] (.|\n)*skip_bad_steps"
    ):
        train(config, tmp_path / "run", QUIET)
    for array in arrays(tmp_path / "run").values():
        assert np.isfinite(array).all()


@pytest.mark.slow
def test_bad_updates_are_left_out_up_to_so_many_in_a_row(halves, tmp_path, monkeypatch, caplog):
    from vidjax.training import loop

    original, bad = loop.train_batches, {2, 3}

    def poisoned(*args, start_step, **kwargs):
        for i, batch in enumerate(original(*args, start_step=start_step, **kwargs), start_step):
            yield batch | {"targets": {"label": batch["targets"]["label"] * np.float32(np.nan if i in bad else 1)}}

    monkeypatch.setattr(loop, "train_batches", poisoned)
    config = make_config(label_twice(halves, tmp_path), steps=6, skip_bad_steps=2, checkpoint_epochs=1.0)
    config.data.root = str(halves)
    summary = train(config, tmp_path / "run", QUIET)
    assert summary["skipped_updates"] == 2
    assert json.loads((tmp_path / "run" / "eval.json").read_text())["skipped_updates"] == 2
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if line["kind"] == "train"]
    assert [(line["step"], line["skipped"], line["loss"] is None) for line in lines] == [
        (2, 0, False), (4, 2, True), (6, 2, False)
    ]  # fmt: skip
    assert "update 4 was skipped" in caplog.text
    bad |= {1}
    with pytest.raises(DivergedError, match=r"in update 4 \(number 3 in a row; 2 are skipped\)"):
        train(config, tmp_path / "other", QUIET)


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(finished, halves, tmp_path):
    config, workdir, _ = finished
    output = io.StringIO()
    console = Console(file=output, width=400)

    def files():
        # Not all of the folder above: it is every test's of this process, and parts of it are being cleared away.
        return sorted((p, p.stat().st_mtime_ns) for folder in (workdir, halves) for p in folder.rglob("*"))

    before = files()
    dry_run(config, tmp_path / "new", console)
    dry_run(config, workdir, console)
    said = output.getvalue()
    assert "8 videos of 2 classes, 4 for evaluation" in said and "6 updates of 8 clips" in said
    assert "rows 0…7 of every batch of 8; 8 of 8 videos in the first epoch (" in said
    assert f"{tmp_path / 'new'} has no checkpoints: it would start from new weights" in said
    assert "6: it would continue from the last" in said
    assert before == files()
    assert before and not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=r"init_from = 'nowhere\.pth': no such file"):
        dry_run(dataclasses.replace(config, model=ModelConfig(config.model.name, "nowhere.pth")), tmp_path, console)
    other = dataclasses.replace(config, seed=5)
    with pytest.raises(CheckpointFolderError, match="seed: 0 → 5"):
        dry_run(other, workdir, console)
    motion = dataclasses.replace(config.data, synthetic="motion", train=str(tmp_path / "motion" / "train.csv"))
    dry_run(dataclasses.replace(config, data=motion), tmp_path / "new", console)
    assert "would be generated first" in output.getvalue() and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_bad_training_videos_are_listed_and_bad_evaluation_videos_reported(halves, tmp_path):
    shutil.copytree(halves, tmp_path / "data")
    for side in ("left", "right"):
        for i in range(3):
            (tmp_path / "data" / side / f"bad{i}.mp4").write_bytes(b"no video")
    workdir = tmp_path / "run"
    summary = train(make_config(tmp_path / "data"), workdir, QUIET)
    listed = [line["path"] for line in read_metrics(workdir / "bad_records.jsonl")]
    unreadable = [line["path"] for line in summary["unreadable"]]
    assert len(listed) == len(set(listed)) and len(listed) + len(unreadable) == 6
    assert all("bad" in path for path in listed + unreadable)
    assert unreadable and summary["coverage"] == pytest.approx(1 - len(unreadable) / 6)


@pytest.mark.slow
def test_remat_and_bfloat16_train(halves, tmp_path):
    config = make_config(halves, steps=2, accumulate=1)
    config.model.remat = "full"
    config.model.compute_dtype = "bfloat16"
    summary = train(config, tmp_path / "run", QUIET)
    assert summary["num_videos"] == 4
    assert all(array.dtype == np.float32 for array in arrays(tmp_path / "run").values())


@pytest.mark.slow
def test_start_from_another_run_with_other_classes(finished, halves, tmp_path, caplog):
    _, workdir, _ = finished
    data = shutil.copytree(halves, tmp_path / "data")
    shutil.copytree(halves / "left", data / "centre")
    config = make_config(data, steps=1)
    config.model.init_from = str(workdir)
    config.optimizer.learning_rate = 1e-12
    train(config, tmp_path / "run", QUIET)
    assert "head is newly initialised" in caplog.text
    before, after = arrays(workdir), arrays(tmp_path / "run")
    assert after["head.kernel"].shape[-1] == 3
    kernels = [p for p in before if p.endswith("kernel") and not p.startswith("head")]
    assert kernels
    for path in kernels:
        np.testing.assert_allclose(before[path], after[path], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (("model", "name", "r2plus1d_81"), ValueError, "r2plus1d_18"),
        (("model", "drop_path", 0.5), ConfigError, "frame_pool_tiny.*drop_path"),
        (("train", "best_metric", "video/mAP"), ConfigError, "video/top1"),
        (("train", "best_metric", "video/top5"), ConfigError, "this data set has video/top1, clip/top1$"),
        (("train", "batch_size", 12), ValueError, "8 or 16"),
        (("data", "train", "nowhere"), ValueError, "nowhere: no such file or folder"),
    ],
)
def test_wrong_settings_are_refused_before_training(halves, tmp_path, change, error, message):
    config = make_config(halves)
    section, field, value = change
    setattr(getattr(config, section), field, value)
    with pytest.raises(error, match=message):
        train(config, tmp_path / "run", QUIET)
    assert not (tmp_path / "run" / "checkpoints").exists() or not any((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.slow
def test_several_labels_per_video_are_judged_by_mean_average_precision(halves, tmp_path):
    config = make_config(label_twice(halves, tmp_path), steps=4, eval_epochs=0.2, checkpoint_epochs=0.2)
    config.data.root = str(halves)
    summary = train(config, tmp_path / "run", QUIET)
    assert set(summary["video"]) == set(summary["clip"]) == {"mAP"} and 0 < summary["video"]["mAP"] <= 1
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["best_metric"] == "video/mAP"
    model, meta, _ = load_model(tmp_path / "run")
    assert meta.labels.several and meta.labels.names == ("even", "left", "odd", "right")
    assert model.head.out_features == 4
