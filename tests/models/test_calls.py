"""Calls of a network's modules, seen from outside."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vidjax.models.calls import intercepted, module_paths
from vidjax.nn.blocks import run_blocks
from vidjax.nn.remat import keeping


class Doubled(nnx.Linear):
    """Calls its parent's method; counts as one call."""

    def __call__(self, x, rngs=None):
        return 2 * super().__call__(x)


class Net(nnx.Module):
    def __init__(self, remat="", scan=False):
        rngs = nnx.Rngs(0)
        self.blocks = nnx.List([Doubled(3, 3, rngs=rngs) for _ in range(3)])
        self.stem = nnx.Linear(3, 3, rngs=rngs)
        self.remat, self.scan = remat, scan

    def __call__(self, x):
        x = keeping(self.remat)(self.stem, x)
        return run_blocks(self.blocks, x, remat=self.remat, scan=self.scan)


def seen(net, x):
    calls = []

    def around(path, call):
        calls.append(path)
        return call()

    with intercepted(net, around):
        out = net(x)
    return calls, out


def test_lists_are_no_modules_of_their_own():
    assert list(module_paths(Net())) == ["blocks.0", "blocks.1", "blocks.2", "stem", ""]


@pytest.mark.parametrize("remat", ["", "full"])
@pytest.mark.parametrize("scan", [False, True])
def test_every_module_is_seen_once_under_its_path_whatever_recomputes_or_loops(remat, scan):
    x = jnp.ones((1, 2, 3))
    net = Net(remat, scan)
    calls, out = seen(net, x)
    assert calls == ["", "stem", "blocks.0", "blocks.1", "blocks.2"]
    np.testing.assert_allclose(out, net(x), rtol=1e-6)


def test_what_the_function_returns_is_what_the_caller_gets():
    net = Net()
    with intercepted(net, lambda path, call: jnp.zeros_like(call()) if path == "blocks.2" else call()):
        assert not np.asarray(net(jnp.ones((1, 2, 3)))).any()


def test_other_networks_and_other_threads_pass_unseen():
    net, other, x = Net(), Net(), jnp.ones((1, 2, 3))
    calls = []

    def around(path, call):
        calls.append(path)
        return call()

    with intercepted(net, around):
        other(x)
        thread = threading.Thread(target=net, args=(x,))
        thread.start()
        thread.join()
        assert calls == []


def test_classes_are_as_they_were_afterwards_even_after_an_error():
    methods = Doubled.__call__, nnx.Linear.__call__, Net.__call__
    with pytest.raises(ZeroDivisionError), intercepted(Net(), lambda path, call: 1 / 0):
        assert Doubled.__call__ is not methods[0]
        Net()(jnp.ones((1, 2, 3)))
        seen(Net(), jnp.ones((1, 2, 3)))
        raise ZeroDivisionError
    assert methods == (Doubled.__call__, nnx.Linear.__call__, Net.__call__)


def test_what_was_traced_outside_is_not_taken_from_the_cache_inside():
    net = Net("full")
    graphdef, state = nnx.split(net)
    calls = []

    @jax.jit
    def run(state, x):
        return nnx.merge(graphdef, state)(x)

    run(state, jnp.ones((1, 2, 3)))

    def inside(x):
        merged = nnx.merge(graphdef, state)
        with intercepted(merged, lambda path, call: (calls.append(path), call())[1]):
            return merged(x)

    jax.jit(inside)(jnp.ones((1, 2, 3)))
    assert calls == ["", "stem", "blocks.0", "blocks.1", "blocks.2"]
