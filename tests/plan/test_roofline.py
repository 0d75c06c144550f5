"""Counts of traced computations: exact where they can be told by hand, near XLA's own elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.nn.attention import attention
from vidjax.plan.chips import GPUS, Chip
from vidjax.plan.roofline import roofline

CHIP = Chip(1e12, 1e9, 1e9, 1e9)


def count(function, *shapes, dtype=jnp.bfloat16, chip=CHIP, fused=False):
    arguments = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    return roofline(jax.jit(function).trace(*arguments).jaxpr, chip, fused_attention=fused)


def test_two_products_with_a_function_in_between():
    m, k, n = 64, 128, 256
    cost = count(lambda x, w, v: jax.nn.relu(x @ w) @ v, (m, k), (k, n), (n, k))
    assert cost.flops == 2 * 2 * m * k * n
    # The first product, the function written for the second to read, the second.
    bytes_ = [2 * (m * k + k * n + m * n), 2 * (m * n + m * n), 2 * (m * n + n * k + m * k)]
    assert cost.bytes == sum(bytes_)
    flops = [2 * m * k * n, 0, 2 * m * k * n]
    seconds = sum(max(f / 1e12, b / 1e9, 2e-6) for f, b in zip(flops, bytes_, strict=True))
    assert cost.seconds == pytest.approx(seconds)
    # The result is no temporary; what the function reads and writes is alive at the same time.
    assert cost.peak == 2 * 2 * m * n


def test_elementwise_work_costs_nothing_before_a_sum():
    cost = count(lambda x: jnp.exp(x * 2 + 1).sum(), (1000,), dtype=jnp.float32)
    assert (cost.flops, cost.bytes) == (0, 4 * 1000 + 4)


def test_products_of_float32_have_half_the_peak():
    slow = count(lambda x: x @ x, (512, 512), dtype=jnp.float32, chip=Chip(1e9, 1e9, 1e12, 1e9))
    fast = count(lambda x: x @ x, (512, 512), chip=Chip(1e9, 1e9, 1e12, 1e9))
    assert slow.seconds == pytest.approx(2 * fast.seconds, rel=1e-6)


def test_loops_count_as_often_as_they_run():
    def loop(x):
        return jax.lax.scan(lambda c, _: (jnp.tanh(c @ x), None), x, length=7)[0]

    cost, once = count(loop, (64, 64)), count(lambda x: jnp.tanh(x @ x), (64, 64))
    assert cost.flops == 7 * once.flops == 7 * 2 * 64**3
    assert cost.seconds >= 7 * once.seconds and cost.peak > 0


def test_calls_cost_what_their_bodies_cost():
    """Values that a call takes or gives are used as often as if it were written out."""

    def network(x, y, z, *, call):
        # Written, as two read it; that both are in a call must not hide it.
        sums = call(lambda v: (v.sum(axis=0), v.max(axis=0)))(x + y + z)
        # Written too: the caller reads it twice.
        product, _ = call(lambda x, y: (jnp.exp(x) + y + z, x.sum()))(x, y)
        return sums, product.sum(axis=0), product.max(axis=1)

    written_out, called = (
        count(lambda *xs, call=call: network(*xs, call=call), *[(64, 64)] * 3) for call in (lambda f: f, jax.jit)
    )
    assert called == written_out
    # At least: both values made from three arrays, and read by two.
    assert written_out.bytes > 2 * (3 + 1 + 2) * 2 * 64 * 64


def test_recomputing_takes_less_memory_and_more_work():
    def layers(x, *ws, wrap):
        for w in ws:
            x = wrap(lambda x, w=w: jnp.tanh(jnp.tanh(jnp.tanh(x @ w) @ w) @ w))(x)
        return x.sum()

    def cost(wrap):
        gradient = jax.grad(lambda ws, x: layers(x, *ws, wrap=wrap))
        return count(lambda x, *ws: gradient(ws, x), (512, 64), *8 * [(64, 64)])

    plain, remat = cost(lambda f: f), cost(jax.checkpoint)
    assert remat.peak < 0.5 * plain.peak and 1.2 < remat.flops / plain.flops < 1.5


def test_gradient_of_a_strided_convolution():
    def conv(x, w):
        return jax.lax.conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    forward = count(conv, (2, 32, 32, 16), (3, 3, 16, 32))
    both = count(jax.grad(lambda x, w: conv(x, w).astype(jnp.float32).sum(), (0, 1)), (2, 32, 32, 16), (3, 3, 16, 32))
    assert both.flops == pytest.approx(3 * forward.flops, rel=0.1)


@pytest.mark.parametrize("bias", [False, True])
def test_scores_stay_on_the_chip_where_a_fused_kernel_can(bias):
    def loss(q, k, v):
        extra = jnp.zeros((1, 1, 256, 256)) if bias else None
        return attention(q, k, v, bias=extra, implementation="xla").astype(jnp.float32).sum()

    shapes = 3 * [(2, 256, 4, 32)]
    plain, fused = (count(jax.grad(loss, (0, 1, 2)), *shapes, fused=f) for f in (False, True))
    assert fused.flops == plain.flops and fused.flops >= 6 * 2 * 2 * 4 * 256 * 256 * 32
    if bias:
        assert (fused.peak, fused.bytes) == (plain.peak, plain.bytes)
    else:
        assert fused.peak < 0.3 * plain.peak and fused.bytes < 0.3 * plain.bytes


def test_near_what_xla_counts_and_takes():
    def net(ws, x):
        for w in ws:
            h = (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)
            x = x + jax.nn.gelu(h @ w) @ w.T
        return jnp.square(x).mean()

    ws, x = 6 * [jax.ShapeDtypeStruct((64, 256), jnp.float32)], jax.ShapeDtypeStruct((1024, 64), jnp.float32)
    traced = jax.jit(jax.grad(net)).trace(ws, x)
    lowered = traced.lower()
    cost = roofline(traced.jaxpr, GPUS["h100"], fused_attention=False)
    assert cost.flops == pytest.approx(lowered.cost_analysis()["flops"], rel=0.15)
    temporaries = lowered.compile().memory_analysis().temp_size_in_bytes
    assert 0.4 < cost.peak / temporaries < 1.5
    assert cost.bytes < 0.7 * lowered.cost_analysis()["bytes accessed"]  # which counts every operation by itself
    assert np.isfinite(cost.seconds)
