"""Every formulation of a convolution is XLA's own 3D convolution, and so are its gradients."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from vidjax.nn.clips import ClipError
from vidjax.nn.conv import Conv3D, choose, conv3d, conv_formulation, pads_of
from vidjax.nn.formulations import FORMULATIONS


def reference(x, kernel, strides, pads, groups=1):
    axes = ("NDHWC", "DHWIO", "NDHWC")
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=axes, feature_group_count=groups)


def draw(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def close(actual, expected):
    scale = max(1.0, float(np.abs(expected).max()))
    chex.assert_trees_all_close(np.asarray(actual) / scale, np.asarray(expected) / scale, atol=1e-5, rtol=0)


def check(clip, kernel_shape, strides, pads, groups=1):
    """Compares every formulation, and its gradients, with XLA's convolution, in one compiled function."""
    x, kernel = draw(clip), draw(kernel_shape, 1)
    dy = draw(jax.eval_shape(lambda: reference(x, kernel, strides, pads, groups)).shape, 2)

    @jax.jit
    def answers(x, kernel, dy):
        y, vjp = jax.vjp(lambda x, kernel: reference(x, kernel, strides, pads, groups), x, kernel)
        found = {"reference": (y, *vjp(dy))}
        for name in FORMULATIONS:
            with conv_formulation(name):
                if choose(kernel_shape, strides, 8, groups) == name:
                    convolve = functools.partial(conv3d, strides=strides, padding=pads, groups=groups)
                    y, vjp = jax.vjp(convolve, x, kernel)
                    found[name] = (y, *vjp(dy))
        return found

    found = answers(x, kernel, dy)
    expected = found.pop("reference")
    for name, values in found.items():
        for value, wanted in zip(values, expected, strict=True):
            assert value.shape == wanted.shape, name
            close(value, wanted)
    return set(found)


@st.composite
def cases(draw):
    kind = draw(st.sampled_from(["1x1x1", "1xkxk", "kx1x1", "kxkxk", "depthwise", "groups"]))
    size = st.integers(1, 3)
    kt = 1 if kind.startswith("1x") else draw(size)
    kh, kw = (1, 1) if kind in ("1x1x1", "kx1x1") else (draw(st.sampled_from([3, 1, 2])), draw(size))
    strides = tuple(draw(size) for _ in range(3))
    pads = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(3))
    clip = tuple(k + draw(st.integers(0, 3)) for k in (kt, kh, kw))
    groups = {"depthwise": 4, "groups": 2}.get(kind, 1)
    return (draw(st.integers(1, 2)), *clip, 4), (kt, kh, kw, 4 // groups, 4), strides, pads, groups


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(case=cases())
def test_formulations_and_their_gradients_agree_on_any_shape(case):
    assert {"native", "taps"} <= check(*case)


@pytest.mark.slow
@pytest.mark.parametrize("pad", [(0, 3), (3, 0), (2, 2)])
def test_padding_beyond_the_kernel(pad):
    check((1, 3, 5, 6, 2), (1, 2, 2, 2, 3), (1, 1, 1), ((0, 0), pad, pad))


@pytest.mark.parametrize(
    ("case", "formulations"),
    [
        (
            ((2, 4, 5, 6, 3), (1, 1, 1, 3, 4), (1, 2, 2), ((0, 0),) * 3),
            {"pointwise", "fold", "temporal", "together", "blocks"},
        ),
        (((2, 4, 6, 7, 3), (1, 3, 3, 3, 4), (1, 2, 2), ((0, 0), (1, 1), (1, 1))), {"fold", "together", "blocks"}),
        (((2, 3, 5, 7, 3), (1, 3, 3, 3, 4), (1, 1, 1), ((0, 0), (1, 1), (1, 1))), {"fold", "together", "winograd"}),
        (((2, 5, 3, 4, 3), (3, 1, 1, 3, 4), (2, 1, 1), ((1, 1), (0, 0), (0, 0))), {"temporal"}),
        (((1, 4, 5, 5, 2), (3, 3, 2, 2, 4), (2, 1, 2), ((1, 1), (0, 1), (1, 0))), {"winograd", "blocks"}),
        (((1, 4, 6, 5, 2), (3, 3, 2, 2, 3), (1, 2, 1), ((2, 1), (1, 1), (0, 1))), {"together"}),
        (((1, 3, 4, 4, 4), (2, 3, 1, 1, 4), (1, 2, 1), ((1, 0), (1, 1), (0, 0)), 4), {"shift"}),
    ],
    ids=["1x1x1", "1x3x3 strided", "1x3x3", "kx1x1", "kxkxk", "kxkxk of stride 1 in time", "depthwise"],
)
def test_formulations_and_their_gradients_agree(case, formulations):
    always = {"native", "taps"} if len(case) == 5 else {"native", "taps", "stack", "row", "patches"}
    assert check(*case) == always | formulations


def test_gradients_of_long_clips_are_summed_clip_by_clip():
    assert "temporal" in check((2, 8, 17, 18, 2), (3, 1, 1, 2, 3), (1, 1, 1), ((1, 1), (0, 0), (0, 0)))


@pytest.mark.slow
def test_under_jit_vmap_remat_and_in_bfloat16():
    x, kernel = draw((2, 3, 5, 5, 4)), draw((1, 3, 3, 4, 4), 1)

    def loss(kernel, x):
        return (conv3d(x, kernel, strides=(1, 2, 2), padding=(0, 1, 1)) ** 2).sum()

    expected = jax.grad(loss)(kernel, x)
    close(jax.jit(jax.grad(jax.checkpoint(loss)))(kernel, x), expected)
    per_clip = jax.vmap(lambda clip: jax.grad(loss)(kernel, clip[None]))(x)
    close(per_clip.sum(axis=0), expected)
    gradient = jax.grad(lambda kernel, x: loss(kernel, x).astype(jnp.float32))(
        kernel.astype(jnp.bfloat16), x.astype(jnp.bfloat16)
    )
    assert gradient.dtype == jnp.bfloat16
    error = jnp.linalg.norm((gradient.astype(jnp.float32) - expected).ravel())
    assert error < 0.02 * jnp.linalg.norm(expected.ravel())


@pytest.mark.parametrize("kernel_size", [(1, 3, 3), (3, 1, 1), (1, 7, 7)])
def test_a_batch_split_over_devices_stays_split(kernel_size):
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    copied = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    x, kernel, pads = draw((4, 3, 34, 34, 2)), draw((*kernel_size, 2, 2), 1), [(k // 2, k // 2) for k in kernel_size]
    run = jax.jit(lambda x, kernel: conv3d(x, kernel, padding=pads), in_shardings=(split, copied), out_shardings=split)
    compiled = run.lower(x, kernel).compile()
    assert not any(f" {name}(" in compiled.as_text() for name in ("all-gather", "all-to-all", "collective-permute"))
    close(run(x, kernel), reference(x, kernel, (1, 1, 1), pads))


def test_one_formulation_per_backend_and_shape():
    sizes = [(1, 1, 1), (1, 7, 7), (1, 3, 3), (3, 1, 1), (3, 3, 3), (3, 7, 7)]
    shapes = {size: (*size, 16, 17) for size in sizes}

    def chosen(width, backend, **kwargs):
        return [choose(shape, (1, 1, 1), width, backend=backend, **kwargs) for shape in shapes.values()]

    assert chosen(7, "cpu") == ["pointwise", "patches", "patches", "patches", "patches", "patches"]
    assert chosen(28, "cpu") == ["pointwise", "fold", "winograd", "temporal", "winograd", "taps"]
    assert chosen(56, "cpu") == ["pointwise", "row", "winograd", "temporal", "winograd", "row"]
    assert chosen(56, "cpu", dtype=jnp.bfloat16) == ["pointwise", "row", "row", "temporal", "row", "row"]
    assert choose((1, 3, 3, 16, 17), (1, 2, 2), 56, backend="cpu") == "row"
    assert choose((3, 3, 3, 15, 17), (1, 1, 1), 56, backend="cpu") == "row"  # few inputs
    few = [choose(shape, (1, 2, 2), 56, backend="cpu") for shape in ((1, 7, 7, 3, 16), (5, 7, 7, 3, 16))]
    assert few == ["row", "together"] and choose((5, 7, 7, 3, 16), (2, 2, 2), 56, backend="cpu") == "row"
    assert chosen(56, "gpu") == ["fold", "fold", "fold", "temporal", "stack", "stack"]
    assert set(chosen(56, "tpu")) == {"native"}
    depthwise, grouped = (3, 3, 3, 1, 8), (1, 3, 3, 2, 8)
    # Pixels, or pixels and their differences, seen by more than one place.
    for channels, kernel, name in ((3, (5, 7, 7), "taps"), (6, (1, 7, 7), "taps"), (3, (1, 1, 1), "native")):
        assert choose((*kernel, channels, 64), (2, 2, 2), 112, backend="tpu") == name
    assert chosen(56, "onnx") == ["fold", "fold", "fold", "temporal", "stack", "stack"]
    assert choose((3, 7, 7, 3, 64), (2, 2, 2), 112, backend="onnx") == "blocks"
    by_backend = [choose(depthwise, (1, 1, 1), 56, 8, backend=backend) for backend in ("cpu", "gpu", "tpu")]
    assert by_backend == ["shift", "shift", "native"]
    assert choose(grouped, (1, 1, 1), 56, 2, backend="cpu") == "taps"


def test_a_formulation_is_forced_where_it_can_be_and_restored():
    def chosen(shape):
        return choose(shape, (1, 1, 1), 56, backend="cpu")

    with conv_formulation("native"):
        assert chosen((3, 3, 3, 4, 8)) == "native"
        with conv_formulation("fold"):
            assert chosen((1, 3, 3, 4, 8)) == "fold"
            assert chosen((3, 1, 1, 4, 8)) == "temporal"
        assert chosen((1, 3, 3, 4, 8)) == "native"
    assert chosen((3, 3, 3, 16, 17)) == "winograd"
    with pytest.raises(ValueError, match=r"'folded'.*fold"), conv_formulation("folded"):
        pass


def test_the_formulation_is_what_runs():
    x, kernel = draw((1, 3, 4, 4, 2)), draw((3, 3, 3, 2, 2), 1)

    def primitives(name):
        with conv_formulation(name):
            jaxpr = jax.make_jaxpr(lambda x, kernel: conv3d(x, kernel, padding=1))(x, kernel)
        return str(jaxpr).count("conv_general_dilated[")

    assert primitives("native") == 1
    assert primitives("taps") == 3


@pytest.mark.parametrize("size", [5, 6, 7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (7, 2), (1, 2), (2, 3)])
def test_same_padding_is_tensorflows(size, kernel, stride):
    assert pads_of("SAME", (size,) * 3, (kernel,) * 3, (stride,) * 3)[0] == tuple(
        lax.padtype_to_pads((size,), (kernel,), (stride,), "SAME")[0]
    )


def test_replicated_border():
    conv = Conv3D(1, 1, 3, padding=1, padding_mode="replicate", rngs=nnx.Rngs(0))
    conv.kernel[...] = jnp.full((3, 3, 3, 1, 1), 1 / 27)
    x = draw((1, 3, 4, 4, 1))
    padded = np.pad(np.asarray(x), ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0)), mode="edge")
    close(conv(x)[0, 0, 0, 0, 0], padded[0, :3, :3, :3].mean())
    # A still video stays still up to the border, which zeros would not allow.
    still = jnp.broadcast_to(x[:, :1], (1, 5, 4, 4, 1))
    y = conv(still)
    close(y, jnp.broadcast_to(y[:, :1], y.shape))


def test_replicated_border_in_time_alone():
    conv = Conv3D(1, 1, 3, padding=1, padding_mode="replicate_time", rngs=nnx.Rngs(0))
    conv.kernel[...] = jnp.full((3, 3, 3, 1, 1), 1 / 27)
    x = draw((1, 3, 4, 4, 1))
    padded = np.pad(np.asarray(x), ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)), mode="edge")
    padded = np.pad(padded, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))
    close(conv(x)[0, 0, 0, 0, 0], padded[0, :3, :3, :3].mean())
    with pytest.raises(ValueError, match="padding_mode = 'edge'"):
        Conv3D(1, 1, 3, padding_mode="edge", rngs=nnx.Rngs(0))


def test_layer_bias_dtype_and_initial_scale():
    conv = Conv3D(16, 64, (1, 3, 3), padding=(0, 1, 1), use_bias=True, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    chex.assert_shape(conv.kernel[...], (1, 3, 3, 16, 64))
    assert conv.kernel[...].dtype == conv.bias[...].dtype == jnp.float32
    assert abs(float(conv.kernel[...].std()) / (2 / (64 * 9)) ** 0.5 - 1) < 0.05
    before = conv(jnp.ones((1, 2, 4, 4, 16)))
    assert before.dtype == jnp.bfloat16
    conv.bias[...] = jnp.full(64, 3.0)
    chex.assert_trees_all_close(conv(jnp.ones((1, 2, 4, 4, 16))) - before, jnp.full_like(before, 3.0), atol=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"feature_group_count": 3}, "feature_group_count = 3"),
        ({"padding_mode": "reflect"}, "'reflect'"),
        ({"kernel_size": (3, 3)}, "kernel_size"),
        ({"strides": (1, 2)}, "strides"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Conv3D(4, 4, **{"kernel_size": 3, **arguments}, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("padding", ["VALID", (1, 1), ((0, 1), (0, 1))])
def test_wrong_padding_is_named(padding):
    with pytest.raises(ValueError, match="padding = "):
        conv3d(jnp.zeros((1, 3, 3, 3, 1)), jnp.zeros((3, 3, 3, 1, 1)), padding=padding)


def test_layers_of_the_same_shapes_are_traced_once(monkeypatch):
    traced, shift = [], FORMULATIONS["shift"]

    def counted(*args):
        traced.append(args[1].shape)
        return shift(*args)

    monkeypatch.setitem(FORMULATIONS, "shift", counted)
    # Shapes that no other test may have had traced.
    x, kernels = draw((1, 3, 5, 7, 23)), draw((4, 3, 3, 3, 1, 23))
    layers = jax.jit(lambda x, kernels: [conv3d(x, k, padding=1, groups=23) for k in kernels])
    for y, kernel in zip(layers(x, list(kernels)), kernels, strict=True):
        close(y, reference(x, kernel, (1, 1, 1), ((1, 1),) * 3, 23))
    assert traced == [(3, 3, 3, 1, 23)]


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
@pytest.mark.parametrize("compute", [None, jnp.bfloat16])
def test_integers_are_refused_instead_of_answered_with_zeros(dtype, compute):
    layer = Conv3D(3, 2, 1, dtype=compute, rngs=nnx.Rngs(0))
    with pytest.raises(ClipError, match=f"pixels are {dtype}: normalise them first"):
        layer(jnp.ones((1, 1, 2, 2, 3), dtype))
