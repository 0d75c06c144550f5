"""Contrastive losses, against their definitions in NumPy."""

import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.text_video import network, spec
from vidjax import parallel
from vidjax.config import ConfigError
from vidjax.models.state import merge, split
from vidjax.tasks.retrieve.objective import ContrastObjective


class Given:
    """A network whose similarities are given."""

    logit_bias = 0.0

    def __init__(self, similar):
        self.similar = jnp.asarray(similar)

    def encode(self, video, rngs=None):
        return types.SimpleNamespace(pooled=video)

    def encode_text(self, numbers):
        return numbers

    def compare(self, features, texts):
        return self.similar

    def scaled(self, cosines, most):
        return cosines


def loss_of(similar, videos, texts, kind="softmax"):
    count = len(similar)
    inputs = {"video": jnp.zeros((count, 4, 16, 16, 3), jnp.uint8), "text": jnp.asarray(texts, jnp.int32)[:, None]}
    examples = {"inputs": inputs, "targets": {"video": jnp.asarray(videos, jnp.int32)}}
    loss, sums = ContrastObjective(spec(), kind)(Given(similar), examples, jax.random.key(0))
    return float(loss), float(sums["matched"])


SIMILAR = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32) * 3


def test_softmax_is_cross_entropy_both_ways():
    def entropy(rows):
        return sum(np.log(np.exp(row).sum()) - row[i] for i, row in enumerate(rows))

    loss, matched = loss_of(SIMILAR, [1, 2, 3, 4], [1, 2, 3, 4])
    assert loss == pytest.approx(0.5 * (entropy(SIMILAR) + entropy(SIMILAR.T)), rel=1e-5)
    assert matched == (SIMILAR.argmax(axis=1) == np.arange(4)).sum()


def test_sigmoid_is_the_loss_of_each_pair():
    sign = 2 * np.eye(4) - 1
    wanted = np.log1p(np.exp(-sign * SIMILAR)).sum()
    assert loss_of(SIMILAR, [1, 2, 3, 4], [1, 2, 3, 4], "sigmoid")[0] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
@pytest.mark.parametrize(("videos", "texts"), [([1, 1, 2, 3], [1, 2, 3, 4]), ([1, 2, 3, 4], [7, 7, 8, 9])])
def test_captions_of_one_video_and_equal_ones_are_not_negatives_of_each_other(kind, videos, texts):
    changed = SIMILAR.copy()
    changed[0, 1] = changed[1, 0] = 50.0
    assert loss_of(changed, videos, texts, kind) == loss_of(SIMILAR, videos, texts, kind)
    assert loss_of(changed, [1, 2, 3, 4], [1, 2, 3, 4], kind)[0] > 10


def test_a_batch_of_one_video_gives_no_loss():
    assert loss_of(SIMILAR, [5] * 4, [1, 2, 3, 4])[0] == pytest.approx(0, abs=1e-5)


@pytest.mark.slow
def test_gradients_over_devices_are_those_of_the_whole_batch():
    rng, objective = np.random.default_rng(1), ContrastObjective(spec())
    examples = {
        "inputs": {
            "video": rng.integers(0, 256, (8, 4, 16, 16, 3), np.uint8),
            "text": rng.integers(1, 79, (8, 6)).astype(np.int32),
        },
        "targets": {"video": np.array([1, 1, 2, 3, 4, 5, 6, 7], np.int32)},
    }
    graphdef, params, stats = split(network())

    def loss(params, examples):
        return objective(merge(graphdef, params, stats), examples, jax.random.key(0))[0]

    run = jax.jit(jax.value_and_grad(loss))
    mesh = parallel.make_mesh()
    assert parallel.batch_shards(mesh) == 8
    spread = parallel.place(examples, parallel.batch_sharding(mesh))
    whole, parts = run(params, examples), run(jax.device_put(params, parallel.replicated(mesh)), spread)
    chex.assert_trees_all_close(jax.device_get(parts), jax.device_get(whole), rtol=1e-4, atol=1e-5)
    assert float(jnp.abs(whole[1]["text.proj.kernel"]).max()) > 1e-3


@pytest.mark.slow
def test_pairs_need_a_bias():
    model = network()
    examples = {
        "inputs": {"video": jnp.zeros((2, 4, 16, 16, 3), jnp.uint8), "text": jnp.ones((2, 4), jnp.int32)},
        "targets": {"video": jnp.arange(2, dtype=jnp.int32)},
    }
    with pytest.raises(ConfigError, match=r"no bias; give --config\.model\.kwargs\.biased=True"):
        ContrastObjective(spec(), "sigmoid")(model, examples, jax.random.key(0))
