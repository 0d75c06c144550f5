"""Objectives: which one a config means, and pre-training without labels as a whole run."""

import dataclasses
import json
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from rich.console import Console

from vidjax.apps.evaluate import evaluate_checkpoint
from vidjax.config import (
    ClipConfig,
    Config,
    ConfigError,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    ReadingConfig,
    TrainConfig,
)
from vidjax.models.registry import create_model, get_spec
from vidjax.models.state import merge, split
from vidjax.predictor import Predictor
from vidjax.tasks.classify.mix import MixRule
from vidjax.tasks.classify.objective import objective_of
from vidjax.training.checkpoints import CheckpointFolderError, load_model
from vidjax.training.init_from import start_from
from vidjax.training.logs import read_metrics
from vidjax.training.loop import train
from vidjax.training.optimizer import make_optimizer, make_schedule
from vidjax.training.step import init_state, make_train_step

QUIET = Console(quiet=True)
SMALL = {"dim": 16, "depth": 2, "heads": 2, "num_frames": 2, "size": 16}
DECODER = {"decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2, "mask_ratio": 0.5}


def test_the_model_says_what_it_learns():
    config = Config(model=ModelConfig(name="videomae_base"))
    assert objective_of(config) == "classify"
    config.task.name = "reconstruct"
    with pytest.raises(ConfigError, match=r"'videomae_base' is a model to classify; models to reconstruct: videomae_"):
        objective_of(config)
    config.model.name = "videomae_base_pretrain"
    assert objective_of(config) == "reconstruct"
    config.task.name = "classify"
    with pytest.raises(ConfigError, match="is a model to reconstruct; models to classify: "):
        objective_of(config)


@pytest.mark.parametrize(
    ("field", "value"),
    [("mixup", 0.8), ("cutmix", 1.0), ("label_smoothing", 0.1), ("balance", "class"), ("flip_pairs", ("a<>b",))],
)
def test_settings_of_labels_are_refused_where_there_are_none(field, value):
    config = Config(model=ModelConfig(name="videomae_tiny_pretrain"))
    setattr(config.task.classify, field, value)
    with pytest.raises(ConfigError, match=rf"config.task.classify.{field} = .* is for labels"):
        objective_of(config)


def pretrain_config(data, **settings):
    return Config(
        model=ModelConfig(name="videomae_tiny_pretrain", kwargs={**SMALL, **DECODER}),
        data=DataConfig(train=str(data), eval_share=0.3, clip=ClipConfig(num_frames=2, size=16, resize=(20,)),
                        reading=ReadingConfig(isolate=False)),
        optimizer=OptimizerConfig(name="adamw", learning_rate=0.01, b2=0.95),
        train=TrainConfig(**{"batch_size": 8, "steps": 4, "log_every": 2, "eval_epochs": 0, "checkpoint_epochs": 1,
                             "ema_decay": 0.9, **settings}),
        eval=EvalConfig(num_clips=2, batch_size=8),
    )  # fmt: skip


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
        "best_metric", "spec", "data",
    }  # fmt: skip
    assert report["reconstruction"] == summary["reconstruction"] and report["num_views"] == 2
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


@pytest.mark.slow
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
    with pytest.raises(CheckpointFolderError, match=r"pre-trained to reconstruct.*init_from"):
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


def make_batch(seed=0, views=1):
    rng = np.random.default_rng(seed)
    return {"video": rng.integers(0, 256, (8, views, 2, 16, 16, 3)).astype(np.uint8), "label": np.zeros(8, np.int32)}


def test_masks_follow_from_the_step():
    """The same batch and weights: another step hides other tubes, the same one the same."""
    model = create_model("videomae_tiny_pretrain", **SMALL, **DECODER)
    spec = get_spec("videomae_tiny_pretrain").with_video(size=16, num_frames=2)
    optimizer = optax.sgd(0.0)
    update = jax.jit(make_train_step(model, optimizer, spec, seed=0))
    first = init_state(model, optimizer, ema=False)
    losses = [
        float(update(dataclasses.replace(first, step=jnp.int32(step)), make_batch()).metrics["loss"])
        for step in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2] and losses[2] == pytest.approx(losses[0], rel=0.1)


@pytest.mark.slow
def test_everything_of_fine_tuning_together():
    """Drop path, EMA, mixup and CutMix, repeated augmentation, layer decay, clipping and accumulation in one update."""
    model = create_model("videomae_tiny", num_classes=3, drop_path=0.2, dropout=0.1, head_init_scale=1.0, **SMALL)
    spec = get_spec("videomae_tiny").with_video(size=16, num_frames=2)
    config = OptimizerConfig(name="adamw", learning_rate=0.01, schedule="constant", layer_decay=0.5, clip_norm=1.0)
    optimizer = make_optimizer(config, make_schedule(config, steps=9, steps_per_epoch=1, batch_size=8))
    step = jax.jit(
        make_train_step(
            model, optimizer, spec, seed=0, label_smoothing=0.1, ema_decay=0.5, accumulate=2,
            mix=MixRule(mixup=0.8, cutmix=1.0),
        )
    )  # fmt: skip
    batch = make_batch(views=2) | {"label": (np.arange(8) % 3).astype(np.int32)}
    first = init_state(model, optimizer, ema=True)
    state = step(first, batch)
    assert float(state.metrics["clips"]) == 16 and int(state.metrics["bad_step"]) == -1
    change = {path: float(jnp.abs(state.params[path] - first.params[path]).max()) for path in state.params}
    assert min(change.values()) > 0
    # AdamW's first step is the learning rate, whatever the gradient.
    for path, share in (("head.kernel", 1), ("blocks.1.mlp.fc1.kernel", 0.5), ("blocks.0.mlp.fc1.kernel", 0.25),
                        ("patch_embed.kernel", 0.125)):  # fmt: skip
        assert change[path] == pytest.approx(0.01 * share, rel=0.02), path
    ema = state.ema["params"]["head.kernel"]
    np.testing.assert_allclose(ema, (first.params["head.kernel"] + state.params["head.kernel"]) / 2, atol=1e-6)
    assert isinstance(merge(split(model)[0], state.params, state.stats), nnx.Module)
