"""States that older versions saved go on: their sums by today's names, those that are no more left out."""

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.training import checkpoints as ckpt
from vidjax.training.saving import RunCheckpoints
from vidjax.training.step import init_metrics

from .test_checkpoints import meta, state_of
from .test_checkpoints import model as model  # a fixture


def older(state, **sums):
    """A state as versions saved it that counted clips and right answers, whatever was learned."""
    metrics = {name: value for name, value in state.metrics.items() if name != "weight"}
    values = {"correct": 0.0, "clips": 0.0} | sums
    return state.replace(metrics=metrics | {name: jnp.float32(value) for name, value in values.items()})


def restored(folder, saved, like):
    run = RunCheckpoints(folder, 1, "video/top1")
    try:
        run.save(saved, meta())
        run.wait()
        return run.restore(like)
    finally:
        run.close()


@pytest.mark.parametrize("ema", [False, True])
def test_a_state_with_clips_and_an_unused_sum_goes_on(model, tmp_path, ema):
    saved = older(state_of(model, 7, ema), loss=1.5, clips=48.0, correct=11.0, updates=3.0, grad_norm=2.5)
    saved = saved.replace(metrics=saved.metrics | {"skipped": jnp.int32(2), "bad_step": jnp.int32(-1)})
    state = restored(tmp_path, saved, state_of(model, 0, ema))
    assert state.metrics.keys() == init_metrics().keys() and "correct" not in state.metrics
    found = {name: float(value) for name, value in state.metrics.items()}
    assert found == {"loss": 1.5, "weight": 48, "grad_norm": 2.5, "updates": 3, "skipped": 2, "skipped_in_row": 0,
                     "bad_step": -1}  # fmt: skip
    assert int(state.step) == 7
    for part in ("params", "stats", "opt_state", "ema"):
        chex.assert_trees_all_equal(getattr(state, part), getattr(saved, part))


def test_a_sum_that_is_still_used_is_kept(model, tmp_path):
    like = state_of(model)
    like = like.replace(metrics=init_metrics(["correct"]))
    state = restored(tmp_path, older(state_of(model, 7), clips=48.0, correct=11.0), like)
    assert (state.metrics["correct"], state.metrics["weight"]) == (11, 48)


def test_a_sum_that_is_new_starts_from_nothing(model, tmp_path):
    like = state_of(model)
    like = like.replace(metrics=init_metrics(["near"]))
    state = restored(tmp_path, older(state_of(model, 7), clips=48.0), like)
    assert (state.metrics["near"], state.metrics["weight"]) == (0, 48)
    assert state.metrics.keys() == like.metrics.keys()


def test_a_state_of_today_comes_back_whole(model, tmp_path):
    saved = state_of(model, 7)
    saved = saved.replace(metrics={name: value + 3 for name, value in saved.metrics.items()})
    chex.assert_trees_all_equal(restored(tmp_path, saved, state_of(model)), saved)


def test_what_an_older_checkpoint_says_of_its_model_is_read():
    today = meta().to_dict()
    video, spec = today["spec"]["inputs"]["video"], today["spec"]
    flat = {name: video[name] for name in ("num_frames", "stride", "fps", "size", "resize", "mean", "std")}
    told = {name: value for name, value in spec.items() if name not in ("inputs", "task")}
    told |= {"input": "rgb", "objective": "classify"} | {
        n: list(v) if isinstance(v, tuple) else v for n, v in flat.items()
    }
    found = ckpt.Meta.from_dict({"config": today["config"], "spec": told, "class_names": ["a", "b", "c"],
                                 "multi_label": False})  # fmt: skip
    assert found == meta()
    several = ckpt.Meta.from_dict({"config": today["config"], "spec": told, "class_names": ["a"], "multi_label": True})
    assert several.labels.several and several.labels.names == ("a",)
    np.testing.assert_equal(ckpt.Meta.from_dict(today).to_dict(), today)


def test_a_checkpoint_of_a_newer_version_is_refused():
    with pytest.raises(ckpt.CheckpointFolderError, match=r"has format 3, but this version of vidjax reads .* up to 2"):
        ckpt.Meta.from_dict(meta().to_dict() | {"format": 3})
