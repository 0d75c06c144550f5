"""Schedules and optimisers against their formulas and PyTorch."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.models.abstract import params_of
from tests.peers import needs
from vidjax.config import Config, ConfigError, OptimizerConfig
from vidjax.config.validate import validate
from vidjax.training.optimizer import decayed, layer_numbers, make_optimizer, make_schedule, warmup_steps


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


def test_linear():
    config = OptimizerConfig(learning_rate=0.1, schedule="linear", warmup_epochs=1, final_factor=0.5)
    schedule = make_schedule(config, steps=50, steps_per_epoch=10, batch_size=1)
    np.testing.assert_allclose([schedule(step) for step in (0, 5, 10, 30, 50)], [0, 0.05, 0.1, 0.075, 0.05], rtol=1e-5)


def test_steps():
    torch = needs("torch")
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


@pytest.mark.parametrize(("steps", "warmup"), [(51, 50), (50, 25), (20, 10), (3, 1), (1, 0)])
def test_a_warmup_that_is_no_shorter_than_the_run_takes_half_of_it(steps, warmup):
    config = OptimizerConfig(learning_rate=0.1, warmup_epochs=5.0)
    assert warmup_steps(config, steps=steps, steps_per_epoch=10) == warmup
    schedule = make_schedule(config, steps=steps, steps_per_epoch=10, batch_size=1)
    rates = [float(schedule(step)) for step in range(steps)]
    assert int(np.argmax(rates)) == warmup and rates[warmup] == pytest.approx(0.1)


def test_weight_decay_spares_norms_biases_and_tokens():
    paths = ("stem.conv.kernel", "stem.norm.scale", "stem.norm.bias", "head.kernel", "head.bias", "attn.q_bias", "cls")
    assert [path for path, on in decayed(dict.fromkeys(paths)).items() if on] == ["stem.conv.kernel", "head.kernel"]


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adamw"])
def test_updates_equal_pytorch(name):
    torch = needs("torch")
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


# Parameters by the layer that they count with; the last is that of head and norm.
LAYERS = {
    "timesformer_base_divided": (13, {"time_embed": 0, "cls_token": 0, "blocks.0.earlier.0.fc.kernel": 1,
                                      "blocks.11.mlp.fc2.bias": 12, "norm.scale": 13}),
    "vivit_base_16x2_fe": (17, {"patch_embed.kernel": 0, "temporal_pos_embed": 0, "blocks.11.norm1.scale": 12,
                                "temporal_blocks.0.norm1.scale": 13, "temporal_blocks.3.attn.qkv.kernel": 16,
                                "temporal_norm.scale": 17}),
    "swin3d_t": (13, {"patch_norm.scale": 0, "stages.0.blocks.1.attn.relative_bias": 2,
                      "stages.1.merge.reduction.kernel": 3, "stages.1.blocks.0.norm1.bias": 3,
                      "stages.3.blocks.1.mlp.fc1.kernel": 12, "norm.bias": 13}),
    "mvit_v2_s": (17, {"class_token": 0, "blocks.0.attn.relative_t": 1, "blocks.15.attn.proj.kernel": 16}),
    "mvit_v1_b_16x4": (17, {"spatial_positions": 0, "temporal_positions": 0, "blocks.0.proj.kernel": 1}),
    "videomae_base": (13, {"patch_embed.bias": 0, "blocks.0.attn.q_bias": 1, "fc_norm.scale": 13}),
    "videomae_base_pretrain": (13, {"mask_token": 0, "blocks.11.norm2.scale": 12, "decoder.blocks.0.norm1.scale": 13}),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_every_transformer(name):
    last, examples = LAYERS[name]
    params = params_of(name)
    numbers = layer_numbers(params)
    assert numbers.keys() == params.keys() and set(numbers.values()) == set(range(last + 1))
    assert {path: numbers[path] for path in examples} == examples
    assert all(number == last for path, number in numbers.items() if path.startswith("head."))


@pytest.mark.parametrize("name", LAYERS)
def test_what_decays_is_what_mae_decays(name):
    """All but arrays of one axis, tokens, positions and tables of relative ones."""
    params = params_of(name)
    spared = ("token", "pos", "embed", "relative")
    expected = {
        path: len(shape) > 1 and not any(word in path.replace("patch_embed", "") for word in spared)
        for path, shape in params.items()
    }
    assert decayed(params) == expected


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_layer_decay_scales_the_whole_update_of_a_layer(name):
    """The head has the rate, each layer below a share of the next one's; weight decay goes with it, as in PyTorch."""
    params = {path: jnp.ones((2, 2)) for path in ("patch_embed.kernel", "blocks.0.mlp.kernel", "head.kernel")}
    gradients = {path: jnp.full((2, 2), 0.5) for path in params}
    config = OptimizerConfig(name=name, learning_rate=0.1, schedule="constant", weight_decay=0.1)

    def updates(decay):
        config.layer_decay = decay
        optimizer = make_optimizer(config, make_schedule(config, steps=9, steps_per_epoch=1, batch_size=1))
        state = optimizer.init(params)
        for _ in range(3):
            changes, state = optimizer.update(gradients, state, params)
        return changes

    plain, scaled = updates(1.0), updates(0.5)
    for path, share in (("patch_embed.kernel", 0.25), ("blocks.0.mlp.kernel", 0.5), ("head.kernel", 1.0)):
        np.testing.assert_allclose(scaled[path], share * plain[path], rtol=1e-6)


def test_layer_decay_needs_blocks():
    optimizer = make_optimizer(OptimizerConfig(layer_decay=0.5), lambda _: 0.1)
    params = {"conv.kernel": jnp.ones(2)}
    with pytest.raises(ConfigError, match="layer_decay is for Transformers"):
        optimizer.update(params, optimizer.init(params), params)


def test_the_backbone_learns_at_a_share_of_the_rate():
    params = {"head.kernel": jnp.ones((2, 2)), "blocks.0.mlp.fc1.kernel": jnp.ones((2, 2)), "norm.scale": jnp.ones(2)}
    updates = {}
    for factor in (1.0, 0.1):
        config = OptimizerConfig(name="adamw", weight_decay=0.1, backbone_factor=factor)
        optimizer = make_optimizer(config, lambda _: 0.5)
        updates[factor], _ = optimizer.update(params, optimizer.init(params), params)
    for path, update in updates[1.0].items():
        share = 1.0 if path == "head.kernel" else 0.1
        np.testing.assert_allclose(updates[0.1][path], share * np.asarray(update), rtol=1e-6)


def test_other_parts_may_have_the_full_rate():
    params = {"head.kernel": jnp.ones(2), "stem.0.kernel": jnp.ones(2), "encoder.kernel": jnp.ones(2)}
    config = OptimizerConfig(momentum=0.0, weight_decay=0.0, backbone_factor=0.1, full_rate=("head", "stem"))
    optimizer = make_optimizer(config, lambda _: 0.5)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    found = {path: float(update[0]) for path, update in updates.items()}
    assert found == pytest.approx({"head.kernel": -0.5, "stem.0.kernel": -0.5, "encoder.kernel": -0.05})
    optimizer = make_optimizer(dataclasses.replace(config, full_rate=("heads",)), lambda _: 0.5)
    with pytest.raises(ConfigError, match=r"full_rate: no trained parameter is of heads; .* are encoder, head, stem"):
        optimizer.update(params, optimizer.init(params), params)
    with pytest.raises(ConfigError, match=r"optimizer\.full_rate.*is for optimizer.backbone_factor"):
        validate(Config(optimizer=dataclasses.replace(config, backbone_factor=1.0)))
