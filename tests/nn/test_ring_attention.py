"""Keys and values in a ring of devices, against dense attention."""

import dataclasses
import importlib.util
import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vidjax import parallel
from vidjax.nn import attention_plan, ring_attention, token_sharding
from vidjax.nn.attention import SelfAttention, attention
from vidjax.nn.attention_kernel import BACKWARD, FORWARD
from vidjax.nn.attention_plan import plan_for
from vidjax.nn.target_backend import targeting
from vidjax.plan.chips import tpu_devices
from vidjax.plan.estimates import without_cache
from vidjax.plan.gpu_targets import can_compile, compiling_for, gpu_devices


@dataclasses.dataclass
class Case:
    """Sizes of an attention of three heads on four devices, which do not divide the heads."""

    n: int = 16
    m: int = 16
    d: int = 4
    e: int = 4
    mask: str = ""
    dtype: str = "float32"

    def arrays(self):
        """Queries, keys, values, a weight for each element of the result, and the mask as an argument."""
        rng = np.random.default_rng(self.n)
        sizes = ((self.n, self.d), (self.m, self.d), (self.m, self.e), (self.n, self.e))
        *inputs, weight = (jnp.asarray(rng.standard_normal((2, n, 3, width)), jnp.float32) for n, width in sizes)
        seen = jnp.asarray(rng.random((2, 1, 1, self.m)) < 0.5)
        numbers = [jnp.asarray(rng.integers(0, 2, (2, length)), jnp.int32) for length in (self.n, self.m)]
        more = {
            "": {},
            "keys": {"mask": seen},
            "common keys": {"mask": seen[:1]},
            "all of a device": {"mask": (jnp.arange(self.m) >= self.m // 4)[None, None, None]},
            "nothing": {"mask": jnp.zeros((1, 1, 1, self.m), bool)},
            "ids": {"ids": tuple(numbers)},
        }[self.mask]
        return [x.astype(self.dtype) for x in inputs], weight, more


def outcome(attend, inputs, weight, more):
    """Values and gradients by queries, keys and values."""

    def loss(*inputs):
        out = attend(*inputs, **more)
        return (out.astype(jnp.float32) * weight).sum(), out

    (_, out), gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))(*inputs)
    return [np.asarray(x, np.float32) for x in (out, *gradients)]


@pytest.fixture(autouse=True)
def short_sequences_too(monkeypatch):
    monkeypatch.setattr(token_sharding, "_LEAST", 1)
    monkeypatch.setattr(attention_plan, "plan_for", partial(plan_for, interpret=True))


def around(mesh, backend="cpu"):
    def attend(q, k, v, **more):
        with targeting(backend), parallel.splitting_tokens(mesh):
            return attention(q, k, v, **more)

    return attend


@pytest.mark.slow(after=3)
@pytest.mark.parametrize(
    ("backend", "case"),
    [
        ("cpu", Case()),
        ("cpu", Case(mask="all of a device")),
        ("cpu", Case(mask="nothing")),
        ("cpu", Case(mask="common keys", n=24, m=8, e=3)),
        ("cpu", Case(mask="ids")),
        ("cpu", Case(n=64, m=64, d=16, e=16, mask="keys", dtype="bfloat16")),
        ("tpu", Case(n=24, m=8, e=3)),
        ("tpu", Case(mask="keys")),
        ("tpu", Case(mask="nothing")),
        ("tpu", Case(n=64, m=64, d=16, e=16, dtype="bfloat16")),
    ],
    ids=str,
)
def test_values_and_gradients_are_those_of_dense_attention(monkeypatch, backend, case):
    """By products, in blocks of which the last is not full, and by the kernel in JAX's interpreter."""
    monkeypatch.setattr(ring_attention, "_BLOCK", max(3, case.n // 4 - 3))
    inputs, weight, more = case.arrays()
    found = outcome(around(parallel.make_mesh(2, model=4), backend), inputs, weight, more)
    wide = [x.astype(jnp.float32) for x in inputs]
    expected = outcome(partial(attention, implementation="xla"), wide, weight, more)
    bound = 1e-5 if case.dtype == "float32" else 4e-3
    for name, a, b in zip(("out", "dq", "dk", "dv"), found, expected, strict=True):
        error = np.linalg.norm(a - b)
        assert error <= bound * np.linalg.norm(b), (name, error / np.linalg.norm(b))


def test_a_batch_that_cannot_be_split_is_processed_whole():
    """Here by two devices, whose loop between the first and the last turn is empty."""
    inputs, weight, more = Case().arrays()
    inputs, weight = [x[:1] for x in inputs], weight[:1]
    found = outcome(around(parallel.make_mesh(4, model=2)), inputs, weight, more)
    expected = outcome(partial(attention, implementation="xla"), inputs, weight, more)
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", ["cpu", "tpu"])
def test_no_device_holds_all_keys(backend):
    mesh = parallel.make_mesh(1, jax.devices()[:4], model=4)
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "model"))
    tokens = jax.ShapeDtypeStruct((2, 1364, 3, 8), jnp.float32, sharding=sharding)
    attend = around(mesh, backend)

    def step(*inputs):
        return jax.grad(lambda *x: jnp.sin(attend(*x)).sum(), (0, 1, 2))(*inputs)

    text = jax.jit(step, out_shardings=sharding).lower(tokens, tokens, tokens).compile().as_text()
    assert "collective-permute" in text
    for word in ("all-gather", "all-to-all", "all-reduce", "reduce-scatter"):
        assert word not in text, word
    sizes = {int(n) for shape in re.findall(r"\b[a-z]+\d+\[([\d,]+)\]", text) for n in shape.split(",")}
    assert 341 in sizes and not sizes & {1364, 682, 1023}


@pytest.mark.parametrize(
    ("heads", "n", "m", "more", "ring"),
    [
        (3, 16, 16, {}, True),
        (3, 16, 8, {}, True),
        (4, 16, 16, {}, False),  # heads are split
        (3, 18, 16, {}, False),
        (3, 16, 18, {}, False),
        (3, 16, 16, {"causal": True}, False),
        (3, 16, 16, {"bias": jnp.zeros((1, 1, 16, 16))}, False),
        (3, 16, 16, {"mask": jnp.ones((1, 1, 16, 16), bool)}, False),
        (3, 16, 16, {"ids": (jnp.zeros((2, 16), jnp.int32),) * 2}, False),  # windows
        (3, 16, 16, {"implementation": "xla"}, False),
        (3, 16, 16, {"scale": -1.0}, False),
    ],
)
def test_where_keys_travel(heads, n, m, more, ring):
    q, k = (jax.ShapeDtypeStruct((4, length, heads, 4), jnp.float32) for length in (n, m))
    mesh = parallel.make_mesh(1, jax.devices()[:4], model=4)
    assert ("ppermute" in str(jax.make_jaxpr(partial(around(mesh), **more))(q, k, k))) == ring


def test_short_sequences_do_not(monkeypatch):
    monkeypatch.setattr(token_sharding, "_LEAST", 5)
    x = jax.ShapeDtypeStruct((4, 16, 3, 4), jnp.float32)
    mesh = parallel.make_mesh(1, jax.devices()[:4], model=4)
    assert "ppermute" not in str(jax.make_jaxpr(around(mesh))(x, x, x))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v5e:2x2", "h100:4"])
def test_compilers_of_accelerators_take_it(monkeypatch, name):
    """A layer and its gradient, in which no array has all tokens."""
    monkeypatch.setattr(attention_plan, "plan_for", plan_for)
    gpu = name.startswith("h100")
    if not (can_compile(name) if gpu else importlib.util.find_spec("libtpu")):
        pytest.skip(f"needs the extra {'gpu-plan' if gpu else 'tpu'}")
    devices = (gpu_devices if gpu else tpu_devices)(name)
    mesh = parallel.make_mesh(1, devices, model=4)
    graphdef, state = nnx.split(nnx.eval_shape(lambda: SelfAttention(384, 6, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))))

    def shape(x, *axes):
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    def loss(state, x):
        with parallel.splitting_tokens(mesh):
            return (x + nnx.merge(graphdef, state)(x)).astype(jnp.float32).sum()

    arguments = jax.tree.map(shape, state), shape(jax.ShapeDtypeStruct((2, 1568, 384), jnp.bfloat16), None, "model")
    with compiling_for(devices[0]) if gpu else targeting("tpu", devices[0]), without_cache():
        text = jax.jit(jax.grad(loss, (0, 1))).lower(*arguments).compile().as_text()
    assert "collective-permute" in text and "1568" not in text
    assert gpu or (FORWARD in text and BACKWARD in text)
