"""Parts of a network that training does not change."""

import jax
import numpy as np
import optax
import pytest

from vidjax.config import Config, ConfigError, ModelConfig, OptimizerConfig, Spec
from vidjax.models.build import build_model
from vidjax.models.state import frozen_paths, split
from vidjax.tasks.classify.objective import ClassObjective
from vidjax.training.optimizer import make_optimizer
from vidjax.training.step import StepOptions, init_state, make_train_step

SPEC = Spec.of_video("toy", num_frames=2, size=16, mean=(0.5,) * 3, std=(0.25,) * 3)


def built(*parts, name="conv3d_tiny", **options):
    return build_model(Config(model=ModelConfig(name=name, frozen=parts)), 2, dtype=None, **options)


def test_an_update_moves_the_other_parts_alone():
    model = built("convs", "norms.0")
    optimizer = make_optimizer(OptimizerConfig(name="adamw", weight_decay=0.1), optax.constant_schedule(0.01))
    objective = ClassObjective(SPEC)
    state = init_state(model, optimizer, ema=False, sums=objective.sums)
    video = np.random.default_rng(0).integers(0, 255, (4, 1, 2, 16, 16, 3)).astype(np.uint8)
    batch = {"inputs": {"video": video}, "targets": {"label": np.arange(4, dtype=np.int32)[:, None] % 2}}
    after = jax.jit(make_train_step(model, optimizer, objective, StepOptions(seed=0)))(state, batch)
    moved = {path for path in state.params if np.any(np.asarray(state.params[path]) != np.asarray(after.params[path]))}
    assert moved == {path for path in state.params if not path.startswith(("convs.", "norms.0."))} != set()
    still = {path for path in state.stats if np.array_equal(state.stats[path], after.stats[path])}
    assert still == {path for path in state.stats if path.startswith("norms.0.")} != set()


def test_a_language_models_projector_is_trained_alone():
    model = built("vision", "head", name="smolvlm2_tiny", abstract=True)
    assert {path for path in split(model)[1] if path not in frozen_paths(model)} == {"projector.kernel"}


def test_one_parameter_and_whole_names():
    model = built("head.bias", abstract=True)
    assert frozen_paths(model) == {"head.bias"}
    with pytest.raises(ConfigError, match=r"config.model.frozen: the network has no part 'hea'; its parts are convs, "):
        built("hea", abstract=True)


def test_something_must_be_left_to_train():
    with pytest.raises(ConfigError, match=r"config.model.frozen: convs, norms, head: nothing is left to train"):
        built("convs", "norms", "head", abstract=True)
