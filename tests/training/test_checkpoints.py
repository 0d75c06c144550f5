"""Checkpoint folders: which are kept, what a model folder is and is not, what does not fit."""

import logging

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vidjax import parallel
from vidjax.config import Config, ModelConfig, TrainConfig
from vidjax.data.records import LabelSpace
from vidjax.models import create_model, get_spec
from vidjax.models.state import split
from vidjax.training import checkpoints as ckpt
from vidjax.training.saving import RunCheckpoints
from vidjax.training.step import init_state

CLASSES = ("a", "b", "c")


def meta():
    config = Config(model=ModelConfig(name="frame_pool_tiny"), train=TrainConfig(best_metric="video/top1"))
    return ckpt.Meta(config, get_spec("frame_pool_tiny"), LabelSpace(CLASSES))


@pytest.fixture(scope="module")
def model():
    return create_model("frame_pool_tiny", num_classes=3, seed=1)


def state_of(model, step=0, ema=False):
    state = init_state(model, optax.sgd(0.1, momentum=0.9), ema)
    state = parallel.place(state.replace(step=np.int32(step)), parallel.replicated(parallel.make_mesh()))
    return state


def steps(folder):
    return sorted(int(p.name) for p in (folder / "checkpoints").iterdir() if p.name.isdigit())


@pytest.mark.slow
def test_best_and_last_are_kept(model, tmp_path):
    run = RunCheckpoints(tmp_path, keep_last=2, best_metric="video/top1")
    for step, value in ((1, 0.5), (2, 0.9), (3, None), (4, 0.3), (5, None), (6, 0.4)):
        run.save(state_of(model, step), meta(), value and {"video/top1": value})
    run.wait()
    assert steps(tmp_path) == [2, 5, 6]
    assert run.best_step == 2 and run.latest_step == 6
    run.close()
    assert ckpt.load_model(tmp_path)[2] == 2
    assert ckpt.load_model(tmp_path, step=5)[2] == 5
    with pytest.raises(ckpt.CheckpointFolderError, match="no checkpoint of step 4; there are 2, 5, 6"):
        ckpt.load_model(tmp_path, step=4)


@pytest.mark.slow(after=1)
@pytest.mark.parametrize("ema", [False, True])
def test_state_comes_back_as_it_was(model, tmp_path, ema):
    state = state_of(model, 7, ema)
    if ema:
        state = state.replace(ema=jax.tree.map(lambda x: x + 1, state.ema))
    run = RunCheckpoints(tmp_path, 1, "video/top1")
    run.save(state, meta())
    run.wait()
    other = state_of(create_model("frame_pool_tiny", num_classes=3, seed=2), 0, ema)
    chex.assert_trees_all_equal(run.restore(other), state)
    assert run.latest_meta() == meta()
    run.close()
    loaded, found, step = ckpt.load_model(tmp_path)
    _, params, _ = split(loaded)
    evaluated = state.ema["params"] if ema else state.params
    chex.assert_trees_all_equal(params, evaluated)
    assert found == meta() and step == 7


@pytest.mark.slow
def test_model_folder_is_loaded_but_never_resumed(model, tmp_path):
    folder = ckpt.save_model(tmp_path / "model", model, meta())
    loaded, found, _ = ckpt.load_model(folder)
    video = jnp.ones((1, 2, 16, 16, 3))
    np.testing.assert_array_equal(loaded(video), model(video))
    assert found.labels.names == CLASSES and ckpt.is_checkpoint(folder)
    with pytest.raises(ckpt.CheckpointFolderError, match="already holds checkpoints"):
        ckpt.save_model(folder, model, meta())
    run = RunCheckpoints(folder, 1, "video/top1")
    with pytest.raises(ckpt.CheckpointFolderError, match=r"a model but no training state.*init_from"):
        run.restore(state_of(model))
    run.close()


def test_every_way_to_name_a_checkpoint(model, tmp_path):
    folder = ckpt.save_model(tmp_path / "model", model, meta())
    for path in (folder, folder / "checkpoints", folder / "checkpoints" / "0", str(folder)):
        assert ckpt.load_model(path)[2] == 0
    assert not ckpt.is_checkpoint(tmp_path)
    with pytest.raises(ckpt.CheckpointFolderError, match="no vidjax checkpoint there"):
        ckpt.load_model(tmp_path)


def test_another_model_does_not_fit(model, tmp_path):
    run = RunCheckpoints(tmp_path, 1, "video/top1")
    run.save(state_of(model), meta())
    run.wait()
    with pytest.raises(
        ckpt.CheckpointFolderError, match=r"does not fit(.|\n)*head.bias: \(3,\) in the checkpoint, \(4,\) in the model"
    ):
        run.restore(state_of(create_model("frame_pool_tiny", num_classes=4)))
    run.close()


def test_differences_name_the_fields():
    one, two = Config(), Config()
    two.optimizer.learning_rate = 0.5
    two.model.kwargs = {"pool": "max"}
    assert ckpt.differences(one, one) == []
    assert ckpt.differences(one, two) == ["model.kwargs: {} → {'pool': 'max'}", "optimizer.learning_rate: 0.01 → 0.5"]
    one.model.kwargs, two.model.kwargs = {"tubelet": [2, 8, 8]}, {"tubelet": (2, 8, 8)}  # as stored, as given
    two.optimizer.learning_rate = one.optimizer.learning_rate
    assert ckpt.differences(one, two) == []


def test_writing_and_reading_a_model_says_nothing(model, tmp_path, caplog, capfd):
    """In a program of one's own, where no command has quieted Orbax."""
    with caplog.at_level(logging.WARNING, "absl"):
        ckpt.save_model(tmp_path / "m", model, meta())
        ckpt.load_meta(tmp_path / "m")
        ckpt.load_model(tmp_path / "m")
        logging.getLogger("absl").warning("Given directory is read only")  # of another, who is to be heard
    assert [record.message for record in caplog.records] == ["Given directory is read only"]
    assert capfd.readouterr().out == ""
