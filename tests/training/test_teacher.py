"""Runs that learn from another run (`train.teacher`): whole ones, and what is refused."""

import dataclasses
import shutil

import numpy as np
import pytest

import vidjax
from vidjax import parallel
from vidjax.config import ClipConfig, ConfigError, SamplingConfig
from vidjax.config.spec import resolve_spec
from vidjax.config.validate import validate
from vidjax.data.records import LabelSpace
from vidjax.models.registry import create_model, get_spec
from vidjax.models.state import split
from vidjax.training.checkpoints import CheckpointFolderError, Meta, save_model
from vidjax.training.compiled_step import Program
from vidjax.training.loop import dry_run, train
from vidjax.training.teacher import load_teacher, reading_spec

from .test_loop import QUIET, arrays, logged, make_config

LABELS = LabelSpace(("left", "right"))


def save(folder, data, frames=2, labels=LABELS, seed=3, **clip):
    """A model of untrained weights, as a run would keep it."""
    config = make_config(data)
    config.data.clip = ClipConfig(**{"num_frames": frames, "size": 16, "resize": (20,), **clip})
    spec = resolve_spec(get_spec(config.model.name), config.data)
    network = create_model(config.model.name, num_classes=len(labels.names), seed=seed)
    return save_model(folder, network, Meta(config, spec, labels))


@pytest.mark.slow
def test_a_taught_run_stands_alone(halves, tmp_path):
    save(tmp_path / "teacher", halves)
    taught = {"teacher": str(tmp_path / "teacher"), "teacher_weight": 1.0}
    config = make_config(halves, steps=2, log_every=1, **taught)
    train(config, tmp_path / "student", QUIET)
    train(make_config(halves, steps=2, log_every=1), tmp_path / "alone", QUIET)
    own, alone = arrays(tmp_path / "student"), arrays(tmp_path / "alone")
    assert own.keys() == alone.keys()
    assert abs(logged(tmp_path / "student")[0]["loss"] - logged(tmp_path / "alone")[0]["loss"]) > 1e-2
    (tmp_path / "teacher").rename(tmp_path / "gone")
    found = vidjax.Predictor(tmp_path / "student").predict(sorted((halves / "left").iterdir())[:1])
    assert {score.name for score in found[0].classes} == {"left", "right"}
    with pytest.raises(CheckpointFolderError, match="teacher"):
        train(config, tmp_path / "again", QUIET)


@pytest.mark.slow
def test_a_run_stopped_half_way_ends_as_one_in_one_piece(halves, tmp_path, monkeypatch):
    config = make_config(halves, steps=4, log_every=1, teacher=str(save(tmp_path / "teacher", halves, frames=4)),
                         checkpoint_epochs=0.25, batch_norm="sync", ema_decay=0.5)  # fmt: skip
    config.data.sampling = SamplingConfig(train="uniform")
    train(config, tmp_path / "whole", QUIET)
    from vidjax.training import loop

    update, made = loop._Run._update, []

    def stopping(self, compiled, state):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(1)
        return update(self, compiled, state)

    monkeypatch.setattr(loop._Run, "_update", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "parts", QUIET)
    monkeypatch.undo()
    train(config, tmp_path / "parts", QUIET)
    one, other = arrays(tmp_path / "whole"), arrays(tmp_path / "parts")
    for path in one:
        np.testing.assert_array_equal(one[path], other[path], err_msg=path)
    assert logged(tmp_path / "whole")[-1] == logged(tmp_path / "parts")[-1]


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_weights_of_its_teacher(halves, tmp_path, monkeypatch):
    config = make_config(halves, steps=2, teacher=str(save(tmp_path / "teacher", halves)))
    from vidjax.training import loop

    monkeypatch.setattr(loop._Run, "_finish", lambda *_: {})  # it is stopped before its end
    monkeypatch.setattr(loop._Run, "_steps", lambda self, state, *_: self.checkpoints.save(state, self.meta, None))
    train(config, tmp_path / "run", QUIET)
    train(config, tmp_path / "run", QUIET)
    shutil.rmtree(tmp_path / "teacher")
    save(tmp_path / "teacher", halves, seed=4)
    with pytest.raises(CheckpointFolderError, match="was taught by weights with the fingerprint"):
        train(config, tmp_path / "run", QUIET)


def test_clips_have_the_frames_of_the_one_that_sees_more(halves, tmp_path):
    config = make_config(halves, teacher=str(save(tmp_path / "teacher", halves, frames=8)))
    spec = resolve_spec(get_spec(config.model.name), config.data).with_video(stride=4)
    assert reading_spec(config, spec, LABELS) == spec.with_video(num_frames=8, stride=1)
    assert reading_spec(config, spec.with_video(fps=3.0), LABELS).video.fps == 12
    with pytest.raises(ConfigError, match=r"run's stride, 2, cannot be divided by 4: set .*clip\.stride"):
        reading_spec(config, spec.with_video(stride=2), LABELS)
    config.data.sampling = SamplingConfig(train="uniform")
    assert reading_spec(config, spec, LABELS) == spec.with_video(num_frames=8)
    more = spec.with_video(num_frames=16)
    assert reading_spec(config, more, LABELS) == more  # the teacher takes every second of them
    config.train.teacher = ""
    assert reading_spec(config, spec, LABELS) == spec


def test_plans_know_the_teacher(halves, tmp_path):
    config = make_config(halves, teacher=str(save(tmp_path / "teacher", halves, frames=4)))
    config.data.sampling = SamplingConfig(train="uniform")
    config.mesh.data = 1
    spec = resolve_spec(get_spec(config.model.name), config.data)
    program = Program.of(config, spec, LABELS, num_videos=8)
    (video,) = program.batch["inputs"].values()
    assert video.shape[2] == 4 and program.batch["teacher"]["params"]
    program.lower()


def test_teachers_that_do_not_fit_are_refused(halves, tmp_path):
    config = make_config(halves)
    spec = resolve_spec(get_spec(config.model.name), config.data)
    for name, wrong, message in (
        ("frames", {"frames": 3}, "it sees 3 frames, and this run 2: one must divide the other"),
        ("size", {"size": 20}, r"it sees 2×\d+, 20² of rgb, and this run 2×\d+, 16² of rgb: size and content"),
        ("classes", {"labels": LabelSpace(("left", "up"))}, r"they must be the same, .*\(it lacks 'right'\)"),
        ("several", {"labels": LabelSpace(("left", "right"), several=True)}, "one of the two runs has several labels"),
    ):
        config.train.teacher = str(save(tmp_path / name, halves, **wrong))
        with pytest.raises(ConfigError, match=message):
            reading_spec(config, spec, LABELS)
    config.train.teacher = str(tmp_path / "none")
    with pytest.raises(CheckpointFolderError, match="none"):
        dry_run(config, tmp_path / "run", QUIET)


def test_settings_of_a_teacher_need_one():
    config = make_config("videos", teacher_temperature=4.0)
    with pytest.raises(ConfigError, match=r"train\.teacher_temperature = 4\.0: is for config\.train\.teacher"):
        validate(config)
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, teacher="runs/a", teacher_weight=1.5))
    with pytest.raises(ConfigError, match=r"train\.teacher_weight = 1\.5: must lie in 0…1"):
        validate(config)


def test_its_arrays_come_apart_from_its_structure(halves, tmp_path):
    teacher, given = load_teacher(str(save(tmp_path / "teacher", halves)), parallel.replicated(parallel.make_mesh(1)))
    _, params, stats = split(teacher)
    assert params.keys() == given["params"].keys() and stats.keys() == given["stats"].keys()
    assert teacher.spec.video.num_frames == 2 and teacher.network.dropout.deterministic
