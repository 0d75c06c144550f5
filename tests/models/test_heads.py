"""Heads: what they make of the part of the features that they look at, and that they take each other's place."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.small import draw, network, plain_convolutions  # noqa: F401
from vidjax.models.base import Features, NoSuchPartError, VideoNetwork, Widths
from vidjax.models.families.resnet import ResNet
from vidjax.models.heads import Attentive, Dense
from vidjax.models.state import split


def test_one_window_gives_plain_logits():
    head = Dense(5, 3, rngs=nnx.Rngs(0))
    x = draw((2, 1, 1, 1, 5))
    np.testing.assert_allclose(head(x), head.each(x)[:, 0, 0, 0], rtol=1e-6)


def test_several_windows_average_probabilities():
    head = Dense(5, 3, rngs=nnx.Rngs(0))
    x = 4 * draw((2, 2, 3, 2, 5))
    logits = head(x)
    chex.assert_shape(logits, (2, 3))
    wanted = jax.nn.softmax(head.each(x)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(jax.nn.softmax(logits), wanted, rtol=1e-5)
    assert float(jnp.abs(jax.nn.softmax(head.each(x).mean(axis=(1, 2, 3))) - wanted).max()) > 0.01


def test_the_answer_is_float32_and_dropout_falls_on_each_window():
    head = Dense(5, 3, rngs=nnx.Rngs(0))
    assert head(jnp.ones((2, 1, 2, 2, 5), jnp.bfloat16)).dtype == jnp.float32
    x = draw((2, 4, 5))
    np.testing.assert_array_equal(head(x, lambda x: x.at[:, 0].set(0)), head(x.at[:, 0].set(0)))


@pytest.mark.slow
def test_a_head_takes_anothers_place_and_all_other_parameters_keep_theirs():
    model = ResNet(3, **network())
    model.eval()
    before, video = split(model)[1], draw((2, 3, 8, 8, 3))
    model.head = Attentive(model.width_of("tokens"), 7, blocks=2, rngs=nnx.Rngs(1))
    after = split(model)[1]
    assert {path for path in after if not path.startswith("head.")} == {p for p in before if not p.startswith("head.")}
    logits = nnx.jit(lambda model, video: model(video))(model, video)
    tokens = model.tokens(video)
    chex.assert_trees_all_close(logits, model.head.linear(model.head.pooler(tokens)), atol=1e-5)
    chex.assert_shape(logits, (2, 7))


@pytest.mark.slow
def test_dropout_of_an_attentive_head_falls_before_its_last_layer():
    head, x = Attentive(8, 3, rngs=nnx.Rngs(0)), draw((2, 5, 8))
    np.testing.assert_allclose(head(x, lambda x: 2 * x), head.linear(2 * head.pooler(x)), rtol=1e-6)


def test_a_head_on_a_network_without_its_part_is_refused_with_both_names():
    class Blind(VideoNetwork):
        widths, dropout = Widths(4), nnx.Dropout(0.0)

        def encode(self, video, rngs=None):
            return Features(video.mean(axis=(1, 2, 3)))

    model = Blind()
    with pytest.raises(NoSuchPartError, match="Blind has no tokens, which Attentive reads"):
        model.width_of("tokens", "Attentive")
    model.head = Dense(4, 3, rngs=nnx.Rngs(0))
    with pytest.raises(NoSuchPartError, match="Blind has no windows, which Dense reads; it has pooled"):
        model(draw((1, 2, 4, 4, 3)))
