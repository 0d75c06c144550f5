"""The training step: accumulation, EMA, dropout keys, divergence, placement, and objectives of every kind."""

import dataclasses
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vidjax import parallel
from vidjax.config import ConfigError
from vidjax.models.state import merge, split
from vidjax.tasks.classify.objective import ClassObjective
from vidjax.tasks.task import Sum
from vidjax.training.step import StepOptions, clips_of, init_state, make_train_step, next_metrics

from .toys import SPEC, Distil, Of, Toy, ToyNorm, compiled, entering, make_batch, run


def test_step_updates_everything_and_sums_metrics():
    state = run(ToyNorm(), [make_batch(seed=i) for i in range(3)], ema_decay=0.5)
    before = init_state(ToyNorm(), optax.sgd(0.1, momentum=0.9), ema=True, sums=("correct",))
    assert int(state.step) == 3
    assert float(state.metrics["weight"]) == 48 and float(state.metrics["updates"]) == 3
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


@pytest.mark.parametrize("several", [False, True])
def test_accumulation_is_the_same_update(several):
    batches = [make_batch(seed=i, several=several) for i in range(2)]
    whole, parts = run(Toy(), batches), run(Toy(), batches, accumulate=4)
    chex.assert_trees_all_close(whole.params, parts.params, atol=1e-6)
    for name in ("loss", "correct", "weight"):
        np.testing.assert_allclose(whole.metrics[name], parts.metrics[name], rtol=1e-5)


def test_views_count_as_clips():
    batch = make_batch(8, views=2)
    flat = jax.tree.map(lambda x: x.reshape(16, 1, *x.shape[2:]), batch)
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
    state = init_state(model, optimizer, ema=False, sums=("correct",))
    step = compiled(model, optimizer)
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
        objective = ClassObjective(SPEC)
        state = parallel.place(init_state(model, optimizer, ema=False, sums=objective.sums), parallel.replicated(mesh))
        step = make_train_step(model, optimizer, objective, StepOptions(seed=0))
        step = jax.jit(step, donate_argnums=0, out_shardings=parallel.replicated(mesh))
        for i in range(3):
            state = step(state, parallel.place(make_batch(seed=i), parallel.batch_sharding(mesh)))
        results.append(jax.device_get((state.params, state.stats)))
    chex.assert_trees_all_close(*results, atol=1e-6)


def test_model_is_left_in_evaluation_mode():
    model = Toy(dropout=0.5)
    make_train_step(model, optax.sgd(0.1), ClassObjective(SPEC), StepOptions(seed=0))
    assert model.dropout.deterministic
    assert split(model)[1].keys() == {"conv.kernel", "conv.bias", "head.kernel", "head.bias"}


def test_updates_that_are_not_finite_change_nothing_and_are_counted():
    good = [make_batch(seed=i, several=True) for i in range(3)]
    bad = good[0] | {"targets": {"label": np.full((16, 1, 5), np.nan, np.float32)}}
    expected = run(ToyNorm(), good, ema_decay=0.9)
    state = run(ToyNorm(), [good[0], bad, bad, good[1], bad, good[2]], ema_decay=0.9, skip_bad_steps=2)
    for part in ("params", "stats", "opt_state", "ema"):
        # To rounding: the two are compiled apart.
        chex.assert_trees_all_close(getattr(state, part), getattr(expected, part), rtol=1e-5, atol=1e-6)
    counts = {name: float(state.metrics[name]) for name in ("skipped", "skipped_in_row", "bad_step", "updates")}
    assert counts == {"skipped": 3, "skipped_in_row": 0, "bad_step": -1, "updates": 3} and state.step == 6
    np.testing.assert_allclose(state.metrics["loss"], expected.metrics["loss"], rtol=1e-6)
    np.testing.assert_allclose(state.metrics["weight"], 48)
    # What counts over the run outlives a log line, and one more in a row than allowed is reported.
    logged = state.replace(metrics=next_metrics(state.metrics))
    assert logged.metrics["skipped"] == 3 and logged.metrics["loss"] == 0
    assert run(ToyNorm(), [good[0], bad, bad, bad], skip_bad_steps=2).metrics["bad_step"] == 3
    assert run(ToyNorm(), [good[0], bad, good[1]]).metrics["bad_step"] == 1


def counted(size=16, seed=0):
    """A batch whose clips have between 0 and 6 points each, most of those of the first clips."""
    rng = np.random.default_rng(seed)
    count = np.array([6, 0, 5, 0, 4, 1, 0, 0] * (size // 8))
    there = np.arange(6) < count[:, None]
    points = np.where(there, rng.standard_normal((size, 6)), 0).astype(np.float32)
    return make_batch(size, seed) | {"targets": {"points": points[:, None], "there": there[:, None]}}


class Points(Of):
    """The squared error of a varying number of points."""

    sums: ClassVar = {"near": Sum("near", "near")}

    def weight(self, examples):
        return jnp.maximum(examples["targets"]["there"].sum(dtype=jnp.float32), 1)

    def __call__(self, network, examples, key, teacher=None):
        there, points = examples["targets"]["there"], examples["targets"]["points"]
        error = jnp.where(there, jnp.square(network(entering(examples))[:, :1] - points), 0)
        return error.sum(), {"near": (there & (error < 1)).sum(dtype=jnp.float32)}


@pytest.mark.parametrize("parts", [pytest.param(2, marks=pytest.mark.slow), 4])
def test_parts_add_up_where_what_is_counted_varies(parts):
    batches = [counted(seed=i) for i in range(2)]
    whole, split_up = run(Toy(), batches, Points()), run(Toy(), batches, Points(), accumulate=parts)
    chex.assert_trees_all_close(whole.params, split_up.params, rtol=1e-5, atol=1e-6)
    for name in ("loss", "near", "weight", "grad_norm"):
        np.testing.assert_allclose(whole.metrics[name], split_up.metrics[name], rtol=1e-5)
    assert whole.metrics["weight"] == sum(batch["targets"]["there"].sum() for batch in batches)
    # The mean over the points of the batch, not that of the means over those of its parts.
    examples, model, objective = clips_of(batches[0]), Toy(), Points()

    def mean(rows):
        part = jax.tree.map(lambda x: x[rows], examples)
        return float(objective(model, part, None)[0] / objective.weight(part))

    first = run(Toy(), batches[:1], Points(), accumulate=parts).metrics["loss"]
    np.testing.assert_allclose(first, mean(slice(None)), rtol=1e-5)
    assert abs(np.mean([mean(slice(i, None, parts)) for i in range(parts)]) - first) > 1e-2


def test_a_batch_without_anything_to_count_changes_nothing():
    batch = counted()
    batch["targets"] = jax.tree.map(np.zeros_like, batch["targets"])
    state = run(Toy(), [batch], Points())
    chex.assert_trees_all_equal(state.params, split(Toy())[1])
    assert state.metrics["loss"] == 0 and state.metrics["bad_step"] == -1


class Contrast(Of):
    """Each clip is to be told from all the others of the batch by its two views."""

    whole_batch = True

    def __call__(self, network, examples, key, teacher=None):
        one, other = (network(entering(examples))[i::2] for i in (0, 1))
        return -jnp.diagonal(jax.nn.log_softmax(one @ other.T)).sum() * 2, {}


def test_a_loss_over_the_whole_batch_compares_all_of_its_clips():
    batch, model = make_batch(8, views=2), Toy()
    state = run(model, [batch], Contrast())
    video = batch["inputs"]["video"] / np.float32(255)
    answers = np.asarray(model({"video": video.reshape(16, *video.shape[2:])})).reshape(8, 2, 5)
    likeness = np.exp(answers[:, 0] @ answers[:, 1].T)
    expected = -np.log(np.diagonal(likeness) / likeness.sum(axis=1)).mean()
    np.testing.assert_allclose(state.metrics["loss"], expected, rtol=1e-5)
    # Among eight alike it says one of eight; over parts of the batch it would be less.
    assert expected == pytest.approx(np.log(8), rel=0.2) and state.metrics["weight"] == 16


def test_a_loss_over_the_whole_batch_is_not_worked_through_in_parts():
    with pytest.raises(ConfigError, match=r"config\.train\.accumulate = 2: this task compares the clips"):
        make_train_step(Toy(), optax.sgd(0.1), Contrast(), StepOptions(seed=0, accumulate=2))


@pytest.mark.parametrize("parts", [1, 2])
def test_the_teacher_is_the_moving_average_in_evaluation_mode(parts):
    model, optimizer, objective = Toy(dropout=0.5), optax.sgd(0.1), Distil()
    state = init_state(model, optimizer, ema=True, sums=objective.sums)
    state = state.replace(ema=jax.tree.map(lambda x: x + 0.5, state.ema))
    batch = make_batch()
    after = compiled(model, optimizer, objective, ema_decay=0.75, accumulate=parts)(state, batch)
    inputs = entering(clips_of(batch))
    teacher = merge(split(Toy())[0], **state.ema)
    teacher.eval()
    np.testing.assert_allclose(after.metrics["answer"], teacher(inputs).sum(), rtol=1e-5)
    # It takes no part in the gradient: it moves as an average does, and by nothing else.
    expected = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * new, state.ema["params"], after.params)
    chex.assert_trees_all_close(after.ema["params"], expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_is_of_the_network_with_its_teacher_held():
    model, optimizer, objective, batch = Toy(), optax.sgd(0.1), Distil(), make_batch()
    state = init_state(model, optimizer, ema=True, sums=objective.sums)
    state = state.replace(ema=jax.tree.map(lambda x: x + 0.5, state.ema))
    after = compiled(model, optimizer, objective, ema_decay=0.75)(state, batch)
    examples, graphdef = clips_of(batch), split(model)[0]
    target = merge(graphdef, **state.ema)(entering(examples))

    def loss(params):
        return jnp.square(merge(graphdef, params, {})(entering(examples)) - target).sum() / 16

    grads = jax.jit(jax.grad(loss))(state.params)
    assert all(np.abs(g).max() > 1e-4 for g in grads.values())
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, grads)
    chex.assert_trees_all_close(after.params, expected, rtol=1e-5, atol=1e-6)


def test_a_teacher_needs_a_moving_average():
    with pytest.raises(ConfigError, match=r"config\.train\.ema_decay = 0: this task learns from the moving average"):
        make_train_step(Toy(), optax.sgd(0.1), Distil(), StepOptions(seed=0))


def test_what_is_drawn_for_the_batch_is_drawn_once_and_shared_by_its_parts():
    class Drawn(Of):
        sums: ClassVar = {"drawn": Sum("drawn", "drawn")}

        def prepare(self, examples, key):
            return examples | {"drawn": jax.random.uniform(key, (len(examples["inputs"]["video"]),))}

        def __call__(self, network, examples, key, teacher=None):
            drawn = examples["drawn"]
            return (network(entering(examples)).mean(axis=1) * drawn).sum(), {"drawn": drawn.sum()}

    batches = [make_batch(seed=i) for i in range(2)]
    whole, parts = (run(Toy(), batches, Drawn(), accumulate=parts) for parts in (1, 4))
    chex.assert_trees_all_close(whole.params, parts.params, atol=1e-6)
    np.testing.assert_allclose(whole.metrics["drawn"], parts.metrics["drawn"], rtol=1e-6)
    assert run(Toy(), batches, Drawn(), seed=1).metrics["drawn"] != whole.metrics["drawn"]
