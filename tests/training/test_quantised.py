"""Products in 8 bits: near the float ones, straight-through gradients, in the compiled program, in a training."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from tests.peers import needs
from vidjax.errors import UserError
from vidjax.models.state import merge, split
from vidjax.nn.conv import Conv3D, conv3d
from vidjax.training.quantised import KINDS, convolution, linear, quantising

from .toys import Toy, make_batch, run

needs("qwix")

kinds = pytest.mark.parametrize("kind", KINDS)
LAST = (((1,), (0,)), ((), ()))
ERROR = {"int8": 0.02, "fp8": 0.06}  # of a product of normal numbers, relative


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def distance(a, b):
    return float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))


@kinds
@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_product_is_near_the_float_one_whatever_the_scale(kind, scale, seed):
    x, kernel = scale * normal(5, 32, seed=seed), normal(32, 7, seed=seed + 100)
    assert 0 < distance(linear(kind, x, kernel, LAST), x @ kernel) < ERROR[kind]


@kinds
def test_gradient_passes_rounding_by_and_has_the_operands_rounded_values(kind):
    x, kernel, g = normal(5, 32), normal(32, 7, seed=1), normal(5, 7, seed=2)
    dx, dkernel = jax.vjp(functools.partial(linear, kind, dimensions=LAST), x, kernel)[1](g)
    assert distance(dx, g @ kernel.T) < ERROR[kind]
    assert distance(dkernel, x.T @ g) < ERROR[kind]
    # It is linear in the gradient, which is not rounded.
    tiny = jax.vjp(functools.partial(linear, kind, dimensions=LAST), x, kernel)[1](g * 2.0**-20)[0]
    chex.assert_trees_all_close(tiny, dx * 2.0**-20, rtol=1e-6)


@pytest.mark.parametrize("kernel, strides", [((3, 3, 3), 1), ((1, 1, 1), 2), ((2, 4, 4), (2, 4, 4))])
def test_convolution_and_its_gradients_are_near_the_float_ones(kernel, strides):
    x, weights = normal(2, 4, 8, 8, 6), normal(*kernel, 6, 5, seed=1)
    padding = kernel[0] // 2 if kernel == (3, 3, 3) else 0
    options = {"strides": strides, "padding": padding}
    y, back = jax.vjp(functools.partial(convolution, "int8", **options), x, weights)
    truth, true_back = jax.vjp(functools.partial(conv3d, **options), x, weights)
    chex.assert_equal_shape([y, truth])
    assert 0 < distance(y, truth) < ERROR["int8"]
    g = normal(*y.shape, seed=2)
    for own, true in zip(back(g), true_back(g), strict=True):
        assert distance(own, true) < ERROR["int8"]


@kinds
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_result_has_the_inputs_dtype(kind, dtype):
    y = linear(kind, normal(3, 8).astype(dtype), normal(8, 2).astype(dtype), LAST)
    assert y.dtype == dtype


class Layers(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = Conv3D(3, 8, 3, padding=1, rngs=rngs)
        self.groups = Conv3D(8, 8, 3, padding=1, feature_group_count=8, rngs=rngs)
        self.linear = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x):
        return self.linear(self.groups(self.conv(x)).mean((1, 2, 3)))


def test_program_multiplies_in_int8_inside_the_context_alone():
    model, x = Layers(), normal(2, 2, 8, 8, 3)
    before = nnx.graphdef(model)
    with quantising(model, "int8"):
        graphdef, params, stats = split(model)
    assert nnx.graphdef(model) == before, "the context has left the model changed"
    text = jax.jit(lambda x: merge(graphdef, params, stats)(x)).lower(x).as_text()
    rounded = [
        line for line in text.splitlines() if "xi8>" in line and ("dot_general" in line or "convolution" in line)
    ]
    assert len(rounded) == 2, "one convolution without groups, one linear layer"
    assert "i8" not in jax.jit(lambda x: model(x)).lower(x).as_text()
    with quantising(model, "int8"):
        again, _, _ = split(model)
    assert graphdef == again, "two graphs of the same network differ, so that they would be compiled twice"


def test_convolutions_stay_as_they_are_where_compilers_have_none_in_8_bits():
    model = Layers()
    with quantising(model, "fp8"):
        assert "dot_general" in vars(model.linear) and "convolve" not in vars(model.conv)
    del model.linear
    with pytest.raises(UserError, match="no layer of this network multiplies in fp8"), quantising(model, "fp8"):
        pass


@kinds
def test_step_learns_with_rounded_products_and_keeps_float_parameters(kind):
    model, batch, losses = Toy(), make_batch(), {}
    for name in ("", kind):
        state = run(model, [batch], quantize=name)
        losses[name] = [float(state.metrics["loss"])]
        state = run(model, [batch] * 30, quantize=name)
        losses[name].append(float(state.metrics["loss"]) / 30)
        assert all(array.dtype == jnp.float32 for array in state.params.values())
    assert losses[kind][1] < losses[kind][0], "the mean over updates is not below the first"
    assert losses[kind] == pytest.approx(losses[""], rel=0.05)
    assert losses[kind] != losses[""]
