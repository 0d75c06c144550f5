"""Inception I3D on shrunk blocks: TensorFlow's padding, windows, training; and what the named networks share."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import abstract
from tests.models.small import draw
from tests.peers import needs
from vidjax.models import get_spec
from vidjax.models.base import Features
from vidjax.models.families.inception import STAGES, BlockWidths, Inception, SelfGate, SeparableUnit, Unit
from vidjax.models.state import merge, split

pytestmark = pytest.mark.usefixtures("plain_convolutions")

TINY = ((BlockWidths(4, 3, 4, 2, 2, 2),), (BlockWidths(5, 3, 4, 2, 3, 2),))


def make(**kwargs):
    small = {"stem_features": (4, 4, 6), "stages": TINY[:1], "momentum": 0.9, "dropout": 0.0}
    model = Inception(3, rngs=nnx.Rngs(0), **{**small, **kwargs})
    model.eval()
    return model


@pytest.mark.parametrize("sizes", [(5, 8, 9), (6, 9, 8)])
def test_strided_layers_pad_as_tensorflow_does(sizes):
    torch = needs("torch")
    unit = Unit(2, 3, 7, 2, rngs=nnx.Rngs(0))
    unit.eval()
    x = np.asarray(draw((1, *sizes, 2)))
    pads = []
    for n in reversed(sizes):
        # The outputs are ⌈n / 2⌉, and what they lack on the whole goes to the end where it is odd.
        lacking = max(0, (-(-n // 2) - 1) * 2 + 7 - n)
        pads += [lacking // 2, lacking - lacking // 2]
    padded = torch.nn.functional.pad(torch.from_numpy(x.transpose(0, 4, 1, 2, 3).copy()), pads)
    kernel = torch.from_numpy(np.asarray(unit.conv.kernel[...]).transpose(4, 3, 0, 1, 2).copy())
    expected = torch.nn.functional.conv3d(padded, kernel, stride=2).numpy().transpose(0, 2, 3, 4, 1)
    chex.assert_trees_all_close(nnx.jit(unit)(jnp.asarray(x)), np.maximum(expected / np.sqrt(1 + 1e-3), 0), atol=1e-5)


@pytest.mark.slow
def test_epsilon_is_the_references_everywhere():
    norms = [m for _, m in nnx.iter_modules(make(separable=True)) if isinstance(m, nnx.BatchNorm)]
    assert {norm.epsilon for norm in norms} == {1e-3} and len(norms) == 5 + 8


def test_stages_halve_time_and_space():
    video = jnp.zeros((1, 17, 33, 33, 3))
    # 33 pixels go 17, 9, 5 with TensorFlow's rule, and 3 before the second stage; 17 frames go 9 and 5.
    maps = [
        jax.eval_shape(lambda x, stages=stages: make(stages=stages).encode(x).windows, video)
        for stages in (TINY[:1], TINY)
    ]
    assert [m.shape for m in maps] == [(1, 8, 1, 1, 12), (1, 4, 1, 1, 14)]


@pytest.mark.slow
def test_windows_of_the_last_map():
    """A map of 3 × 8 × 8 has 2 × 2 × 2 windows of 2 × 7 × 7; a smaller one is one window."""
    graphdef, params, stats = split(abstract("i3d_inception_rgb"))
    for shape, windows in (((24, 256, 256), (2, 2, 2)), ((16, 224, 224), (1, 1, 1)), ((4, 32, 32), (1, 1, 1))):
        video = jax.ShapeDtypeStruct((1, *shape, 3), jnp.float32)
        out = jax.eval_shape(lambda p, s, v: merge(graphdef, p, s).encode(v).windows, params, stats, video)
        assert out.shape == (1, *windows, 1024)


def test_logits_are_the_mean_over_time_of_those_of_each_step():
    model, video = make(), draw((2, 8, 16, 16, 3))
    over_time, logits, features = nnx.jit(lambda m, v: (m.logits_over_time(v), m(v), m.features(v)))(model, video)
    chex.assert_shape((over_time, logits, features), [(2, 3, 3), (2, 3), (2, 12)])
    chex.assert_trees_all_close(over_time.mean(axis=1), logits, atol=1e-5)
    chex.assert_trees_all_close(nnx.Linear.__call__(model.head, features), logits, atol=1e-5)
    assert float(jnp.abs(over_time[:, 0] - over_time[:, 1]).max()) > 1e-4


def test_dropout_falls_on_each_window():
    model = make(dropout=0.5)
    model.dropout.train()
    # In place of what comes before: every window holds ones.
    model.encode = lambda video: Features(jnp.ones((1, 12)), windows=jnp.ones((1, 5, 3, 3, 12)))
    model.head.kernel.set_value(jnp.ones((12, 3)))
    answer = jax.jit(lambda seed: model.logits_over_time(None, nnx.Rngs(dropout=jax.random.key(seed))))
    first, again, other = (np.asarray(answer(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    # Kept features are doubled: 9 windows of 12 features give about 12, never all or nothing.
    assert (first > 6).all() and (first < 18).all() and len(np.unique(first)) > 3


def test_gating_needs_convolutions_in_time():
    with pytest.raises(ValueError, match="separable=True"):
        make(gating=True)


def test_a_gate_scales_channels_by_the_whole_clip():
    gate = SelfGate(3, rngs=nnx.Rngs(0))
    gate.linear.kernel.set_value(draw((3, 3)))
    gate.linear.bias.set_value(draw((3,), 1))
    x = draw((2, 4, 5, 6, 3))
    mean = np.asarray(x).mean(axis=(1, 2, 3))
    weights = 1 / (1 + np.exp(-(mean @ np.asarray(gate.linear.kernel[...]) + np.asarray(gate.linear.bias[...]))))
    chex.assert_trees_all_close(gate(x), np.asarray(x) * weights[:, None, None, None], atol=1e-5)


def test_a_separable_unit_gates_behind_time():
    kwargs = {"rngs": nnx.Rngs(0)}
    unit = SeparableUnit(2, 3, 3, 2, gating=True, **kwargs)
    unit.eval()
    x = draw((1, 5, 6, 6, 2))
    chex.assert_shape(jax.eval_shape(unit.spatial, x), (1, 5, 3, 3, 3))
    apart, together = nnx.jit(lambda unit, x: (unit.gate(unit.temporal(unit.spatial(x))), unit(x)))(unit, x)
    chex.assert_trees_all_close(together, apart, atol=1e-6)


def test_the_named_networks():
    for stream, channels in (("rgb", 3), ("flow", 2)):
        name = f"i3d_inception_{stream}"
        spec = get_spec(name)
        assert (spec.video.num_frames, spec.video.fps, spec.video.size, spec.video.resize) == (64, 25, 224, (256,))
        assert spec.video.mean == spec.video.std == (0.5,) * channels
        params = split(abstract(name))[1]
        assert params["stem.0.conv.kernel"].shape == (7, 7, 7, channels, 64)
        assert params["head.kernel"].shape == (1024, 400)
    assert [sum(widths.total for widths in stage[-1:]) for stage in STAGES] == [480, 832, 1024]
