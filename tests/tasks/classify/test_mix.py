"""Mixup and CutMix: pixels and targets agree, timm's targets, the same whatever the split of the batch."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from flax import nnx

from tests.training.toys import SPEC, Toy, make_batch, run
from vidjax import parallel
from vidjax.config import ClassifyConfig
from vidjax.nn.enter import normalise
from vidjax.tasks.classify.mix import MixRule, draw_mix, mix_clips
from vidjax.tasks.classify.objective import ClassObjective, classification_loss, num_correct
from vidjax.training.loop import train
from vidjax.training.step import StepOptions, init_state, make_train_step

BOTH = MixRule(mixup=0.8, cutmix=1.0)


def draws(rule, count=200, batch=4, height=20, width=30):
    """`count` draws for batches of 4 clips."""
    draw = jax.jit(jax.vmap(lambda key: draw_mix(rule, key, batch, height, width)))
    return jax.device_get(draw(jax.random.split(jax.random.key(0), count)))


def test_what_config_asks_for():
    assert MixRule.of(ClassifyConfig()) is None
    assert MixRule.of(ClassifyConfig(mixup=0.8, mix_probability=0.0)) is None
    config = ClassifyConfig(mixup=0.8, cutmix=0.3, mix_probability=0.7, cutmix_share=0.2, mix_per_clip=True)
    assert MixRule.of(config) == MixRule(0.8, 0.3, 0.7, 0.2, True)


def test_mixup_draws():
    mix = draws(MixRule(mixup=0.2), count=2000)
    chex.assert_shape([mix.weight, mix.blend, mix.box], [(2000, 4), (2000, 4), (2000, 4, 4)])
    np.testing.assert_array_equal(mix.weight, mix.blend)
    np.testing.assert_array_equal(mix.weight, mix.weight[:, :1].repeat(4, 1))
    assert not mix.box.any()


@pytest.mark.parametrize("alpha", [0.4, 0.8, 1.0, 5.0])
def test_shares_follow_beta(alpha):
    drawn = draws(MixRule(mixup=alpha), count=4000).weight[:, 0]
    assert scipy.stats.kstest(drawn, scipy.stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_cutmix_draws():
    mix = draws(MixRule(cutmix=1.0))
    top, bottom, left, right = np.moveaxis(mix.box, -1, 0)
    assert (top >= 0).all() and (bottom <= 20).all() and (left >= 0).all() and (right <= 30).all()
    assert (bottom >= top).all() and (right >= left).all() and (mix.blend == 1).all()
    # The weight is that of the pixels, also where the box is cut off at an edge.
    np.testing.assert_allclose(mix.weight, 1 - (bottom - top) * (right - left) / 600, rtol=1e-5)
    assert mix.weight.min() < 0.3 and mix.weight.max() > 0.95
    assert len(np.unique(top)) > 10 and len(np.unique(right)) > 10


@pytest.mark.parametrize(
    ("rule", "mixed", "cut"),
    [
        (MixRule(0.8, 1.0), 1.0, 0.5),
        (MixRule(0.8, 1.0, probability=0.25), 0.25, 0.125),
        (MixRule(0.8, 1.0, cutmix_share=0.9), 1.0, 0.9),
        (MixRule(0.8, 1.0, cutmix_share=0.0), 1.0, 0.0),
        (MixRule(cutmix=1.0, cutmix_share=0.0), 1.0, 1.0),
    ],
)
def test_how_often(rule, mixed, cut):
    mix = draws(rule)
    cuts, blends = mix.box[:, 0].any(-1), mix.blend[:, 0] < 1
    assert not (cuts & blends).any()
    np.testing.assert_allclose((cuts | blends).mean(), mixed, atol=0.1)
    np.testing.assert_allclose(cuts.mean(), cut, atol=0.1)
    untouched = ~(cuts | blends)
    assert (mix.weight[untouched] == 1).all()


def test_draws_per_clip_differ():
    mix = draws(MixRule(0.8, 1.0, per_clip=True), count=50)
    assert all(len(np.unique(row)) > 2 for row in mix.weight)


def test_pixels_have_the_share_that_the_target_has():
    mix = draw_mix(MixRule(0.8, 1.0, per_clip=True), jax.random.key(1), 32, 16, 16)
    ones, zeros = jnp.ones((32, 2, 16, 16, 3)), jnp.zeros((32, 2, 16, 16, 3))
    mixed = mix_clips(ones, zeros, mix)
    np.testing.assert_allclose(mixed.mean(axis=(1, 2, 3, 4)), mix.weight, atol=1e-5)
    np.testing.assert_array_equal(mixed[:, 0], mixed[:, 1])  # one box for all frames
    np.testing.assert_allclose(mix_clips(zeros, ones, mix) + mixed, 1, atol=1e-6)


def timm_targets(labels, lam, smoothing, num_classes=5):
    """As timm writes them: a floor of smoothing / K everywhere, and the rest on the class."""
    low = smoothing / num_classes
    hot = np.full((len(labels), num_classes), low)
    hot[np.arange(len(labels)), labels] = 1 - smoothing + low
    return lam[:, None] * hot + (1 - lam[:, None]) * hot[::-1]


def test_targets_are_timms():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((6, 5)).astype(np.float32), rng.integers(0, 5, 6).astype(np.int32)
    lam = rng.random(6).astype(np.float32)
    ours = classification_loss(jnp.array(logits), jnp.array(labels), 0.1, jnp.array(labels[::-1]), jnp.array(lam))
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(ours, -(timm_targets(labels, lam, 0.1) * log_p).sum(), rtol=1e-5)


def test_targets_of_several_classes_are_mixed_and_smoothed():
    logits, lam = jnp.array([[0.5, -1.0]]), jnp.array([0.75])
    labels, partner = jnp.array([[1.0, 0.0]]), jnp.array([[1.0, 1.0]])
    target = np.array([[1.0, 0.25]]) * 0.8 + 0.1
    expected = optax.sigmoid_binary_cross_entropy(logits, jnp.array(target, jnp.float32)).mean()
    np.testing.assert_allclose(classification_loss(logits, labels, 0.2, partner, lam), expected, rtol=1e-6)


def test_each_label_of_a_mixed_clip_counts_with_its_share():
    logits = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    labels, partners, lam = jnp.array([0, 1, 1]), jnp.array([1, 0, 1]), jnp.array([0.75, 0.75, 0.75])
    np.testing.assert_allclose(num_correct(logits, labels, partners, lam), 0.75 + 0.25 + 1)


def test_a_step_is_that_of_the_mixed_batch():
    batch, model, seed = make_batch(8), Toy(), 3
    state = run(model, [batch], ClassObjective(SPEC, 0.1, BOTH), seed=seed)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 0), 2**32 - 1)
    mix = draw_mix(BOTH, key, 8, 4, 4)
    video = normalise(jnp.array(batch["inputs"]["video"][:, 0]), SPEC.video)
    labels = jnp.array(batch["targets"]["label"][:, 0])

    def loss(model):
        logits = model({"video": mix_clips(video, video[::-1], mix)})
        return classification_loss(logits, labels, 0.1, labels[::-1], mix.weight) / 8

    value, grads = nnx.jit(nnx.value_and_grad(loss))(model)
    np.testing.assert_allclose(state.metrics["loss"], value, rtol=1e-5)
    kernel = model.head.kernel[...] - 0.1 * grads["head"]["kernel"][...]
    np.testing.assert_allclose(state.params["head.kernel"], kernel, atol=1e-6)


@pytest.mark.parametrize("several", [False, True])
def test_accumulation_mixes_the_same_pairs(several):
    batches = [make_batch(seed=i, several=several) for i in range(2)]
    objective = ClassObjective(SPEC, mix=MixRule(0.8, 1.0, per_clip=True))
    whole, parts = run(Toy(), batches, objective), run(Toy(), batches, objective, accumulate=2)
    chex.assert_trees_all_close(whole.params, parts.params, atol=1e-6)
    for name in ("loss", "correct", "weight"):
        np.testing.assert_allclose(whole.metrics[name], parts.metrics[name], rtol=1e-5)


def test_mixing_depends_on_seed_and_step_alone():
    batch, objective = make_batch(), ClassObjective(SPEC, mix=BOTH)
    one, again, other = (run(Toy(), [batch, batch], objective, seed=seed) for seed in (1, 1, 2))
    chex.assert_trees_all_equal(one.params, again.params)
    assert not np.allclose(one.params["head.kernel"], other.params["head.kernel"], atol=1e-7)
    assert not np.allclose(one.params["head.kernel"], run(Toy(), [batch, batch]).params["head.kernel"], atol=1e-7)


def test_eight_devices_mix_as_one_does():
    results = []
    for devices in (1, 8):
        mesh = parallel.make_mesh(devices)
        optimizer, objective = optax.sgd(0.1), ClassObjective(SPEC, mix=BOTH)
        state = init_state(Toy(), optimizer, ema=False, sums=objective.sums)
        state = parallel.place(state, parallel.replicated(mesh))
        step = make_train_step(Toy(), optimizer, objective, StepOptions(seed=0))
        step = jax.jit(step, donate_argnums=0, out_shardings=parallel.replicated(mesh))
        for i in range(2):
            state = step(state, parallel.place(make_batch(seed=i), parallel.batch_sharding(mesh)))
        results.append(jax.device_get(state.params))
    chex.assert_trees_all_close(*results, atol=1e-6)


def test_settings_reach_the_step(halves, tmp_path, monkeypatch):
    from tests.training.test_loop import QUIET, make_config
    from vidjax.training import compiled_step

    class Reached(Exception):
        pass

    def stop(model, optimizer, objective, options, teacher):
        raise Reached(objective.mix)

    monkeypatch.setattr(compiled_step, "make_train_step", stop)
    with pytest.raises(Reached) as reached:
        train(make_config(halves, ClassifyConfig(mixup=0.8, cutmix=1.0, mix_probability=0.5)), tmp_path / "run", QUIET)
    assert reached.value.args == (MixRule(0.8, 1.0, 0.5),)
