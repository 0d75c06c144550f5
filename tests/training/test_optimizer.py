"""Schedules and optimisers against their formulas and PyTorch."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from vidjax.config import ConfigError, OptimizerConfig
from vidjax.training.optimizer import decayed, make_optimizer, make_schedule


def test_warmup_then_cosine_reaches_peak_and_final():
    config = OptimizerConfig(learning_rate=0.4, warmup_epochs=2, final_factor=0.1)
    schedule = make_schedule(config, steps=100, steps_per_epoch=5, batch_size=8)
    values = np.array([schedule(i) for i in range(101)])
    np.testing.assert_allclose(values[0], 0)
    np.testing.assert_allclose(values[5], 0.2, rtol=1e-6)
    np.testing.assert_allclose(values[10], 0.4, rtol=1e-6)
    np.testing.assert_allclose(values[55], 0.4 * (0.1 + 0.9 * 0.5), rtol=1e-5)
    np.testing.assert_allclose(values[100], 0.04, rtol=1e-5)
    assert (np.diff(values[10:]) <= 1e-9).all()


def test_linear_scaling_only_on_request():
    plain = make_schedule(OptimizerConfig(learning_rate=0.1), steps=10, steps_per_epoch=1, batch_size=512)
    scaled = make_schedule(
        OptimizerConfig(learning_rate=0.1, base_batch=64), steps=10, steps_per_epoch=1, batch_size=512
    )
    np.testing.assert_allclose([plain(0), scaled(0)], [0.1, 0.8], rtol=1e-6)


def test_constant_schedule():
    config = OptimizerConfig(learning_rate=0.1, schedule="constant")
    np.testing.assert_allclose(make_schedule(config, steps=10, steps_per_epoch=1, batch_size=1)(9), 0.1, rtol=1e-6)


def test_steps():
    config = OptimizerConfig(learning_rate=0.1, schedule="steps", step_epochs=(4.0, 6.5), step_factor=0.1)
    schedule = make_schedule(config, steps=80, steps_per_epoch=10, batch_size=1)
    reference = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    falling = torch.optim.lr_scheduler.MultiStepLR(reference, [40, 65], gamma=0.1)
    for step in range(80):
        np.testing.assert_allclose(schedule(step), falling.get_last_lr()[0], rtol=1e-5, err_msg=str(step))
        reference.step()
        falling.step()


def test_steps_behind_a_warmup_from_a_share_of_the_peak():
    config = OptimizerConfig(
        learning_rate=0.1, schedule="steps", step_epochs=(4.0,), warmup_epochs=2.0, warmup_factor=0.25
    )
    schedule = make_schedule(config, steps=80, steps_per_epoch=10, batch_size=1)
    np.testing.assert_allclose([schedule(i) for i in (0, 10, 20, 39, 41, 79)],
                               [0.025, 0.0625, 0.1, 0.1, 0.01, 0.01], rtol=1e-5)  # fmt: skip


def test_warmup_longer_than_the_run():
    with pytest.raises(ConfigError, match=r"warmup_epochs = 5.*50 warm-up steps, but the whole run has 20"):
        make_schedule(OptimizerConfig(warmup_epochs=5.0), steps=20, steps_per_epoch=10, batch_size=1)


def test_weight_decay_spares_norms_biases_and_tokens():
    paths = ("stem.conv.kernel", "stem.norm.scale", "stem.norm.bias", "head.kernel", "head.bias", "attn.q_bias", "cls")
    assert [path for path, on in decayed(dict.fromkeys(paths)).items() if on] == ["stem.conv.kernel", "head.kernel"]


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adamw"])
def test_updates_equal_pytorch(name):
    config = OptimizerConfig(
        name="adamw" if name == "adamw" else "sgd",
        learning_rate=0.1,
        schedule="constant",
        nesterov=name == "nesterov",
        weight_decay=0.05,
    )
    start = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    optimizer = make_optimizer(config, make_schedule(config, steps=9, steps_per_epoch=1, batch_size=1))
    params = {"kernel": jnp.asarray(start)}
    state = optimizer.init(params)
    weight = torch.nn.Parameter(torch.tensor(start))
    if name == "adamw":
        reference = torch.optim.AdamW([weight], lr=0.1, betas=(0.9, 0.999), weight_decay=0.05)
    else:
        reference = torch.optim.SGD([weight], lr=0.1, momentum=0.9, weight_decay=0.05, nesterov=name == "nesterov")
    for i in range(5):
        gradient = np.random.default_rng(i + 1).standard_normal((3, 4)).astype(np.float32)
        updates, state = optimizer.update({"kernel": jnp.asarray(gradient)}, state, params)
        params = optax.apply_updates(params, updates)
        weight.grad = torch.tensor(gradient)
        reference.step()
    np.testing.assert_allclose(params["kernel"], weight.detach().numpy(), rtol=1e-5, atol=1e-5)


def test_clipping_bounds_the_gradient():
    config = OptimizerConfig(learning_rate=1.0, schedule="constant", momentum=0.0, weight_decay=0.0, clip_norm=0.5)
    optimizer = make_optimizer(config, optax.constant_schedule(1.0))
    params = {"kernel": jnp.zeros((4,))}
    updates, _ = optimizer.update({"kernel": jnp.full((4,), 100.0)}, optimizer.init(params), params)
    np.testing.assert_allclose(optax.tree.norm(updates), 0.5, rtol=1e-6)
