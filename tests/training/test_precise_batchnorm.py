"""Kinds of batch normalisation in training: over all devices, on each, and statistics of the weights as they are."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from vidjax import parallel
from vidjax.config import Config, ConfigError
from vidjax.models.base import VideoNetwork
from vidjax.models.state import split
from vidjax.nn.norm import BatchNorm
from vidjax.tasks.classify.objective import ClassObjective
from vidjax.training import loop
from vidjax.training.checkpoints import load_model
from vidjax.training.compiled_step import jit_step
from vidjax.training.device_prefetch import Feed
from vidjax.training.precise_batchnorm import joined, make_precise
from vidjax.training.step import init_state

from .test_loop import QUIET, logged, make_config
from .toys import SPEC, Distil, Toy, make_batch

OBJECTIVE = ClassObjective(SPEC)


class Normed(Toy):
    """Two normalisations, the second of which sees what the first one makes of a batch."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = BatchNorm(8, rngs=nnx.Rngs(0)), BatchNorm(8, rngs=nnx.Rngs(0))

    def __call__(self, inputs, rngs=None):
        x = nnx.relu(self.norm1(self.conv(inputs["video"])))
        return self.head(self.norm2(x.mean(axis=(1, 2, 3)) ** 2))


def updated(batches, devices, batch_norm="sync", model=None):
    """State after an update for each batch."""
    config, mesh, optimizer = Config(), parallel.make_mesh(devices), optax.sgd(0.1)
    config.train.batch_norm = batch_norm
    model = model or Normed()
    state = parallel.place_state(init_state(model, optimizer, ema=False, sums=OBJECTIVE.sums), mesh)
    step = jit_step(config, model, optimizer, state, OBJECTIVE, mesh)
    for batch in batches:
        state, _ = step(state, parallel.place(batch, parallel.batch_sharding(mesh)))
    return jax.device_get(state)


def test_synced_statistics_are_those_of_one_device():
    batches = [make_batch(seed=i) for i in range(3)]
    one, eight = (updated(batches, devices) for devices in (1, 8))
    chex.assert_trees_all_close((one.params, one.stats), (eight.params, eight.stats), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_devices_own_statistics_are_those_of_each_share_alone():
    """One update of plain SGD is the mean of the updates that each share alone would give."""
    batch = make_batch(size=32)
    together = updated([batch], 8, "device")
    shares = [jax.tree.map(lambda x, i=i: x[4 * i : 4 * i + 4], batch) for i in range(8)]
    alone = [updated([share], 1) for share in shares]
    expected = jax.tree.map(lambda *x: np.mean(x, axis=0), *[(state.params, state.stats) for state in alone])
    chex.assert_trees_all_close((together.params, together.stats), expected, rtol=1e-5, atol=1e-6)
    synced = updated([batch], 8)
    assert np.abs(synced.params["conv.kernel"] - together.params["conv.kernel"]).max() > 1e-4


def test_precise_statistics_are_those_of_all_clips():
    mesh, model = parallel.make_mesh(), Normed()
    batches = [make_batch(seed=i, views=2) | {"bad": []} for i in range(3)]
    _, params, stats = split(model)
    stats = jax.tree.map(lambda x: x + 100, stats)  # what was there before does not count
    params, stats = (parallel.place(x, parallel.replicated(mesh)) for x in (params, stats))
    feed = Feed(iter(batches), parallel.batch_sharding(mesh), 3)
    found = make_precise(model, OBJECTIVE, seed=0, mesh=mesh)(params, stats, feed, 3)

    first, second = [], []
    for batch in batches:
        video = ((batch["inputs"]["video"].reshape(-1, 2, 4, 4, 3) / 255 - 0.5) / 0.25).astype(np.float64)
        x = video @ np.asarray(model.conv.kernel[...], np.float64) + np.asarray(model.conv.bias[...])
        first.append(x.reshape(-1, 8))
        mean, var = first[-1].mean(axis=0), first[-1].var(axis=0)
        x = np.maximum((x - mean) / np.sqrt(var + model.norm1.epsilon), 0)
        second.append(x.mean(axis=(1, 2, 3)) ** 2)
    for name, inputs in (("norm1", np.concatenate(first)), ("norm2", np.concatenate(second))):
        np.testing.assert_allclose(found[f"{name}.mean"], inputs.mean(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[f"{name}.var"], inputs.var(axis=0), rtol=1e-4, atol=1e-6)


def test_a_network_that_learns_from_its_average_has_the_same_precise_statistics():
    mesh, model = parallel.make_mesh(), Normed()
    batches = [make_batch(seed=i) | {"bad": []} for i in range(2)]
    _, params, stats = split(model)
    params, stats = (parallel.place(x, parallel.replicated(mesh)) for x in (params, stats))
    found = []
    for objective in (OBJECTIVE, Distil()):
        feed = Feed(iter(batches), parallel.batch_sharding(mesh), 2)
        found.append(make_precise(model, objective, seed=0, mesh=mesh)(params, stats, feed, 2))
    # The one normalises pixels otherwise, by an affine change alone.
    np.testing.assert_allclose(found[0]["norm2.mean"], found[1]["norm2.mean"], rtol=0.05)


def test_statistics_of_what_is_frozen_stay_to_the_bit():
    class Frozen(Normed, VideoNetwork):
        frozen = ("norm1.",)

        def train(self, **attributes):
            super().train(**attributes)
            self.norm1.eval()

    mesh, model = parallel.make_mesh(), Frozen()
    batches = [make_batch(seed=i) | {"bad": []} for i in range(3)]
    _, params, stats = split(model)
    stats = {path: 0.7 + 0.1 * jnp.arange(8.0) for path in stats}
    params, stats = (parallel.place(x, parallel.replicated(mesh)) for x in (params, stats))
    feed = Feed(iter(batches), parallel.batch_sharding(mesh), 3)
    found = make_precise(model, OBJECTIVE, seed=0, mesh=mesh)(params, stats, feed, 3)
    assert {path for path in stats if not np.array_equal(found[path], stats[path])} == {"norm2.mean", "norm2.var"}


def test_joined_moments_keep_small_variances_beside_large_means():
    rng = np.random.default_rng(0)
    batches = [1000 + i + rng.standard_normal((50, 3)) for i in range(4)]
    so_far = {"mean": jnp.zeros(3), "var": jnp.zeros(3)}
    for i, batch in enumerate(batches):
        new = {"mean": jnp.float32(batch.mean(axis=0)), "var": jnp.float32(batch.var(axis=0))}
        so_far = joined(so_far, new, jnp.int32(i))
    together = np.concatenate(batches)
    np.testing.assert_allclose(so_far["mean"], together.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(so_far["var"], together.var(axis=0), rtol=1e-4)


def test_networks_without_batch_normalisation_refuse_its_kinds():
    for kind in ("device", "precise"):
        with pytest.raises(ConfigError, match=rf"batch_norm = '{kind}': .* has no batch normalisation"):
            updated([], 1, kind, Toy())


class _Killed(BaseException):
    pass


@pytest.mark.slow(first=1)
@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_checkpoints_and_evaluations_have_precise_statistics(halves, tmp_path, monkeypatch, ema):
    """And a run that was stopped in between has the same ones at its end, since nothing from before enters them."""
    config = make_config(halves, batch_norm="precise", steps=4, eval_epochs=0, checkpoint_epochs=2, ema_decay=ema)
    config.model.dropout = 0.3
    seen, evaluate, original = {}, loop._Run._evaluate, loop._Run._log

    def look(self, state, done):
        seen[done] = jax.device_get((state.ema or {"stats": state.stats})["stats"])
        return evaluate(self, state, done)

    def die(self, state, done):
        if done == 4:
            self.checkpoints.wait()
            raise _Killed
        return original(self, state, done)

    monkeypatch.setattr(loop._Run, "_evaluate", look)
    loop.train(config, tmp_path / "whole", QUIET)
    with monkeypatch.context() as patch, pytest.raises(_Killed):
        patch.setattr(loop._Run, "_log", die)
        loop.train(config, tmp_path / "broken", QUIET)
    loop.train(config, tmp_path / "broken", QUIET)
    assert logged(tmp_path / "whole") == logged(tmp_path / "broken")
    stats = [split(load_model(tmp_path / name, step=4)[0])[2] for name in ("whole", "broken")]
    chex.assert_trees_all_equal(*stats, seen[4])
    # They are not the running ones.
    plain = dataclasses.replace(config, train=dataclasses.replace(config.train, batch_norm="sync"))
    loop.train(plain, tmp_path / "plain", QUIET)
    _, params, running = split(load_model(tmp_path / "plain", step=4)[0])
    chex.assert_trees_all_equal(params, split(load_model(tmp_path / "whole", step=4)[0])[1])
    assert any(not np.allclose(running[path], stats[0][path], rtol=1e-2) for path in running)
