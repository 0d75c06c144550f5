"""Checkpoints that were cut short or overwritten: put aside with their names, and the one before used."""

import shutil

import chex
import numpy as np
import pytest

from vidjax.training import checkpoints as ckpt
from vidjax.training.damaged_checkpoints import visible_damage, write_reason
from vidjax.training.saving import RunCheckpoints

from .test_checkpoints import meta, state_of
from .test_checkpoints import model as model  # a fixture


@pytest.fixture(scope="module")
def three(model, tmp_path_factory):
    """Checkpoints of steps 1, 2 and 3, and their states."""
    folder = tmp_path_factory.mktemp("three")
    states = {}
    run = RunCheckpoints(folder, 5, "video/top1")
    for step in (1, 2, 3):
        states[step] = state_of(model, step)
        run.save(states[step], meta(), {"video/top1": 1 - step / 10})
    run.close()
    return folder, states


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path):
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


def each_array_file(change):
    def act(folder):
        for path in (folder / "model").rglob("*"):
            if path.is_file() and path.parent.name == "d":
                change(path)

    return act


DAMAGES = {
    "no metadata": lambda f: (f / "_CHECKPOINT_METADATA").unlink(),
    "garbage metadata": lambda f: overwrite(f / "_CHECKPOINT_METADATA"),
    "no train": lambda f: shutil.rmtree(f / "train"),
    "no meta": lambda f: shutil.rmtree(f / "meta"),
    "cut meta": lambda f: truncate(f / "meta" / "metadata"),
    "garbage metrics": lambda f: overwrite(f / "metrics" / "metrics"),
    "no index": lambda f: (f / "model" / "manifest.ocdbt").unlink(),
    "garbage index": lambda f: overwrite(f / "train" / "manifest.ocdbt"),
    "cut arrays": each_array_file(truncate),
    "garbage arrays": each_array_file(overwrite),
    "no arrays": each_array_file(lambda p: p.unlink()),
}


# After the first failure the reader leaves its other reads to themselves, whose event loop is gone when they end.
READS_LEFT = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.slow(after=2)
@pytest.mark.parametrize("kind", [k for k in DAMAGES if "arrays" not in k and k != "garbage index"])
def test_damage_is_seen_at_a_glance(three, tmp_path, kind):
    folder = shutil.copytree(three[0] / "checkpoints" / "3", tmp_path / "3")
    assert visible_damage(folder) is None
    DAMAGES[kind](folder)
    assert str(folder) in visible_damage(folder)


@pytest.mark.slow(after=2)
@READS_LEFT
@pytest.mark.parametrize("kind", ["cut meta", "garbage index", "cut arrays", "garbage arrays", "no arrays"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(three, model, tmp_path, caplog, kind):
    folder, states = three
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    DAMAGES[kind](tmp_path / "checkpoints" / "3")
    run = RunCheckpoints(tmp_path, 1, "video/top1")
    restored = run.restore(state_of(model))
    chex.assert_trees_all_equal(restored, states[2])
    assert f"{tmp_path / 'checkpoints' / '3'} is damaged" in caplog.text
    assert run.latest_step == 2 and (tmp_path / "checkpoints" / "damaged-3").is_dir()
    # The place of the damaged one is free, and a new one there counts.
    run.save(state_of(model, 3), meta())
    run.close()
    assert ckpt.load_meta(tmp_path) == meta() and visible_damage(tmp_path / "checkpoints" / "3") is None


@READS_LEFT
@pytest.mark.parametrize("kind", ["no meta", "no arrays"])
def test_nothing_left_is_an_error_and_no_new_start(three, model, tmp_path, kind):
    shutil.copytree(three[0] / "checkpoints" / "3", tmp_path / "checkpoints" / "3")
    DAMAGES[kind](tmp_path / "checkpoints" / "3")
    for attempt in range(2):
        with pytest.raises(
            ckpt.CheckpointFolderError, match=r"every checkpoint of this run is damaged \((damaged-)?3\)"
        ):
            run = RunCheckpoints(tmp_path, 1, "video/top1")
            assert attempt == 0
            try:
                run.restore(state_of(model))
            finally:
                run.close()


@READS_LEFT
def test_evaluating_a_damaged_checkpoint_is_an_error_that_names_the_others(three, tmp_path):
    folder, _ = three
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    DAMAGES["cut arrays"](tmp_path / "checkpoints" / "3")
    with pytest.raises(ckpt.CheckpointFolderError, match=r"checkpoints/3 is damaged.*also checkpoints of steps 1, 2"):
        ckpt.load_model(tmp_path, step=3)


@pytest.mark.slow
def test_other_frameworks_files_in_a_work_directory_are_no_run(model, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for name in ("model.pth", "model.safetensors", "checkpoints/10.pth", "checkpoints/20.safetensors"):
        (tmp_path / name).write_bytes(b"weights")
    run = RunCheckpoints(tmp_path, 1, "video/top1")
    assert run.latest_step is None and not ckpt.is_checkpoint(tmp_path)
    run.save(state_of(model, 5), meta())
    run.close()
    assert ckpt.load_model(tmp_path)[2] == 5 and visible_damage(tmp_path / "checkpoints" / "5") is None


def test_a_full_disk_is_named_whoever_reports_it():
    assert write_reason(OSError(28, "No space left on device")) == "No space left on device"
    assert write_reason(ValueError('RESOURCE_EXHAUSTED: Error writing "x": No space left on device [errno=28]')) == (
        "No space left on device"
    )
    wrapped = RuntimeError("save failed")
    wrapped.__cause__ = OSError(27, "File too large", "/x")
    assert write_reason(wrapped) == "File too large"
