"""The kernel for TPUs: in JAX's interpreter against dense attention, compiled for each TPU, split over devices."""

import dataclasses
import importlib.util
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from vidjax import parallel
from vidjax.nn import attention_plan
from vidjax.nn.attention import SelfAttention, attention
from vidjax.nn.attention_kernel import BACKWARD, FORWARD, fused_attention
from vidjax.nn.attention_plan import plan_for
from vidjax.nn.remat import keeping
from vidjax.nn.target_backend import targeting
from vidjax.plan.chips import tpu_devices
from vidjax.plan.estimates import without_cache

needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the extra tpu")


@dataclasses.dataclass
class Case:
    """Inputs of an attention and a weight for each element of its result."""

    batch: int = 2
    n: int = 6
    heads: int = 2
    d: int = 4
    m: int = 0  # 0: n
    e: int = 0  # 0: d
    bias: bool = False
    ids: int = 0  # rows of them
    causal: bool = False
    dtype: str = "float32"

    def arrays(self):
        rng = np.random.default_rng(0)
        m, e = self.m or self.n, self.e or self.d

        def draw(*shape):
            return jnp.asarray(rng.standard_normal(shape), jnp.float32)

        sizes = ((self.n, self.d), (m, self.d), (m, e), (self.n, e))
        q, k, v, weight = (draw(self.batch, length, self.heads, width) for length, width in sizes)
        bias = draw(1, self.heads, self.n, m) if self.bias else None
        ids = tuple(jnp.asarray(rng.integers(0, 2, (self.ids, length)), jnp.int32) for length in (self.n, m))
        return [x.astype(self.dtype) for x in (q, k, v)], weight, bias, ids if self.ids else None


def outcome(attend, inputs, weight, bias):
    """Values and gradients of a function of q, k, v and the bias."""

    def loss(inputs, bias):
        out = attend(*inputs, bias)
        return (out.astype(jnp.float32) * weight).sum(), out

    (_, out), gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(inputs, bias)
    return jax.tree.map(lambda x: np.asarray(x, np.float32), (out, gradients))


def compare(case, bound, **changes):
    """The kernel with a plan that is changed so far, against dense attention in float32."""
    inputs, weight, bias, ids = case.arrays()
    scale = case.d**-0.5
    plan = plan_for(*inputs, scale=scale, bias=bias, ids=ids, causal=case.causal, interpret=True)
    assert plan is not None
    plan = dataclasses.replace(plan, **changes)
    found = outcome(lambda q, k, v, bias: fused_attention(q, k, v, plan, bias=bias, ids=ids), inputs, weight, bias)
    dense = partial(attention, ids=ids, causal=case.causal, implementation="xla")
    wide = [x.astype(jnp.float32) for x in inputs]
    expected = outcome(lambda q, k, v, bias: dense(q, k, v, bias=bias), wide, weight, bias)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.linalg.norm(a - b) <= bound * np.linalg.norm(b)


CASES = {
    "several sequences of a program": (Case(batch=4), {"group": 2, "packed": 1}),
    "short ones side by side": (Case(batch=6, n=3), {}),
    "blocks of queries": (Case(n=32), {"rows": 16, "group": 1, "packed": 1}),
    "a last block that is not full": (Case(n=20), {"rows": 16, "group": 1, "packed": 1}),
    "keys of another number": (Case(n=20, m=9), {"rows": 16, "group": 1}),
    "values of another width": (Case(n=20, m=9, d=5, e=3), {"rows": 16, "group": 1}),
    "a bias": (Case(batch=3, n=7, m=5, bias=True), {}),
    "numbers that windows share": (Case(batch=4, n=7, ids=2), {"group": 2}),
    "numbers of each sequence": (Case(batch=2, n=7, m=5, ids=2), {"group": 1}),
    "a bias and numbers": (Case(batch=4, n=7, ids=2, bias=True), {"group": 2}),
    "causal, in blocks": (Case(n=20, causal=True), {"rows": 16, "group": 1}),
    "causal, with a bias": (Case(n=9, causal=True, bias=True), {}),
    "heads that fill registers": (Case(batch=1, n=5, heads=4, d=64), {}),
}


@pytest.mark.slow(after=6)
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_dense_attention(name):
    case, changes = CASES[name]
    compare(case, 1e-5, **changes)


@pytest.mark.parametrize("name", ["several sequences of a program", "a last block that is not full", "a bias"])
def test_bfloat16_is_as_close_as_its_rounding(name):
    case, changes = CASES[name]
    compare(dataclasses.replace(case, n=40, m=40, d=16, dtype="bfloat16"), 4e-3, **changes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "d", "dtype"),
    [
        (1568, 64, "float32"),
        (1568, 64, "bfloat16"),
        (1569, 128, "float32"),
        (392, 80, "bfloat16"),
        (392, 96, "float32"),
        (197, 72, "float32"),
        (8, 64, "bfloat16"),
        (196, 32, "bfloat16"),
    ],
)
def test_sizes_of_real_networks(n, d, dtype):
    compare(Case(batch=2 if n < 400 else 1, n=n, heads=2, d=d, dtype=dtype), 1e-5 if dtype == "float32" else 4e-3)


@settings(deadline=None, max_examples=40)
@given(
    batch=st.integers(1, 12),
    n=st.integers(1, 3000),
    heads=st.sampled_from([1, 2, 3, 12, 16]),
    d=st.sampled_from([32, 64, 72, 80, 96, 120, 128]),
    bias=st.booleans(),
    causal=st.booleans(),
)
def test_a_plan_cuts_evenly(batch, n, heads, d, bias, causal):
    x = jax.ShapeDtypeStruct((batch, n, heads, d), jnp.bfloat16)
    given_bias = jax.ShapeDtypeStruct((1, heads, n, n), jnp.float32) if bias else None
    vmem = 48 * 2**20
    plan = plan_for(x, x, x, scale=1.0, bias=given_bias, causal=causal, vmem=vmem)
    if plan is None:
        assert n > 190  # what is short always fits
        return
    assert heads % plan.block == 0 and (plan.block == heads or plan.block * d % 128 == 0)
    assert batch % plan.packed == 0 and (batch // plan.packed) % plan.group == 0
    assert plan.packed == 1 or plan.packed * n <= 128
    assert plan.rows == n * plan.packed or (plan.group == plan.packed == 1 and plan.rows % 16 == 0)
    if bias:
        assert plan.rows == n  # its gradient is summed over whole sequences
    assert attention_plan._bytes(plan, n * plan.packed, n * plan.packed, d, d, 2) <= vmem


def test_what_the_kernel_cannot_take():
    x = jax.ShapeDtypeStruct((2, 8, 2, 64), jnp.bfloat16)
    half, long = jax.ShapeDtypeStruct(x.shape, jnp.float16), jax.ShapeDtypeStruct((1, 400_000, 2, 64), jnp.bfloat16)
    for q, k, v in ((half,) * 3, (x, x, half), (long,) * 3):
        assert plan_for(q, k, v, scale=1.0) is None
    assert plan_for(x, x, x, scale=1.0) is not None and plan_for(x, x, x, scale=-1.0) is None
    for shape in ((2, 2, 8, 8), (1, 2, 1, 8)):  # of each sequence; the same for all queries
        assert plan_for(x, x, x, scale=1.0, bias=jax.ShapeDtypeStruct(shape, jnp.float32)) is None


@pytest.mark.parametrize(("kind", "rows"), [("TPU v4", 32), ("TPU v5 lite", 224), ("TPU v9", 32)])
def test_a_device_with_less_memory_gets_smaller_blocks(kind, rows):
    class Device:
        device_kind = kind

    x = jax.ShapeDtypeStruct((2, 3136, 12, 64), jnp.bfloat16)
    with targeting("tpu", Device()):
        assert plan_for(x, x, x, scale=1.0).rows == rows


def test_a_query_that_sees_no_key_gets_the_mean():
    (q, k, v), *_ = Case(batch=1, n=5).arrays()
    ids = jnp.zeros((1, 5), jnp.int32), jnp.ones((1, 5), jnp.int32)
    plan = plan_for(q, k, v, scale=1.0, ids=ids, interpret=True)
    out = fused_attention(q, k, v, plan, ids=ids)
    np.testing.assert_allclose(out, np.broadcast_to(v.mean(axis=1, keepdims=True), out.shape), atol=1e-6)


@pytest.fixture
def interpreted(monkeypatch):
    """The kernel runs in JAX's interpreter."""
    monkeypatch.setattr(attention_plan, "plan_for", partial(plan_for, interpret=True))


@pytest.mark.slow(after=3)
@pytest.mark.parametrize("heads", [4, 3])
@pytest.mark.parametrize("extra", ["nothing", "bias", "ids", "keys", "causal"])
def test_each_device_works_on_its_own_part(interpreted, extra, heads):
    """With as many heads as divide among devices, and without."""
    (q, k, v), weight, bias, _ = Case(batch=4, n=6, heads=heads, bias=extra == "bias").arrays()
    rng = np.random.default_rng(1)
    more = {}
    if extra == "ids":
        more["ids"] = (jnp.asarray(rng.integers(0, 2, (2, 6)), jnp.int32),) * 2
    if extra == "keys":
        more["mask"] = jnp.asarray(rng.random((4, 1, 1, 6)) < 0.7).at[..., 0].set(True)
    if extra == "causal":
        more["causal"] = True
    mesh = parallel.make_mesh(2, fsdp=1, model=2)

    def attend(q, k, v, bias):
        with targeting("tpu"), parallel.kernels_on(mesh):
            return attention(q, k, v, bias=bias, **more)

    placed = [parallel.place(np.asarray(x), parallel.batch_sharding(mesh)) for x in (q, k, v)]
    found = outcome(attend, placed, weight, bias)
    dense = partial(attention, implementation="xla", **more)
    chex.assert_trees_all_close(
        found, outcome(lambda *x: dense(*x[:3], bias=x[3]), [q, k, v], weight, bias), rtol=1e-4, atol=1e-5
    )


def test_a_batch_that_cannot_be_split_is_worked_on_whole(interpreted):
    (q, k, v), *_ = Case(batch=3).arrays()
    with targeting("tpu"), parallel.kernels_on(parallel.make_mesh(2)):
        out = jax.jit(attention)(q, k, v)
    chex.assert_trees_all_close(out, attention(q, k, v, implementation="xla"), atol=1e-5)


def test_nothing_is_gathered_before_the_kernel(interpreted):
    mesh = parallel.make_mesh(4)
    shape = jax.ShapeDtypeStruct((8, 6, 2, 4), jnp.float32, sharding=parallel.batch_sharding(mesh))

    def attend(q, k, v):
        with targeting("tpu"), parallel.kernels_on(mesh):
            return attention(q, k, v)

    assert "all-gather" not in jax.jit(attend).lower(shape, shape, shape).compile().as_text()


NETWORKS = {  # (B, N, heads, d), keys, d of values, bias, rows of ids
    "videomae_base": ((2, 1568, 12, 64), 0, 0, False, 0),
    "videomae_huge": ((1, 1568, 16, 80), 0, 0, False, 0),
    "72 features": ((1, 392, 16, 72), 0, 0, False, 0),
    "timesformer, space": ((16, 197, 12, 64), 0, 0, False, 0),
    "timesformer, time": ((392, 8, 12, 64), 0, 0, False, 0),
    "swin": ((32, 392, 3, 32), 0, 0, True, 16),
    "mvit": ((1, 25089, 1, 120), 393, 96, False, 0),
    "128 features": ((1, 1024, 2, 128), 0, 0, False, 0),
}


@needs_libtpu
@pytest.mark.slow(first=1)
@pytest.mark.parametrize("chip", ["v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2"])
def test_the_compilers_of_tpus_take_it(chip):
    device = tpu_devices(chip)[0]
    sharding = jax.sharding.SingleDeviceSharding(device)
    for name in NETWORKS if chip.startswith("v5e") else ("videomae_base", "timesformer, space", "swin"):
        (batch, n, heads, d), m, e, bias, ids = NETWORKS[name]

        def shape(*sizes, dtype=jnp.bfloat16):
            return jax.ShapeDtypeStruct(sizes, dtype, sharding=sharding)

        keys, values = shape(batch, m or n, heads, d), shape(batch, m or n, heads, e or d)
        arrays = [shape(batch, n, heads, d), keys, values]
        extra = shape(1, heads, n, m or n, dtype=jnp.float32) if bias else None
        numbers = (shape(ids, n, dtype=jnp.int32), shape(ids, m or n, dtype=jnp.int32)) if ids else None

        def both(q, k, v, bias, ids):
            def loss(*x):
                return attention(*x[:3], bias=x[3], ids=ids).astype(jnp.float32).sum()

            return jax.grad(loss, (0, 1, 2) if bias is None else (0, 1, 2, 3))(q, k, v, bias)

        with targeting("tpu", device), without_cache():
            text = jax.jit(both).lower(*arrays, extra, numbers).compile().as_text()
            kernel = plan_for(*arrays, scale=1.0, bias=extra, ids=numbers) is not None
        # v4 has a tenth of the vector memory, which does not do for many heads that must stay together.
        assert kernel or (chip.startswith("v4") and name == "swin")
        assert (FORWARD in text, BACKWARD in text) == (kernel, kernel), (chip, name)
        assert f"{n},{m or n}]" not in text or bias, (chip, name)


@needs_libtpu
@pytest.mark.slow
def test_what_is_kept_spares_the_kernel_a_second_run():
    device = tpu_devices("v5e:2x2")[0]
    sharding = jax.sharding.SingleDeviceSharding(device)
    graphdef, state = nnx.split(nnx.eval_shape(lambda: SelfAttention(128, 2, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))))
    arguments = state, jax.ShapeDtypeStruct((2, 600, 128), jnp.bfloat16)
    arguments = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), arguments)
    for policy, kernels in (("", 2), ("dots", 2), ("attention", 2), ("full", 3)):

        def loss(state, x, policy=policy):
            y = x
            for _ in range(2):
                y = keeping(policy)(nnx.merge(graphdef, state), y)
            return y.astype(jnp.float32).sum()

        with targeting("tpu", device), without_cache():
            text = jax.jit(jax.grad(loss, (0, 1))).lower(*arguments).compile().as_text()
        assert text.count('custom_call_target="tpu_custom_call"') == 2 * kernels - (policy == "full"), policy
