"""Networks that see and hear: what they take, what a clip without sound is, and what each fusion can learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.models.abstract import drawn
from vidjax.errors import UserError
from vidjax.models.audio_visual import AudioVisual, DropPathway, SoundFusion, seen_and_heard, where_heard
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.nn.clips import ClipError


class Mean(VideoNetwork):
    """A layer on the mean of what it is given."""

    def __init__(self, features, width, *, rngs):
        self.layer, self.widths = nnx.Linear(features, width, rngs=rngs), Widths(width)
        self.dropout, self.head = nnx.Dropout(0.0), nnx.Linear(width, 3, rngs=rngs)

    def taken(self, inputs):
        return inputs

    def encode(self, video, rngs=None):
        del rngs
        return Features(self.layer(video.reshape(video.shape[0], -1, video.shape[-1]).mean(axis=1)))


def network(dropped=0.0, **options):
    def build(rngs):
        parts = Mean(3, 5, rngs=rngs), Mean(7, 4, rngs=rngs)
        return AudioVisual(*parts, 2, options=SoundFusion(drop_pathway=dropped, **options), rngs=rngs)

    return drawn(build)


def inputs(batch=2, **more):
    rng = np.random.default_rng(0)
    video, audio = rng.standard_normal((batch, 2, 4, 4, 3)), rng.standard_normal((batch, 6, 7))
    return {"video": video.astype(np.float32), "audio": audio.astype(np.float32)} | more


FUSIONS = [{"fusion": "concat"}, {"fusion": "concat", "hidden": 6}, {"fusion": "gated"}]


@pytest.mark.parametrize("options", FUSIONS)
def test_a_clip_without_sound_is_what_is_seen(options):
    model, given = network(**options), inputs(heard=np.array([True, False]))
    other = given | {"audio": given["audio"][::-1] + 1}
    one, two, loud = model(given), model(other), model(inputs())
    assert np.abs(one[0] - two[0]).max() > 1e-3
    np.testing.assert_array_equal(one[1], two[1])
    assert np.abs(one[1] - loud[1]).max() > 1e-3
    silent = model(given | {"audio": 0 * given["audio"], "heard": np.ones(2, bool)})
    assert np.abs(one[1] - silent[1]).max() > 1e-3  # silence is something to hear
    assert np.abs(one[1] - model(given | {"video": -given["video"]})[1]).max() > 1e-3


def test_widths():
    assert [network(**options).widths.pooled for options in FUSIONS] == [9, 6, 5]
    assert network(fusion="gated", hidden=8).features(inputs()).shape == (2, 8)


def test_the_gate_mixes_channel_by_channel():
    model = network(fusion="gated")
    seen, sound = jnp.ones((1, 5)), jnp.ones((1, 4))
    model.gate.kernel[...] = jnp.zeros_like(model.gate.kernel[...])
    model.gate.bias[...] = jnp.array([-99.0, 99.0, 0.0, 0.0, 0.0])
    mixed, yes = model.fused(seen, sound, np.array([True]))[0], np.array([True])
    of_pictures, of_sound = jnp.tanh(model.of_pictures(seen))[0], jnp.tanh(model.of_sound(sound))[0]
    np.testing.assert_allclose(mixed[:3], [of_pictures[0], of_sound[1], (of_pictures[2] + of_sound[2]) / 2], atol=1e-6)
    np.testing.assert_allclose(model.fused(seen, sound, ~yes)[0], of_pictures, atol=1e-6)


@pytest.mark.slow
def test_sums_cannot_tell_whether_two_signs_agree_and_fused_features_can():
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], (64, 2)).astype(np.float32)
    given = {
        "video": np.broadcast_to(signs[:, 0, None, None, None, None], (64, 1, 1, 1, 3)),
        "audio": np.broadcast_to(signs[:, 1, None, None], (64, 1, 7)),
    }
    labels = (signs.prod(axis=1) > 0).astype(int)

    def accuracy(model):
        graphdef, state = nnx.split(model)
        optimiser = optax.adam(0.05)

        def loss(state):
            logits = nnx.merge(graphdef, state)(given)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits

        @jax.jit
        def step(state, moments):
            (_, logits), gradients = jax.value_and_grad(loss, has_aux=True)(state)
            updates, moments = optimiser.update(gradients, moments)
            return optax.apply_updates(state, updates), moments, logits

        moments = optimiser.init(state)
        for _ in range(200):
            state, moments, logits = step(state, moments)
        return (np.asarray(logits).argmax(axis=1) == labels).mean()

    assert accuracy(network(fusion="concat")) <= 0.8
    assert accuracy(network(fusion="concat", hidden=16)) == 1
    assert accuracy(network(fusion="gated", hidden=16)) == 1


def test_sound_is_dropped_in_training_only():
    drop, heard = DropPathway(0.5), np.arange(200) % 4 > 0
    left = np.asarray(drop(heard, nnx.Rngs(dropout=0)))
    assert not left[~heard].any() and 50 < left.sum() < 100
    with pytest.raises(ValueError, match=r"rngs=nnx\.Rngs\(dropout"):
        drop(heard)
    drop.deterministic = True
    np.testing.assert_array_equal(drop(heard), heard)
    for rate in (-0.1, 1.0):
        with pytest.raises(ValueError, match="drop_pathway"):
            DropPathway(rate)


def test_options():
    with pytest.raises(UserError, match="fusion = 'sum': must be concat or gated"):
        SoundFusion(fusion="sum")
    with pytest.raises(UserError, match="hidden = -1"):
        SoundFusion(hidden=-1)


def test_what_is_taken():
    given = inputs()
    taken = seen_and_heard(given, 3, "Net")
    assert taken["heard"].dtype == bool and taken["heard"].tolist() == [True, True]
    for wrong, message in (
        (given["video"], "takes a mapping of clips as 'video' and spectrograms as 'audio'"),
        ({"video": given["video"]}, "takes an input named 'audio', but got 'video'"),
        (given | {"video": given["video"][..., :2]}, "with C = 3"),
        (given | {"audio": given["audio"].astype(np.int16)}, r"int16 \(2, 6, 7\): expected floating-point"),
        (given | {"audio": given["audio"][:, 0]}, r"expected floating-point spectrograms \(B, N, M\)"),
        (given | {"audio": given["audio"][:1]}, r"audio \(1, 6, 7\), heard \(2,\): expected as many as clips, 2"),
        (given | {"heard": np.ones(3, bool)}, "expected as many as clips"),
    ):
        with pytest.raises((ClipError, UserError), match=message):
            seen_and_heard(wrong, 3, "Net")


def test_rows_that_were_not_heard():
    x = np.ones((2, 3, 4), np.float32)
    np.testing.assert_array_equal(where_heard(np.array([True, False]), x)[:, 0, 0], [1, 0])
    np.testing.assert_array_equal(where_heard(np.array([False, True]), x, np.arange(4.0))[0, 0], np.arange(4))
