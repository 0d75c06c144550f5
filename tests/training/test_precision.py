"""Parameters and momentum in bfloat16, the optimiser's state in the host's memory: dtypes, places, and that they
learn."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from vidjax import parallel
from vidjax.config import Config, ConfigError, OptimizerConfig
from vidjax.models.state import split
from vidjax.tasks.classify.objective import ClassObjective
from vidjax.training import loop
from vidjax.training.checkpoints import handlers, load_model
from vidjax.training.compiled_step import jit_step
from vidjax.training.optimizer import make_optimizer
from vidjax.training.saving import RunCheckpoints
from vidjax.training.step import init_state
from vidjax.training.stochastic_rounding import round_stochastically

from .test_checkpoints import meta
from .test_loop import QUIET, logged, make_config
from .toys import SPEC, Toy, compiled, make_batch


def moments(opt_state):
    """What the optimiser keeps of each parameter, by the name of its field: `{"mu": [arrays], …}`."""
    found = {}
    for path, x in jax.tree_util.tree_leaves_with_path(opt_state):
        if isinstance(path[-1], jax.tree_util.DictKey):
            found.setdefault(path[-2].name, []).append(x)
    return found


def dtypes(tree):
    return {str(x.dtype) for x in jax.tree.leaves(tree)}


def test_rounding_gives_a_neighbour_and_the_number_on_average():
    x = jnp.float32([1.0, 1 + 2**-9, -3 - 2**-8, 1e-30, 3e38, 0.0])
    draws = jax.vmap(lambda word: round_stochastically(x, word))(jax.random.bits(jax.random.key(0), (4000,)))
    assert draws.dtype == jnp.bfloat16
    draws = np.asarray(draws, np.float64)
    spacing = np.abs(np.asarray(x, np.float64)) * 2.0**-7
    assert (np.abs(draws - np.asarray(x)) <= spacing).all()
    np.testing.assert_array_equal(draws[:, [0, 5]], np.tile([1.0, 0.0], (4000, 1)))
    assert set(draws[:, 1]) == {1.0, 1 + 2**-7}
    # The deviation of the mean of so many is at most a half of the spacing by √4000.
    assert (np.abs(draws.mean(axis=0) - np.asarray(x)) <= 5 * spacing / 2 / np.sqrt(4000)).all()


def test_rounding_leaves_what_is_not_finite():
    x = jnp.float32([np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(round_stochastically(x, jnp.uint32(7)).astype(jnp.float32), x)


def test_neighbouring_elements_are_rounded_independently():
    """A constant halfway between two numbers: as many go up as down, whatever their neighbours do."""
    x = jnp.full((64, 64), 1 + 2**-8, jnp.float32)
    words = jax.random.bits(jax.random.key(1), (2,))
    one, other = (np.asarray(round_stochastically(x, word), np.float32) > 1 for word in words)
    assert 0.45 < one.mean() < 0.55
    for a, b in ((one[1:], one[:-1]), (one[:, 1:], one[:, :-1]), (one, other)):
        assert 0.45 < (a == b).mean() < 0.55


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_momentum_is_kept_as_asked_and_the_second_moment_in_float32(name):
    params = {"a.kernel": jnp.ones(3)}
    for dtype in ("float32", "bfloat16"):
        state = make_optimizer(OptimizerConfig(name=name, state_dtype=dtype), lambda _: 0.1).init(params)
        expected = {"trace": {dtype}} if name == "sgd" else {"mu": {dtype}, "nu": {"float32"}}
        assert {field: dtypes(arrays) for field, arrays in moments(state).items()} == expected


def trained(steps, learning_rate, *, param_dtype, state_dtype="float32", name="sgd", **kwargs):
    model = Toy()
    config = OptimizerConfig(name=name, state_dtype=state_dtype, weight_decay=0.0)
    optimizer = make_optimizer(config, optax.constant_schedule(learning_rate))
    state = init_state(model, optimizer, ema=True, param_dtype=param_dtype, sums=("correct",))
    step = compiled(model, optimizer, ema_decay=0.9, **kwargs)
    first = step(state, make_batch())
    for _ in range(steps - 1):
        state = step(state, make_batch())
    return state, float(first.metrics["loss"])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_bfloat16_learns_as_float32_does(accumulate):
    losses = {}
    for dtype in ("float32", "bfloat16"):
        state, before = trained(60, 3e-2, param_dtype=dtype, state_dtype=dtype, name="adamw", accumulate=accumulate)
        assert dtypes(state.params) == {dtype}
        kept = {name: dtypes(arrays) for name, arrays in moments(state.opt_state).items()}
        assert kept == {"mu": {dtype}, "nu": {"float32"}} and dtypes(state.ema) == {"float32"}
        losses[dtype] = float(state.metrics["loss"]) / 59
        assert losses[dtype] < 0.8 * before
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.05)


def test_updates_smaller_than_bfloat16_tells_are_not_lost():
    """Each is far less than the least change of a weight of 1/8 or more, 2**-10; rounding to the nearest drops them."""
    change = {}
    for dtype in ("float32", "bfloat16"):
        start = init_state(Toy(), optax.sgd(0.0), ema=False, param_dtype=dtype).params["conv.kernel"]
        state, _ = trained(200, 1e-4, param_dtype=dtype)
        change[dtype] = np.asarray(state.params["conv.kernel"], np.float64) - np.asarray(start, np.float64)
    moved = np.abs(change["float32"]).mean()
    assert 0 < moved / 200 < 2**-14
    direction = (change["bfloat16"] * change["float32"]).sum() / np.square(change["float32"]).sum()
    assert 0.5 < direction < 1.5


class _Killed(BaseException):
    pass


@pytest.mark.slow
def test_run_in_bfloat16_with_offloaded_state_continues_to_the_bit(halves, tmp_path, monkeypatch):
    config = make_config(halves, checkpoint_epochs=2, eval_epochs=0)
    config.model.param_dtype = config.optimizer.state_dtype = "bfloat16"
    config.optimizer.offload = True
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    loop.train(config, whole, QUIET)

    original = loop._Run._log

    def look_and_die(self, state, done):
        kept = moments(state.opt_state)
        assert {x.sharding.memory_kind for x in kept["mu"] + kept["nu"]} == {parallel.HOST_MEMORY}
        assert {x.sharding.memory_kind for x in jax.tree.leaves(state.params)} == {"device"}
        assert dtypes(state.params) == {"bfloat16"} and dtypes(state.stats) == {"float32"}
        if done == 4:
            self.checkpoints.wait()
            raise _Killed
        return original(self, state, done)

    with monkeypatch.context() as patch, pytest.raises(_Killed):
        patch.setattr(loop._Run, "_log", look_and_die)
        loop.train(config, broken, QUIET)
    # Where the state lies may change; what it is may not.
    loop.train(
        dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, offload=False)), broken, QUIET
    )
    assert logged(whole) == logged(broken)
    with ocp.CheckpointManager(whole / "checkpoints", item_handlers=handlers()) as manager:
        items = manager.item_metadata(6)
    assert dtypes(items["model"].tree["params"]) == {"bfloat16"}
    assert dtypes(items["train"].tree["opt_state"]) >= {"bfloat16", "float32"}
    models = [split(load_model(folder, step=6)[0])[1] for folder in (whole, broken)]
    assert dtypes(models[0]) == {"float32"}
    chex.assert_trees_all_equal(*models)


def test_devices_without_host_memory_are_refused_by_name():
    class Memory:
        kind = "device"

    class Device:
        device_kind, process_index = "abacus", 0

        def addressable_memories(self):
            return [Memory()]

    class Mesh:
        devices, local_devices, shape = np.array([Device()]), [Device()], {"data": 1, "fsdp": 1, "model": 1}

    with pytest.raises(ConfigError, match=r"optimizer.offload: abacus has no pinned_host memory .*it has device"):
        parallel.state_sharding({}, Mesh(), offload=True)


def test_offloaded_state_gives_the_same_update_and_comes_back_to_its_place(tmp_path):
    states = []
    for offload in (False, True):
        config, mesh, model = Config(), parallel.make_mesh(2), Toy()
        config.optimizer.offload = offload
        optimizer = make_optimizer(config.optimizer, optax.constant_schedule(0.1))
        state = parallel.place_state(init_state(model, optimizer, ema=False, sums=("correct",)), mesh, offload=offload)
        step = jit_step(config, model, optimizer, state, ClassObjective(SPEC), mesh)
        for i in range(2):
            state, _ = step(state, parallel.place(make_batch(seed=i), parallel.batch_sharding(mesh)))
        assert step._cache_size() == 1
        states.append(jax.device_get(state))
    chex.assert_trees_all_equal(*states)
    checkpoints = RunCheckpoints(tmp_path, 1, "video/top1")
    checkpoints.save(state, meta())
    checkpoints.wait()
    restored = checkpoints.restore(state)
    checkpoints.close()
    chex.assert_trees_all_equal(jax.device_get(restored), states[1])
    kinds = {x.sharding.memory_kind for x in moments(restored.opt_state)["trace"]}
    assert kinds == {parallel.HOST_MEMORY} and restored.params["conv.kernel"].sharding.memory_kind == "device"
