"""Training on frozen features: what moves, what is kept for it, what it costs, and a whole run."""

import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

from vidjax.apps.convert import convert_back
from vidjax.apps.evaluate import evaluate_checkpoint
from vidjax.apps.predict import predict
from vidjax.config import (
    ClipConfig,
    Config,
    ConfigError,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    Spec,
    TrainConfig,
)
from vidjax.config.validate import validate
from vidjax.data.records import LabelSpace
from vidjax.models.registry import create_model, get_spec
from vidjax.models.state import assign, split
from vidjax.tasks.classify.objective import ClassObjective
from vidjax.training.checkpoints import CheckpointFolderError, Meta, load_model, save_model
from vidjax.training.init_from import start_from
from vidjax.training.loop import dry_run, train
from vidjax.training.optimizer import make_optimizer
from vidjax.training.step import StepOptions, init_state, make_train_step

SPEC = Spec.of_video("toy", num_frames=2, size=16, mean=(0.5,) * 3, std=(0.25,) * 3)
SMALL = {"dim": 32, "depth": 2, "heads": 2, "num_frames": 2, "size": 16, "tubelet": (2, 8, 8)}


def batches(count, size=8):
    """Two classes: red, or blue."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        labels = rng.integers(0, 2, size).astype(np.int32)
        video = rng.integers(0, 60, (size, 1, 2, 16, 16, 3))
        video[labels == 0, ..., 0] += 180
        video[labels == 1, ..., 2] += 180
        yield {"inputs": {"video": video.astype(np.uint8)}, "targets": {"label": labels[:, None]}}


def compiled_step(model, optimizer, **settings):
    objective = ClassObjective(SPEC)
    state = init_state(model, optimizer, ema=settings.get("ema_decay", 0) > 0, sums=objective.sums)
    step = jax.jit(make_train_step(model, optimizer, objective, StepOptions(seed=0, **settings)))
    return step.lower(state, next(batches(1, 16))).compile(), state


@pytest.mark.parametrize(
    ("name", "probe", "options", "kwargs"),
    [
        ("frame_pool_tiny", "linear", {"norm": True}, {}),  # batch statistics
        ("vivit_tiny", "attentive", {}, SMALL | {"drop_path": 0.5}),
    ],
)
def test_the_head_learns_and_nothing_else_moves(name, probe, options, kwargs):
    model = create_model(name, num_classes=2, probe=probe, probe_options=options, **kwargs)
    optimizer = make_optimizer(OptimizerConfig(name="adamw", weight_decay=0.1), optax.constant_schedule(0.01))
    step, state = compiled_step(model, optimizer, ema_decay=0.9, accumulate=2)
    first = jax.device_get(state)
    for batch in batches(30, 16):
        state = step(state, batch)
        if int(state.step) == 20:
            correct, clips = state.metrics["correct"], state.metrics["weight"]
    assert (state.metrics["correct"] - correct) / (state.metrics["weight"] - clips) > 0.9
    for kind in ("params", "stats"):
        before, after, average = getattr(first, kind), getattr(state, kind), state.ema[kind]
        for path, array in before.items():
            if path.startswith("backbone."):
                np.testing.assert_array_equal(after[path], array, path)
                np.testing.assert_array_equal(average[path], array, path)
            else:
                assert not np.array_equal(after[path], array), path
    known = {key.key for keys, _ in jax.tree_util.tree_leaves_with_path(state.opt_state) for key in keys
             if isinstance(key, jax.tree_util.DictKey)}  # fmt: skip
    assert known == {path for path in state.params if not path.startswith("backbone.")}


def test_a_step_costs_little_more_than_the_forward_pass():
    optimizer = optax.sgd(0.1)
    probe, _ = compiled_step(create_model("vivit_tiny", num_classes=2, probe="linear", **SMALL), optimizer)
    whole, _ = compiled_step(model := create_model("vivit_tiny", num_classes=2, **SMALL), optimizer)
    video = jnp.zeros((16, 2, 16, 16, 3))
    forward = jax.jit(lambda video: model(video)).lower(video).compile()
    flops = {name: c.cost_analysis()["flops"] for name, c in (("probe", probe), ("all", whole), ("forward", forward))}
    assert flops["probe"] < 1.1 * flops["forward"] and flops["all"] > 2.5 * flops["forward"]
    assert probe.memory_analysis().temp_size_in_bytes < 0.7 * whole.memory_analysis().temp_size_in_bytes


def config_of(halves, source, **model):
    return Config(
        model=ModelConfig(name="frame_pool_tiny", init_from=str(source), **model),
        data=DataConfig(train=str(halves), eval_share=0.3, clip=ClipConfig(num_frames=2, size=16, resize=(20,))),
        optimizer=OptimizerConfig(name="adamw", learning_rate=0.01),
        train=TrainConfig(batch_size=8, steps=4, eval_epochs=0, checkpoint_epochs=0),
        eval=EvalConfig(batch_size=8),
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A network of five classes, whose norms have seen something."""
    model = create_model("frame_pool_tiny", num_classes=5, seed=3)
    _, _, stats = split(model)
    assign(model, {path: array + 0.25 for path, array in stats.items()})
    folder = tmp_path_factory.mktemp("probe") / "source"
    meta = Meta(
        Config(model=ModelConfig(name="frame_pool_tiny")), get_spec("frame_pool_tiny"), LabelSpace(tuple("abcde"))
    )
    return save_model(folder, model, meta), model


@pytest.fixture(scope="module")
def finished(halves, source, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("probe") / "run"
    config = config_of(halves, source[0], probe="linear", probe_norm=True, dropout=0.2)
    return config, workdir, train(config, workdir, Console(quiet=True))


def arrays(model):
    _, params, stats = split(model)
    return jax.device_get(params | stats)


@pytest.mark.slow
def test_a_run_is_evaluated_and_predicts_by_itself(finished, source, halves, tmp_path, capsys):
    config, workdir, summary = finished
    model, meta, _ = load_model(workdir)
    assert meta.config.model.probe == "linear" and model.dropout.rate == 0.2
    backbone = arrays(source[1])
    for path, array in arrays(model).items():
        if path.startswith("backbone."):
            np.testing.assert_array_equal(array, backbone[path.removeprefix("backbone.")], path)
    assert (
        evaluate_checkpoint(workdir, config, out=tmp_path, console=Console(quiet=True))["video"]["top1"]
        == summary["video"]["top1"]
    )
    capsys.readouterr()
    predict(str(workdir), [str(halves / "left" / "00.mp4")], as_json=True)
    assert {c["class"] for c in json.loads(capsys.readouterr().out)[0]["top"]} == {"left", "right"}
    with pytest.raises(CheckpointFolderError, match="linear probe of frame_pool_tiny"):
        convert_back(str(workdir), str(tmp_path / "x.pth"), "torchvision2d")


@pytest.mark.slow
def test_a_network_starts_from_a_linear_probe_as_its_classifier(finished):
    _, workdir, _ = finished
    probe, _, _ = load_model(workdir)
    whole = create_model("frame_pool_tiny", num_classes=2)
    start_from(whole, str(workdir), "frame_pool_tiny")
    video = jax.random.normal(jax.random.key(0), (2, 2, 16, 16, 3))
    both = jax.jit(lambda video: (whole(video), probe(video)))
    np.testing.assert_allclose(*both(video), rtol=1e-4, atol=1e-4)
    again = create_model("frame_pool_tiny", num_classes=2, probe="linear", probe_options={"norm": True}, seed=9)
    start_from(again, str(workdir), "frame_pool_tiny")
    np.testing.assert_array_equal(again.head.kernel[...], probe.head.kernel[...])


def test_a_dry_run_says_what_would_be_trained(halves, source, tmp_path):
    console = Console(file=io.StringIO(), width=300)
    dry_run(config_of(halves, source[0], probe="attentive"), tmp_path / "run", console)
    assert "the attentive probe, would be trained" in console.file.getvalue()


@pytest.mark.slow
def test_random_features_are_warned_of(halves, tmp_path, caplog):
    config = config_of(halves, "", probe="linear")
    config.train.steps = 1
    train(config, tmp_path / "run", Console(quiet=True))
    assert "random weights" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probe": "both"}, "config.model.probe = 'both'"),
        ({"probe_norm": True}, "config.model.probe_norm = True: is for probe = 'linear'"),
        ({"probe": "linear", "probe_blocks": 4}, "config.model.probe_blocks = 4: is for probe = 'attentive'"),
        ({"probe": "attentive", "probe_heads": -1}, "config.model.probe_heads"),
        ({"probe": "linear", "drop_path": 0.1}, "config.model.drop_path"),
        ({"probe": "linear", "remat": "full"}, "config.model.remat"),
    ],
)
def test_settings_that_do_not_go_together(changes, message):
    with pytest.raises(ConfigError, match=message):
        validate(Config(model=ModelConfig(name="vivit_tiny", **changes)))
    for name in ("layer_decay", "backbone_factor"):
        with pytest.raises(ConfigError, match=rf"config\.optimizer\.{name}"):
            validate(Config(model=ModelConfig(probe="linear"), optimizer=OptimizerConfig(**{name: 0.75})))
