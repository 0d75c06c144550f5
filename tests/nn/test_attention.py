"""Attention against a softmax written out in NumPy, on every path that the function may choose."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from vidjax.nn import attention as module
from vidjax.nn import dense_attention
from vidjax.nn.attention import SelfAttention, attention
from vidjax.nn.target_backend import targeting


def plain(q, k, v, bias=None, mask=None, scale=None):
    """Attention in float64, head by head and query by query."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    full = (q.shape[0], q.shape[2], q.shape[1], k.shape[1])
    bias = np.broadcast_to(0.0 if bias is None else np.asarray(bias, np.float64), full)
    mask = np.broadcast_to(True if mask is None else np.asarray(mask), full)
    scale = 1 / np.sqrt(q.shape[-1]) if scale is None else scale
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for b, h, n in np.ndindex(full[:3]):
        scores = k[b, :, h] @ q[b, n, h] * scale + bias[b, h, n]
        weights = np.where(mask[b, h, n], np.exp(scores - scores.max()), 0)
        out[b, n, h] = weights @ v[b, :, h] / weights.sum()
    return out


def tokens(seed, batch=2, n=5, m=7, heads=3, d=4, dtype=np.float32):
    rng = np.random.default_rng(seed)
    shapes = (batch, n, heads, d), (batch, m, heads, d), (batch, m, heads, d)
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def extras(seed, batch=2, n=5, m=7, heads=3):
    rng = np.random.default_rng(seed)
    mask = rng.random((batch, 1, n, m)) < 0.6
    mask[..., 0] = True  # every query sees a key
    return {"bias": jnp.asarray(rng.standard_normal((1, heads, n, m)), jnp.float32), "mask": jnp.asarray(mask)}


@pytest.mark.slow
@settings(deadline=None, max_examples=12)
@given(
    st.integers(1, 2),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 3),
    st.sampled_from([1, 4, 8]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 0.3]),
)
def test_equals_a_written_out_softmax(batch, n, m, heads, d, with_bias, with_mask, scale):
    q, k, v = tokens(n, batch, n, m, heads, d)
    given_extras = extras(m, batch, n, m, heads)
    bias = given_extras["bias"] if with_bias else None
    mask = given_extras["mask"] if with_mask else None
    out = attention(q, k, v, bias=bias, mask=mask, scale=scale)
    chex.assert_trees_all_close(out, plain(q, k, v, bias, mask, scale).astype(np.float32), atol=2e-6)


@pytest.mark.parametrize("names", [(), ("bias", "mask")])
def test_head_by_head_gives_the_same_values_and_gradients(monkeypatch, names):
    inputs = tokens(0)
    given_extras = {name: extras(1)[name] for name in names}
    bias = given_extras.pop("bias", jnp.zeros((1, 3, 5, 7)))

    def run(q, k, v, bias):
        out = attention(q, k, v, bias=bias if names else None, **given_extras)
        return (out**2).sum(), out

    gradient = jax.grad(run, argnums=(0, 1, 2, 3), has_aux=True)
    at_once = gradient(*inputs, bias)
    monkeypatch.setattr(module, "MANY_SCORES", 0)
    looped = gradient(*inputs, bias)
    chex.assert_trees_all_close(looped, at_once, atol=1e-5)
    assert float(jnp.abs(looped[0][0]).max()) > 0.01
    assert "scan" in str(jax.make_jaxpr(run)(*inputs, bias))


def test_large_scores_go_head_by_head_on_the_cpu():
    q, k, v = (jax.ShapeDtypeStruct((1, 1568, 2, 8), jnp.float32) for _ in range(3))
    assert "scan" in str(jax.make_jaxpr(attention)(q, k, v))
    q, k, v = (jax.ShapeDtypeStruct((1, 196, 2, 8), jnp.float32) for _ in range(3))
    assert "scan" not in str(jax.make_jaxpr(attention)(q, k, v))


def test_a_batch_split_over_devices_stays_split(monkeypatch):
    monkeypatch.setattr(module, "MANY_SCORES", 0)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("data"))
    inputs = [jax.device_put(x, split) for x in tokens(0, batch=8)]
    compiled = jax.jit(attention, out_shardings=split).lower(*inputs).compile()
    for word in ("all-gather", "all-to-all", "all-reduce", "collective-permute"):
        assert word not in compiled.as_text(), word
    np.testing.assert_allclose(compiled(*inputs), plain(*inputs), atol=2e-6)


def test_bfloat16_keeps_the_softmax_in_float32():
    q, k, v = tokens(0, n=4, m=64, d=8, dtype=jnp.bfloat16)
    out = attention(q, k, v)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(out, np.float32), plain(q, k, v), atol=4e-3)
    # 4096 equal weights: added up one by one in bfloat16 they would stop at 256.
    even = attention(jnp.zeros((1, 1, 1, 8), jnp.bfloat16), *2 * [jnp.ones((1, 4096, 1, 8), jnp.bfloat16)])
    np.testing.assert_array_equal(np.asarray(even, np.float32), 1)


def test_extreme_scores_stay_finite():
    q, k, v = tokens(0)
    np.testing.assert_allclose(attention(q * 1e4, k, v), plain(q * 1e4, k, v), atol=1e-3)
    nothing_seen = attention(q, k, v, mask=jnp.zeros((1, 1, 1, 7), bool))
    np.testing.assert_allclose(nothing_seen, np.broadcast_to(v.mean(axis=1, keepdims=True), q.shape), atol=1e-6)


@pytest.mark.parametrize("features", [2, 6])
@pytest.mark.parametrize("looped", [False, True])
def test_values_of_another_length(monkeypatch, features, looped):
    if looped:
        monkeypatch.setattr(module, "MANY_SCORES", 0)
    q, k, _ = tokens(0)
    v = tokens(1, d=features)[2]
    y = attention(q, k, v)
    chex.assert_shape(y, (2, 5, 3, features))
    np.testing.assert_allclose(y, plain(q, k, v), atol=2e-6)


def test_cudnn_gets_values_as_long_as_the_keys(monkeypatch):
    original = jax.nn.dot_product_attention

    def by_xla(q, k, v, **kwargs):
        assert q.shape[-1] == v.shape[-1]
        return original(q, k, v, **{**kwargs, "implementation": "xla"})

    monkeypatch.setattr(jax.nn, "dot_product_attention", by_xla)
    q, k, _ = tokens(0, d=8)
    v = tokens(1, d=6)[2]
    y = attention(q, k, v, implementation="cudnn")
    np.testing.assert_allclose(y, plain(q, k, v), atol=2e-6)


class FakeDevice:
    def __init__(self, capability, kind):
        self.compute_capability, self.device_kind = capability, kind


LONG = {"n": 600, "m": 600, "batch": 1, "heads": 1}
MASK = {"mask": jnp.ones((1, 1, 1, 7), bool)}


@pytest.mark.parametrize(
    ("backend", "capability", "dtype", "d", "extra", "sizes", "chosen"),
    [
        ("gpu", "9.0", jnp.bfloat16, 64, {}, {}, "cudnn"),
        ("gpu", "10.0", jnp.float16, 128, {}, {}, "cudnn"),
        ("gpu", "8.0", jnp.bfloat16, 64, {}, {}, "cudnn"),
        ("gpu", "7.5", jnp.bfloat16, 64, {}, {}, "xla"),
        ("gpu", "9.0", jnp.float32, 64, {}, {}, "xla"),
        ("gpu", "9.0", jnp.float32, 64, {}, LONG, "blocks"),
        ("gpu", "9.0", jnp.bfloat16, 136, {}, {}, "xla"),
        ("gpu", "9.0", jnp.bfloat16, 136, {}, LONG, "blocks"),
        ("gpu", "9.0", jnp.bfloat16, 20, {}, {}, "xla"),
        ("gpu", "gfx90a", jnp.bfloat16, 64, {}, {}, "xla"),
        ("gpu", "gfx90a", jnp.bfloat16, 64, {}, LONG, "blocks"),
        ("gpu", "9.0", jnp.bfloat16, 64, {"implementation": "xla"}, {}, "xla"),
        ("gpu", "9.0", jnp.bfloat16, 64, MASK, {}, "xla"),
        ("gpu", "9.0", jnp.bfloat16, 64, {"causal": True}, {}, "xla"),
        ("tpu", None, jnp.bfloat16, 64, {}, {}, "pallas"),
        ("tpu", None, jnp.float32, 20, {}, {}, "pallas"),
        ("tpu", None, jnp.bfloat16, 64, MASK, {}, "pallas"),
        ("tpu", None, jnp.bfloat16, 64, {"mask": jnp.ones((1, 1, 5, 7), bool)}, {}, "xla"),
        ("tpu", None, jnp.float16, 64, {}, {}, "xla"),
        ("tpu", None, jnp.float16, 64, {}, LONG, "blocks"),
        ("cpu", None, jnp.float32, 20, {"implementation": "cudnn"}, {}, "cudnn"),
        ("cpu", None, jnp.float32, 20, {"implementation": "blocks"}, {}, "blocks"),
        ("cpu", None, jnp.float32, 20, {}, LONG, "head by head"),
        ("cpu", None, jnp.float32, 20, {}, {}, "xla"),
    ],
)
def test_which_implementation_is_chosen(monkeypatch, backend, capability, dtype, d, extra, sizes, chosen):
    calls = []

    def record(name, shape):
        return lambda *args, **kwargs: calls.append(name) or shape(args[0])

    # The last two get keys with the heads before the tokens, as queries too.
    monkeypatch.setattr(jax.nn, "dot_product_attention", record("cudnn", lambda q: q))
    monkeypatch.setattr(module.attention_kernel, "fused_attention", record("pallas", lambda q: q))
    monkeypatch.setattr(module, "by_blocks", record("blocks", lambda q: q))
    monkeypatch.setattr(module, "head_by_head", record("head by head", lambda q: q))
    monkeypatch.setattr(module, "softmax_product", record("xla", lambda q: q))
    with targeting(backend, FakeDevice(capability, "some device")):
        attention(*tokens(0, d=d, dtype=dtype, **sizes), **extra)
    assert calls == [chosen]


def test_a_target_of_which_nothing_is_known_gets_no_kernel(monkeypatch):
    """The scores stay in the trace, marked, for estimates without a compiler."""
    with targeting("gpu"):
        lowered = jax.jit(attention).lower(*tokens(0, d=64, dtype=jnp.bfloat16, **LONG))
    assert module.FUSABLE in lowered.as_text(debug_info=True)


def test_pallas_says_what_it_cannot_take():
    with pytest.raises(ValueError, match="do not fit the kernel; use 'auto'"):
        attention(*tokens(0, dtype=jnp.float16), implementation="pallas")
    with pytest.raises(ValueError, match="takes no mask per pair"):
        attention(*tokens(0), mask=jnp.ones((1, 1, 5, 7), bool), implementation="pallas")


@pytest.mark.slow
@settings(deadline=None, max_examples=8)
@given(
    st.integers(1, 40),
    st.integers(1, 9),
    st.sampled_from(["nothing", "bias", "mask", "ids", "causal", "keys"]),
    st.integers(1, 7),
)
def test_by_blocks_equals_all_at_once(n, m, extra, block):
    q, k, v = tokens(n, 2, n, m)
    more = {
        "nothing": {},
        "bias": {"bias": extras(0, 2, n, m)["bias"]},
        "mask": {"mask": extras(0, 2, n, m)["mask"]},
        "ids": {"ids": (jnp.arange(n)[None] % 2, jnp.arange(m)[None] % 2)},
        "causal": {"causal": True},
        "keys": {"mask": jnp.arange(m)[None, None, None] % 2 == 0},
    }[extra]

    def loss(implementation):
        return lambda *x: jnp.sum(jnp.sin(attention(*x, **more, implementation=implementation)))

    before = dense_attention._BLOCK
    try:
        dense_attention._BLOCK = block
        found = jax.jit(jax.value_and_grad(loss("blocks"), (0, 1, 2)))(q, k, v)
    finally:
        dense_attention._BLOCK = before
    expected = jax.jit(jax.value_and_grad(loss("xla"), (0, 1, 2)))(q, k, v)
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-5)


def test_by_blocks_holds_no_array_of_all_scores():
    shapes = [jax.ShapeDtypeStruct((1, 1100, 2, 8), jnp.float32)] * 3
    step = jax.grad(lambda *x: attention(*x, implementation="blocks").sum(), (0, 1, 2))
    assert "1100x1100" not in jax.jit(step).lower(*shapes).as_text()
    dense = jax.grad(lambda *x: attention(*x, implementation="xla").sum(), (0, 1, 2))
    with targeting("gpu"):
        assert "1100x1100" in jax.jit(dense).lower(*shapes).as_text()


def test_ids_are_a_mask_in_which_sequences_take_turns():
    q, k, v = tokens(0, batch=4)
    ids = jnp.array([[0, 0, 1, 1, 2], [0, 1, 1, 0, 0]]), jnp.array([[0, 1, 2, 0, 1, 2, 0], [1, 1, 0, 0, 1, 0, 1]])
    mask = jnp.tile(ids[0][:, :, None] == ids[1][:, None, :], (2, 1, 1))[:, None]
    chex.assert_trees_all_equal(attention(q, k, v, ids=ids), attention(q, k, v, mask=mask))
    np.testing.assert_allclose(attention(q, k, v, ids=ids), plain(q, k, v, mask=mask), atol=1e-5)


def test_a_query_sees_no_key_behind_its_place():
    q, k, v = tokens(0)
    mask = np.tril(np.ones((5, 7), bool))[None, None]
    np.testing.assert_allclose(attention(q, k, v, causal=True), plain(q, k, v, mask=mask), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": (2, 7, 2, 4)}, r"k \(2, 7, 2, 4\) and v \(2, 7, 3, 4\) do not fit"),
        ({"bias": (3, 5, 7)}, r"bias \(3, 5, 7\) does not broadcast to \(B, heads, N, M\) = \(2, 3, 5, 7\)"),
        ({"bias": (1, 3, 7, 5)}, "does not broadcast"),
        ({"mask": (1, 1, 5, 7)}, "mask is float32: it must be bool"),
    ],
)
def test_shapes_that_do_not_fit_are_named(change, message):
    arguments = dict(zip("qkv", tokens(0), strict=True)) | {name: jnp.zeros(shape) for name, shape in change.items()}
    with pytest.raises(ValueError, match=message):
        attention(**arguments)


@pytest.mark.parametrize("shapes", [((3, 5), (3, 7)), ((1, 5), (2, 7)), ((1, 7), (1, 5)), ((2, 5, 1), (2, 7, 1))])
def test_ids_that_do_not_fit_are_named(shapes):
    ids = tuple(jnp.zeros(shape, jnp.int32) for shape in shapes)
    with pytest.raises(ValueError, match=r"do not fit: they must be \(C, N\) and \(C, M\), C a divisor of B"):
        attention(*tokens(0), ids=ids)


def test_mask_and_ids_together_are_refused():
    ids = jnp.zeros((1, 5), jnp.int32), jnp.zeros((1, 7), jnp.int32)
    with pytest.raises(ValueError, match="give one of them"):
        attention(*tokens(0), mask=jnp.ones((1, 1, 1, 7), bool), ids=ids)


def test_unknown_implementation():
    with pytest.raises(ValueError, match="'flash': must be one of"):
        attention(*tokens(0), implementation="flash")


@pytest.mark.parametrize("kind", ["qv", "qkv", "none"])
def test_self_attention_against_its_parameters(kind):
    layer = SelfAttention(12, 3, qkv_bias=kind, rngs=nnx.Rngs(0))
    names = {".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(layer, nnx.Param))}
    biases = {"qv": {"q_bias", "v_bias"}, "qkv": {"qkv.bias"}, "none": set()}[kind]
    assert names == {"qkv.kernel", "proj.kernel", "proj.bias"} | biases
    rng = np.random.default_rng(0)
    bias = rng.standard_normal(36).astype(np.float32)
    if kind == "qv":
        bias[12:24] = 0
        layer.q_bias[...], layer.v_bias[...] = jnp.asarray(bias[:12]), jnp.asarray(bias[24:])
    elif kind == "qkv":
        layer.qkv.bias[...] = jnp.asarray(bias)
    else:
        bias[:] = 0
    x = rng.standard_normal((2, 5, 12)).astype(np.float32)
    mask = jnp.asarray(np.tril(np.ones((1, 1, 5, 5), bool)))
    q, k, v = np.split(x @ np.asarray(layer.qkv.kernel) + bias, 3, axis=-1)
    heads = [part.reshape(2, 5, 3, 4) for part in (q, k, v)]
    expected = plain(*heads, mask=mask).reshape(2, 5, 12) @ np.asarray(layer.proj.kernel)
    np.testing.assert_allclose(layer(jnp.asarray(x), mask=mask), expected, atol=1e-5)


def test_self_attention_refuses():
    with pytest.raises(ValueError, match="heads = 5 does not divide dim = 12"):
        SelfAttention(12, 5, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="qkv_bias = 'q'"):
        SelfAttention(12, 3, qkv_bias="q", rngs=nnx.Rngs(0))


@pytest.mark.parametrize("kind", ["qv", "qkv", "none"])
def test_three_products_for_a_kernel_give_what_one_gives(kind):
    layer = SelfAttention(12, 3, qkv_bias=kind, rngs=nnx.Rngs(0))
    graphdef, state = nnx.split(layer)
    rng = np.random.default_rng(0)
    state = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape), jnp.float32), state)
    x = jnp.asarray(rng.standard_normal((2, 5, 12)), jnp.float32)

    def run(state, x):
        return nnx.merge(graphdef, state)(x)

    expected = jax.jit(jax.value_and_grad(lambda *a: jnp.sin(run(*a)).sum(), (0, 1)))(state, x)
    with targeting("tpu"):  # and by XLA's attention, for which it makes no difference
        apart = jax.value_and_grad(
            lambda state, x: jnp.sin(
                nnx.merge(graphdef, state)(x, attend=lambda *qkv: attention(*qkv, implementation="xla"))
            ).sum(),
            (0, 1),
        )
        products = str(jax.make_jaxpr(apart)(state, x)).count("dot_general")
        found = jax.jit(apart)(state, x)
    assert products > str(jax.make_jaxpr(jax.grad(lambda *a: run(*a).sum(), (0, 1)))(state, x)).count("dot_general")
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.slow(after=4)
@pytest.mark.parametrize(("n", "m"), [(5, 7), (5, 8), (6, 7), (6, 8)])
@pytest.mark.parametrize("extra", ["nothing", "causal", "bias", "mask"])
def test_cudnn_gets_even_numbers_of_tokens_and_gives_the_same(monkeypatch, n, m, extra):
    """JAX refuses gradients of the fused kernel for odd ones."""
    plain_attention, got = jax.nn.dot_product_attention, []

    def stand_in(q, k, v, implementation, **kwargs):
        got.append((implementation, q.shape[1], k.shape[1]))
        return plain_attention(q, k, v, implementation="xla", **kwargs)

    monkeypatch.setattr(jax.nn, "dot_product_attention", stand_in)
    q, k, v = tokens(0, 2, n, m)
    more = {"nothing": {}, "causal": {"causal": True}}
    more = more.get(extra, {extra: extras(0, 2, n, m).get(extra)})

    def loss(implementation):
        return lambda *x: jnp.sum(jnp.sin(attention(*x, **more, implementation=implementation)))

    found = jax.value_and_grad(loss("cudnn"), (0, 1, 2))(q, k, v)
    expected = jax.jit(jax.value_and_grad(loss("xla"), (0, 1, 2)))(q, k, v)
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-5)
    assert got == [("cudnn", n + n % 2, m + m % 2)]


def test_scores_may_have_a_bound(monkeypatch):
    """On each path: c·tanh(s/c), before the bias."""
    q, k, v = tokens(3)
    bias, cap = extras(3)["bias"], 0.5
    bounded = cap * np.tanh(np.einsum("bnhd,bmhd->bhnm", q, k) / 2 / cap)
    # Queries of zeros leave nothing but the bias of the written-out attention.
    wanted = plain(jnp.zeros_like(q), k, v, bounded + np.asarray(bias))
    ways = [jax.jit(lambda q, way=way: attention(q, k, v, bias=bias, cap=cap, implementation=way)) for way in
            ("xla", "blocks", "auto")]  # fmt: skip
    for way in ways[:2]:
        np.testing.assert_allclose(way(q), wanted, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(module, "MANY_SCORES", 1)  # head by head
    np.testing.assert_allclose(ways[2](q), wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="'pallas': the kernel takes no cap of the scores; use 'auto'"):
        attention(q, k, v, cap=cap, implementation="pallas")
