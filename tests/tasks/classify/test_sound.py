"""Training with sound: both streams are mixed with one share, clips without sound give way, spectrograms are masked."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.sounds import chirp
from vidjax import config as cfg
from vidjax.config import ConfigError, SoundConfig, Spec
from vidjax.data.records import LabelSpace
from vidjax.inputs import UNHEARD, AudioInput, FeatureInput, VideoInput
from vidjax.nn.enter import enter
from vidjax.nn.spec_augment import SpecAugment, masked
from vidjax.tasks import make_task
from vidjax.tasks.classify.mix import MixRule
from vidjax.tasks.classify.objective import ClassObjective

SOUND = AudioInput("vggish", 0.2)
VIDEO = VideoInput(2, size=8, mean=(0.5,) * 3, std=(0.25,) * 3)
BOTH = Spec("both", {"video": VIDEO, "audio": SOUND}, num_classes=3)
ALONE = Spec("alone", {"audio": SOUND}, num_classes=3)


def examples_of(spec, count=4):
    """Noise of different loudness and random pictures; the last clip has no sound."""
    rng = np.random.default_rng(0)
    samples = (rng.standard_normal((count, SOUND.samples)) * 1000 * (1 + np.arange(count))[:, None]).astype(np.int16)
    samples[-1] = UNHEARD
    inputs = {"video": rng.integers(0, 256, (count, 2, 8, 8, 3)).astype(np.uint8), "audio": samples}
    label = jnp.arange(count, dtype=jnp.int32) % 3
    return {"inputs": {n: jnp.asarray(inputs[n]) for n in spec.inputs}, "targets": {"label": label}}


def seen_by(objective, examples):
    """What the network is given, and the loss."""
    seen = {}

    def network(inputs, rngs=None):
        seen.update(inputs)
        return jnp.zeros((len(inputs["audio"]), 3))

    loss, _ = objective(network, examples, jax.random.key(0))
    return seen, loss


@pytest.mark.parametrize("rule", [MixRule(mixup=0.8, per_clip=True), MixRule(cutmix=1.0)])
def test_pictures_and_sound_are_mixed_with_the_share_of_the_target(rule):
    objective, plain = ClassObjective(BOTH, mix=rule), examples_of(BOTH)
    mixed = objective.prepare(plain, jax.random.key(2))
    seen, _ = seen_by(objective, mixed)
    apart = enter(plain["inputs"], BOTH.inputs)
    share = np.array(mixed["mix"].weight)
    assert (share < 1).any()
    # Clips 0 and 3 are partners, of which only 0 is heard; 1 and 2 both are.
    share[[0, 3]] = 1, 0
    expected = share[:, None, None] * apart["audio"] + (1 - share)[:, None, None] * apart["audio"][::-1]
    np.testing.assert_allclose(seen["audio"], expected, atol=1e-5)
    assert seen["heard"].tolist() == [True] * 4 and apart["heard"].tolist() == [True, True, True, False]
    if rule.mixup:
        blend = np.asarray(mixed["mix"].weight).reshape(-1, 1, 1, 1, 1)
        pictures = blend * apart["video"] + (1 - blend) * apart["video"][::-1]
        np.testing.assert_allclose(seen["video"], pictures, atol=1e-5)


def test_spectrograms_are_masked_after_mixing():
    rule = SpecAugment(1, 6, 1, 30)
    objective, plain = ClassObjective(ALONE, mix=MixRule(mixup=1.0), masks=rule), examples_of(ALONE)
    unmasked = ClassObjective(ALONE, mix=MixRule(mixup=1.0))
    key = jax.random.key(5)
    examples, without = objective.prepare(plain, key), unmasked.prepare(plain, key)
    np.testing.assert_array_equal(examples["mix"].weight, without["mix"].weight)
    seen, expected = seen_by(objective, examples)[0]["audio"], seen_by(unmasked, without)[0]["audio"]
    np.testing.assert_array_equal(seen, masked(expected, examples["masks"]["audio"]))
    assert 0 < (seen == 0).mean() < 0.9


@pytest.mark.slow
def test_the_loss_adds_up_over_parts_of_a_batch():
    objective = ClassObjective(BOTH, mix=MixRule(mixup=0.8, per_clip=True), masks=SpecAugment(1, 6, 1, 30))
    examples = objective.prepare(examples_of(BOTH, 6), jax.random.key(1))

    def network(inputs, rngs=None):
        return inputs["audio"].mean(axis=1)[:, :3] + inputs["video"].mean(axis=(1, 2, 3)) + inputs["heard"][:, None]

    def loss(rows):
        return objective(network, jax.tree.map(lambda x: x[rows], examples), jax.random.key(0))[0]

    np.testing.assert_allclose(loss(slice(0, 2)) + loss(slice(2, 6)), loss(slice(None)), rtol=1e-5)


def test_settings_that_do_not_fit_are_refused():
    labels = LabelSpace(("a", "b", "c"))
    config = cfg.Config()
    config.task.classify.cutmix = 1.0
    assert make_task(config, BOTH, labels).objective.mix == MixRule(cutmix=1.0)
    with pytest.raises(ConfigError, match=r"cutmix = 1.0: cuts boxes out of pictures, and alone sees none; use mixup"):
        make_task(config, ALONE, labels)
    with pytest.raises(ConfigError, match="mix clips of one video, and sound; not other inputs"):
        make_task(config, Spec("x", {"features": FeatureInput(2, 3)}), labels)
    config = cfg.Config(data=cfg.DataConfig(sound=SoundConfig(time_masks=2, time_mask=64)))
    assert make_task(config, ALONE, labels).objective.masks == SpecAugment(2, 64)
    other = SimpleNamespace(task="reconstruct")
    with pytest.raises(ConfigError, match="the task 'reconstruct' masks no spectrograms"):
        make_task(config, other, labels)


def test_a_sound_alone_is_mixed():
    wave = np.stack([chirp(seconds=0.2), -chirp(seconds=0.2)]) * 20_000
    samples = {"audio": jnp.asarray(wave.astype(np.int16))}
    objective = ClassObjective(ALONE, mix=MixRule(mixup=1.0))
    examples = objective.prepare({"inputs": samples, "targets": {"label": jnp.array([0, 1])}}, jax.random.key(0))
    seen, loss = seen_by(objective, examples)
    # A wave and its negative have the same spectrogram, whatever their shares.
    np.testing.assert_allclose(seen["audio"], enter(samples, ALONE.inputs)["audio"], atol=1e-5)
    assert np.isfinite(loss)
