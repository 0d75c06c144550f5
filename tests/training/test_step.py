"""The training step: loss, accumulation, EMA, dropout keys, divergence, placement."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.peers import needs
from vidjax import parallel
from vidjax.config import Spec
from vidjax.models.state import split
from vidjax.tasks.classify.objective import classification_loss, num_correct
from vidjax.training.step import init_state, make_train_step, next_metrics

SPEC = Spec.of_video("toy", num_frames=2, size=4, mean=(0.5,) * 3, std=(0.25,) * 3)


class Toy(nnx.Module):
    """A linear classifier with dropout: small enough that every compile takes no time."""

    def __init__(self, num_classes: int = 5, dropout: float = 0.0):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Linear(3, 8, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = nnx.Linear(8, num_classes, rngs=rngs)

    def __call__(self, video, rngs=None):
        x = nnx.relu(self.conv(video)).mean(axis=(1, 2, 3))
        return self.head(self.dropout(x, rngs=rngs))


class ToyNorm(Toy):
    def __init__(self):
        super().__init__()
        self.norm = nnx.BatchNorm(8, rngs=nnx.Rngs(0))

    def __call__(self, video, rngs=None):
        return self.head(self.norm(nnx.relu(self.conv(video)).mean(axis=(1, 2, 3))))


def make_batch(size=16, seed=0, views=1, multi_label=False):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, size).astype(np.int32)
    if multi_label:
        labels = (rng.random((size, 5)) < 0.4).astype(np.float32)
    return {"video": rng.integers(0, 256, (size, views, 2, 4, 4, 3)).astype(np.uint8), "label": labels}


def run(model, batches, **kwargs):
    optimizer = optax.sgd(0.1, momentum=0.9)
    state = init_state(model, optimizer, ema=kwargs.get("ema_decay", 0) > 0)
    step = jax.jit(make_train_step(model, optimizer, SPEC, seed=kwargs.pop("seed", 0), **kwargs))
    for batch in batches:
        state = step(state, batch)
    return state


def test_loss_equals_pytorch():
    torch = needs("torch")
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((6, 4)).astype(np.float32), rng.integers(0, 4, 6).astype(np.int32)
    expected = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(labels).long(), label_smoothing=0.2)
    np.testing.assert_allclose(classification_loss(jnp.array(logits), jnp.array(labels), 0.2), expected, rtol=1e-6)
    many = (rng.random((6, 4)) < 0.5).astype(np.float32)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(torch.tensor(logits), torch.tensor(many))
    np.testing.assert_allclose(classification_loss(jnp.array(logits), jnp.array(many)), expected, rtol=1e-6)


def test_num_correct():
    logits = jnp.array([[0.0, 2.0, 1.0], [3.0, 0.0, 1.0]])
    assert num_correct(logits, jnp.array([1, 2])) == 1
    assert num_correct(logits, jnp.array([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0]])) == 1


def test_step_updates_everything_and_sums_metrics():
    state = run(ToyNorm(), [make_batch(seed=i) for i in range(3)], ema_decay=0.5)
    before = init_state(ToyNorm(), optax.sgd(0.1, momentum=0.9), ema=True)
    assert int(state.step) == 3
    assert float(state.metrics["clips"]) == 48 and float(state.metrics["updates"]) == 3
    assert int(state.metrics["bad_step"]) == -1
    for path in before.params:
        assert not np.allclose(before.params[path], state.params[path]), path
    for path in before.stats:
        assert not np.allclose(before.stats[path], state.stats[path]), path
    chex.assert_tree_all_finite(state)


def test_ema_is_the_moving_average():
    batches = [make_batch(seed=i) for i in range(3)]
    states = [run(Toy(), batches[:n], ema_decay=0.75) for n in range(4)]
    expected = states[0].params
    for state in states[1:]:
        expected = jax.tree.map(lambda e, p: 0.75 * e + 0.25 * p, expected, state.params)
    chex.assert_trees_all_close(states[3].ema["params"], expected, rtol=1e-5)


@pytest.mark.parametrize("multi_label", [False, True])
def test_accumulation_is_the_same_update(multi_label):
    batches = [make_batch(seed=i, multi_label=multi_label) for i in range(2)]
    whole, parts = run(Toy(), batches), run(Toy(), batches, accumulate=4)
    chex.assert_trees_all_close(whole.params, parts.params, atol=1e-6)
    for name in ("loss", "correct", "clips"):
        np.testing.assert_allclose(whole.metrics[name], parts.metrics[name], rtol=1e-5)


def test_views_count_as_clips():
    batch = make_batch(8, views=2)
    flat = {"video": batch["video"].reshape(16, 1, 2, 4, 4, 3), "label": np.repeat(batch["label"], 2)}
    chex.assert_trees_all_close(run(Toy(), [batch]).params, run(Toy(), [flat]).params, atol=1e-6)


def test_dropout_depends_on_seed_and_step_alone():
    batch = make_batch()
    one, again = (run(Toy(dropout=0.5), [batch, batch], seed=1) for _ in range(2))
    other = run(Toy(dropout=0.5), [batch, batch], seed=2)
    chex.assert_trees_all_equal(one.params, again.params)
    assert not np.allclose(one.params["head.kernel"], other.params["head.kernel"])


def test_bad_step_is_the_first_one_that_is_not_finite():
    model = Toy()
    optimizer = optax.sgd(0.1)
    state = init_state(model, optimizer, ema=False)
    step = jax.jit(make_train_step(model, optimizer, SPEC, seed=0))
    state = step(state, make_batch())
    state = dataclasses.replace(state, params=state.params | {"head.bias": jnp.full((5,), jnp.nan)})
    for _ in range(3):
        state = step(state, make_batch())
    assert int(state.metrics["bad_step"]) == 1


def test_eight_devices_give_what_one_gives():
    results = []
    for devices in (1, 8):
        mesh = parallel.make_mesh(devices)
        model, optimizer = ToyNorm(), optax.sgd(0.1)
        state = parallel.place(init_state(model, optimizer, ema=False), parallel.replicated(mesh))
        step = jax.jit(
            make_train_step(model, optimizer, SPEC, seed=0), donate_argnums=0, out_shardings=parallel.replicated(mesh)
        )
        for i in range(3):
            state = step(state, parallel.place(make_batch(seed=i), parallel.batch_sharding(mesh)))
        results.append(jax.device_get((state.params, state.stats)))
    chex.assert_trees_all_close(*results, atol=1e-6)


def test_model_is_left_in_evaluation_mode():
    model = Toy(dropout=0.5)
    make_train_step(model, optax.sgd(0.1), SPEC, seed=0)
    assert model.dropout.deterministic
    assert split(model)[1].keys() == {"conv.kernel", "conv.bias", "head.kernel", "head.bias"}


def test_updates_that_are_not_finite_change_nothing_and_are_counted():
    good = [make_batch(seed=i, multi_label=True) for i in range(3)]
    bad = good[0] | {"label": np.full((16, 5), np.nan, np.float32)}
    expected = run(ToyNorm(), good, ema_decay=0.9)
    state = run(ToyNorm(), [good[0], bad, bad, good[1], bad, good[2]], ema_decay=0.9, skip_bad_steps=2)
    for part in ("params", "stats", "opt_state", "ema"):
        # To rounding: the two are compiled apart.
        chex.assert_trees_all_close(getattr(state, part), getattr(expected, part), rtol=1e-5, atol=1e-6)
    counts = {name: float(state.metrics[name]) for name in ("skipped", "skipped_in_row", "bad_step", "updates")}
    assert counts == {"skipped": 3, "skipped_in_row": 0, "bad_step": -1, "updates": 3} and state.step == 6
    np.testing.assert_allclose(state.metrics["loss"], expected.metrics["loss"], rtol=1e-6)
    np.testing.assert_allclose(state.metrics["clips"], 48)
    # What counts over the run outlives a log line, and one more in a row than allowed is reported.
    logged = state.replace(metrics=next_metrics(state.metrics))
    assert logged.metrics["skipped"] == 3 and logged.metrics["loss"] == 0
    assert run(ToyNorm(), [good[0], bad, bad, bad], skip_bad_steps=2).metrics["bad_step"] == 3
    assert run(ToyNorm(), [good[0], bad, good[1]]).metrics["bad_step"] == 1
