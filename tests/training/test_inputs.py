"""Frames, differences, or both: one meaning in training, evaluation and prediction, stored with the weights."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from rich.console import Console

from tests.models.small import plain_convolutions  # noqa: F401
from vidjax import parallel
from vidjax.apps.evaluate import evaluate_checkpoint
from vidjax.config import (
    ClassifyConfig,
    ClipConfig,
    Config,
    ConfigError,
    DataConfig,
    EvalConfig,
    ModelConfig,
    Spec,
    TaskConfig,
    TrainConfig,
    with_settings,
)
from vidjax.config.validate import validate
from vidjax.data.records import LabelSpace, VideoSet
from vidjax.evaluation.engine import compile_forward
from vidjax.inputs import FlowFields
from vidjax.models import create_model, get_spec
from vidjax.models.build import build_model
from vidjax.models.state import split
from vidjax.nn.conv import Conv3D
from vidjax.nn.enter import network_input, normalise
from vidjax.predictor import Predictor
from vidjax.tasks.classify.evaluator import ClassEvaluator
from vidjax.tasks.classify.objective import ClassObjective, classification_loss
from vidjax.training.checkpoints import Meta, load_model, save_model
from vidjax.training.init_from import start_from
from vidjax.training.loop import train
from vidjax.training.step import StepOptions, init_state, make_train_step

QUIET = Console(quiet=True)


class Toy(nnx.Module):
    """A network whose compiling takes no time."""

    def __init__(self, channels):
        rngs = nnx.Rngs(0)
        self.conv = Conv3D(channels, 8, 1, rngs=rngs)
        self.head = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, inputs, rngs=None):
        return self.head(nnx.relu(self.conv(inputs["video"])).mean(axis=(1, 2, 3)))


@pytest.mark.parametrize("entering", ["differences", "both"])
def test_training_and_evaluation_see_the_same(entering):
    spec = Spec.of_video("toy", num_frames=3, size=8, mean=(0.5,) * 3, std=(0.25,) * 3, enters=entering)
    model = Toy(spec.video.channels)
    video = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8, 3)).astype(np.uint8)
    entered = {"video": network_input(normalise(jnp.asarray(video), spec.video), spec.video)}

    _, params, stats = split(model)
    evaluator = ClassEvaluator(VideoSet((), LabelSpace(("a", "b", "c"))), spec)
    forward = compile_forward(model, evaluator.forward, parallel.make_mesh(1))
    answer = forward(params, stats, {"video": video}, np.arange(4, dtype=np.int32))
    chex.assert_trees_all_close(answer, jax.jit(model)(entered), atol=1e-5)

    labels = jnp.arange(4) % 3
    model.train()
    expected = classification_loss(nnx.jit(lambda model, x: model(x))(nnx.clone(model), entered), labels) / 4
    optimizer, objective = optax.sgd(0.0), ClassObjective(spec)
    step = jax.jit(make_train_step(model, optimizer, objective, StepOptions(seed=0)))
    batch = {"inputs": {"video": video[:, None]}, "targets": {"label": np.asarray(labels)[:, None]}}
    state = step(init_state(model, optimizer, ema=False, sums=objective.sums), batch)
    np.testing.assert_allclose(state.metrics["loss"], expected, rtol=1e-5)


@pytest.fixture(scope="module")
def finished(halves, tmp_path_factory):
    """The folder of a model for frames, and a run on frames and differences, mixed, that starts from it."""
    folder = tmp_path_factory.mktemp("inputs")
    model = create_model("frame_pool_tiny", num_classes=2, seed=1)
    meta = Meta(
        Config(model=ModelConfig(name="frame_pool_tiny")), get_spec("frame_pool_tiny"), LabelSpace(("left", "right"))
    )
    save_model(folder / "rgb", model, meta)
    config = Config(
        model=ModelConfig(name="frame_pool_tiny", input="rgb+diff", init_from=str(folder / "rgb")),
        data=DataConfig(train=str(halves), eval_share=0.3, clip=ClipConfig(num_frames=2, size=16, resize=(20,))),
        task=TaskConfig(classify=ClassifyConfig(mixup=0.2)),
        train=TrainConfig(batch_size=8, steps=1, log_every=1),
        eval=EvalConfig(batch_size=8),
    )
    train(config, folder / "both", QUIET)
    return folder, config


@pytest.mark.slow
def test_a_run_stores_what_enters_and_predicts_by_it(finished, halves):
    folder, _ = finished
    model, meta, _ = load_model(folder / "both")
    assert (meta.spec.video.enters, meta.config.model.input) == ("both", "rgb+diff")
    assert model.stem.conv.kernel.shape[3] == 6
    assert load_model(folder / "rgb")[1].spec.video.enters == "frames"
    scores = Predictor(folder / "both")(next(halves.rglob("*.mp4"))).scores
    assert scores.shape == (2,) and np.isfinite(scores).all()


@pytest.mark.slow
def test_a_run_on_both_starts_from_one_on_frames(finished):
    folder, config = finished
    model = build_model(config, 2, dtype=None)
    start_from(model, str(folder / "rgb"), "frame_pool_tiny")
    kernel = np.asarray(model.stem.conv.kernel[...])
    frames = np.asarray(load_model(folder / "rgb")[0].stem.conv.kernel[...])
    np.testing.assert_array_equal(kernel, np.concatenate([frames, np.zeros_like(frames)], axis=3))


def test_an_unknown_input_is_a_setting_with_choices():
    with pytest.raises(ConfigError, match=r"config\.model\.input = 'depth': must be one of 'rgb', 'diff', 'rgb\+diff'"):
        validate(Config(model=ModelConfig(input="depth")))


@pytest.mark.slow
def test_a_run_on_flow_from_training_to_prediction(halves, tmp_path, caplog):
    """From a network for frames, through evaluation, also with flow of another kind, to the prediction of one file."""
    rgb = create_model("frame_pool_tiny", num_classes=2, seed=1)
    spec = get_spec("frame_pool_tiny")
    meta = Meta(Config(model=ModelConfig(name=spec.name)), spec, LabelSpace(("left", "right")))
    save_model(tmp_path / "rgb", rgb, meta)
    clip = ClipConfig(num_frames=2, size=16, resize=(20,))
    config = Config(
        model=ModelConfig(name="frame_pool_tiny", input="rgb+flow", init_from=str(tmp_path / "rgb")),
        data=DataConfig(train=str(halves), eval_share=0.3, clip=clip, flow_fields=2, flow_bound=8.0),
        train=TrainConfig(batch_size=8, steps=1, log_every=1),
        eval=EvalConfig(batch_size=8),
    )
    run = tmp_path / "run"
    train(config, run, QUIET)
    model, meta, _ = load_model(run)
    assert meta.spec.video.flow == FlowFields("dis_fast", 2, 8.0) and meta.spec.video.channels == 7
    kernel = np.asarray(build_model(config, 2, dtype=None).stem.conv.kernel[...])
    assert model.stem.conv.kernel.shape == kernel.shape == (1, 7, 7, 7, 16)
    scores = Predictor(run)(next(halves.rglob("*.mp4"))).scores
    assert scores.shape == (2,) and np.isfinite(scores).all()
    assert "trained on" not in caplog.text
    other = with_settings(meta.config, {"data.flow": "farneback"})
    evaluate_checkpoint(run, other, console=QUIET)
    assert "trained on 2 fields of flow (dis_fast, ±8 pixels), now given 2 fields of flow (farneback" in caplog.text
    with pytest.raises(ConfigError, match=r"config\.data\.flow_fields = 3: frame_pool_tiny was trained on 2"):
        evaluate_checkpoint(run, with_settings(meta.config, {"data.flow_fields": 3}), console=QUIET)
