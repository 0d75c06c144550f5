"""What all layers have in common, whatever they compute: one program of each, and what may not change its answers."""

import functools
import importlib
import inspect
import pkgutil
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import vidjax.nn
from tests.models.abstract import drawn
from tests.nn.layers import FORMULATIONS, LAYERS, Block
from vidjax.config.choices import REMAT
from vidjax.models.state import merge, split
from vidjax.nn import formulations
from vidjax.nn.blocks import run_blocks, stack
from vidjax.nn.conv import choose, conv_formulation
from vidjax.nn.positions import axis_positions, resize_table, sinusoid_positions
from vidjax.nn.rotary import rotary_angles

BATCH = 3


@functools.cache
def made(name):
    """The layer with drawn weights, in evaluation mode."""
    return drawn(LAYERS[name].build)


@functools.cache
def half(name):
    """The structure of the same layer that computes in bfloat16, where its constructor takes that."""
    if not LAYERS[name].computes.startswith("dtype"):
        return split(made(name))[0]
    graphdef, *arrays = split(drawn(partial(LAYERS[name].build, dtype=jnp.bfloat16)))
    chex.assert_trees_all_equal_shapes_and_dtypes(arrays, list(split(made(name))[1:]))
    return graphdef


def batch(name, seed=0):
    return np.random.default_rng(seed).standard_normal((BATCH, *LAYERS[name].example)).astype(np.float32)


def answer(name, arrays, x, graphdef=None, key=None, training=False):
    layer = merge(split(made(name))[0] if graphdef is None else graphdef, *arrays)
    if training:
        layer.train()
    # XLA's own convolutions compile soonest; the others have rows of their own in the table.
    with conv_formulation("native"):
        return LAYERS[name].call(layer, x, None if key is None else nnx.Rngs(dropout=key))


@functools.cache
def program(name):
    """Of arrays and a batch, compiled: the answer, each row's answer alone, the gradients, the answer in bfloat16."""

    @jax.jit
    def run(arrays, x):
        def loss(arrays, x):
            y = answer(name, arrays, x)
            # Weighed, so that no symmetry hides a gradient.
            return sum(jnp.sum(a * jnp.cos(jnp.arange(a.size).reshape(a.shape))) for a in jax.tree.leaves(y)), y

        (_, y), gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)(arrays, x)
        rows = jax.vmap(lambda row: answer(name, arrays, row[None]))(x)
        rounded = answer(name, arrays, x.astype(jnp.bfloat16), half(name))
        return y, jax.tree.map(lambda a: a[:, 0], rows), gradients, rounded

    return run


@functools.cache
def computed(name):
    return program(name)(split(made(name))[1:], batch(name))


def close(found, expected, tolerance):
    """The largest difference against the largest number."""
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        one, other = (np.asarray(a, np.float64) for a in (one, other))
        chex.assert_equal_shape((one, other))
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(1.0, np.abs(other).max()))


def every(names=LAYERS):
    return pytest.mark.parametrize("name", names)


def test_every_layer_is_here():
    modules = [importlib.import_module(f"vidjax.nn.{m.name}") for m in pkgutil.iter_modules(vidjax.nn.__path__)]
    layers = {
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, nnx.Module) and kind.__module__ == module.__name__
    }
    built = {base for name in LAYERS for _, module in nnx.iter_modules(made(name)) for base in type(module).__mro__}
    assert len(layers) > 20 and layers - built == set()
    assert FORMULATIONS.keys() == formulations.FORMULATIONS.keys()


@pytest.mark.parametrize("name", FORMULATIONS)
def test_convolutions_of_the_table_take_the_formulation_of_their_name(name):
    layer = made(f"convolution, {name}")
    with conv_formulation(name):
        assert choose(layer.kernel.shape, layer.strides, 5, layer.feature_group_count) == name


@settings(deadline=None, max_examples=4)
@given(data=st.data())
@every()
def test_shapes_and_types_are_those_of_the_docstring(name, data):
    layer, arrays = LAYERS[name], split(made(name))[1:]
    sizes, count = data.draw(layer.samples), data.draw(st.integers(1, 3))
    dtype = data.draw(st.sampled_from([jnp.float32, jnp.bfloat16]))
    x = jax.ShapeDtypeStruct((count, *sizes), dtype)
    y = jax.eval_shape(partial(answer, name), arrays, x)
    given = dtype if layer.computes == "input" else jnp.float32
    expected = jax.tree.map(
        lambda sizes: jax.ShapeDtypeStruct((count, *sizes), given),
        layer.gives(sizes),
        is_leaf=lambda sizes: isinstance(sizes[0], int),
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(y, expected)
    if layer.computes.startswith("dtype"):
        y = jax.eval_shape(partial(answer, name, graphdef=half(name)), arrays, x)
        added = {"dtype": jnp.bfloat16, "dtype, then float32": jnp.float32, "dtype, added": dtype}
        assert y.dtype == added[layer.computes]


@pytest.mark.slow(first=20)
@every()
def test_operations_one_by_one_in_float64_give_the_same(name):
    """Neither the compiler nor the precision matters, and no constant or cast of a layer clashes with float64."""
    rounded, inputs = computed(name)[0], (split(made(name))[1:], batch(name))  # made in float32
    with jax.enable_x64(True):
        arrays, x = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), inputs)
        exact = answer(name, arrays, x)
    close(rounded, exact, 1e-5)


@pytest.mark.slow(after=45, first=15)
@every()
def test_samples_of_a_batch_do_not_know_of_each_other(name):
    x, (together, alone, _, _) = batch(name), computed(name)
    close(alone, together, 1e-5)
    x[1] = batch(name, seed=1)[1]
    changed = program(name)(split(made(name))[1:], x)[0]
    for before, after in zip(jax.tree.leaves(together), jax.tree.leaves(changed), strict=True):
        np.testing.assert_array_equal(after[::2], before[::2])
        assert not np.array_equal(after[1], before[1])


@every()
def test_gradients_are_finite_and_reach_every_parameter(name):
    (params, _), x = computed(name)[2]
    chex.assert_tree_all_finite((params, x))
    assert np.asarray(x).any()
    assert [path for path, gradient in params.items() if not np.asarray(gradient).any()] == []


@every()
def test_bfloat16_is_close(name):
    exact, _, _, rounded = computed(name)
    for one, other in zip(jax.tree.leaves(rounded), jax.tree.leaves(exact), strict=True):
        error = np.linalg.norm(np.asarray(one, np.float64) - other) / np.linalg.norm(other)
        assert 0 < error < 0.03


@every([name for name, layer in LAYERS.items() if layer.draws])
def test_training_draws_and_evaluation_does_not(name):
    arrays, x = split(made(name))[1:], batch(name)
    keys = [jax.random.key(seed) for seed in (0, 0, 1)]
    train = jax.jit(partial(answer, name, training=True))
    first, again, other = (jax.tree.leaves(train(arrays, x, key=key)) for key in keys)
    chex.assert_trees_all_equal(first, again)
    assert all(np.abs(one - two).max() > 1e-3 for one, two in zip(first, other, strict=True))
    with pytest.raises(ValueError, match=r"rngs|random stream"):
        jax.eval_shape(partial(answer, name, training=True), arrays, x)
    programs = [jax.make_jaxpr(partial(answer, name, key=key))(arrays, x) for key in (None, keys[0])]
    assert str(programs[0]) == str(programs[1])


@pytest.mark.slow
def test_blocks_give_the_same_whatever_recomputes_or_loops():
    """Gradients in training mode, and how often was drawn."""
    graphdef, params, _ = split(drawn(lambda rngs: nnx.Sequential(*stack(partial(Block, rngs=rngs), 2, 0.5))))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 6)), jnp.float32)
    # Blocks that are looped over draw for their drop paths alone.
    ways = [("", False), *((remat, scan) for scan in (False, True) for remat in REMAT if remat or scan)]

    def gradients(params, remat, scan):
        def loss(params):
            blocks, rngs = merge(graphdef, params, {}).layers, nnx.Rngs(dropout=1)
            for block in blocks:
                block.drop_path.train()
            y = run_blocks(blocks, x, (1, 2, 2), rngs=rngs, remat=remat, scan=scan)
            return jnp.sin(y).sum(), rngs.dropout.count[...]

        return jax.value_and_grad(loss, has_aux=True)(params)

    answers = jax.jit(lambda params: [gradients(params, *way) for way in ways])(params)
    (_, draws), _ = answers[0]
    assert int(draws) == 2
    for found in answers[1:]:
        close(found, answers[0], 1e-5)


AXES = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))


@settings(deadline=None, max_examples=20)
@given(grid=AXES, base=AXES, dim=st.integers(6, 20))
def test_tables_of_positions_have_a_row_for_each_token(grid, base, dim):
    rows = int(np.prod(grid))
    angles = rotary_angles(grid, dim)
    chex.assert_shape(angles, (rows, 6 * (dim // 6)))
    tables = [sinusoid_positions(grid, dim, base), axis_positions(grid, dim, base)]
    for table in (*tables, resize_table(sinusoid_positions(base, dim, base), base, grid)):
        chex.assert_shape(table, (rows, dim))
        chex.assert_tree_all_finite(table)
    assert {table.dtype for table in (angles, *tables)} == {np.dtype(np.float32)}
    assert not any(table.flags.writeable for table in (angles, *tables))
