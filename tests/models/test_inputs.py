"""Frames, differences, or both: what enters, which layers widen, in every model."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import abstract
from tests.models.small import draw, plain_convolutions  # noqa: F401
from vidjax.config import ConfigError
from vidjax.inputs import FlowFields, VideoInput
from vidjax.models import create_model, list_models
from vidjax.models.arguments import arguments_of
from vidjax.models.inputs import fit_channels
from vidjax.models.registry import get_variant
from vidjax.models.state import merge, split
from vidjax.nn.enter import network_input

FIRST_OF_ITS_KIND = {}
for _name in sorted(list_models(), key=lambda name: not name.endswith("_tiny")):
    if "video" not in get_variant(_name).spec.inputs or get_variant(_name).spec.video.content == "rgb+flow":
        continue
    FIRST_OF_ITS_KIND.setdefault(get_variant(_name).build, _name)


def both_of(name):
    """`(frames alone, frames and differences)`: shapes of a named model's parameters, and the second as a module."""
    both = abstract(name, input="rgb+diff")
    return split(abstract(name))[1], both, len(get_variant(name).spec.video.mean)


@pytest.mark.parametrize("name", sorted(FIRST_OF_ITS_KIND.values()))
def test_in_every_kind_of_model_the_first_layers_read_twice_the_channels(name):
    old, both, channels = both_of(name)
    params = split(both)[1]
    assert params.keys() == old.keys() and both.channels == 2 * channels
    changed = {path for path in params if params[path].shape != old[path].shape}
    assert changed, "no layer reads the differences"
    for path in changed - {"decoder.head.kernel", "decoder.head.bias"}:  # of networks that draw what they are given
        shape = old[path].shape
        assert params[path].shape == (*shape[:3], 2 * channels, shape[4]) and shape[3] == channels


@pytest.mark.slow(first=10)
@pytest.mark.parametrize("name", sorted(FIRST_OF_ITS_KIND.values()))
def test_every_kind_of_model_takes_frames_and_differences(name):
    """Shapes alone."""
    _, both, channels = both_of(name)
    spec, (graphdef, params, stats) = get_variant(name).spec, split(both)
    shapes = {key: value.shape for key, value in spec.inputs.items()}
    shapes["video"] = (*shapes["video"][:-1], 2 * channels)
    clips = {key: jax.ShapeDtypeStruct((1, *shape), np.float32) for key, shape in shapes.items()}
    out = jax.eval_shape(lambda p, s, v: merge(graphdef, p, s).features(v), params, stats, clips)
    assert out.shape[0] == 1 and out.dtype == np.float32


OF_FLOW = ("frame_pool_tiny", "single_frame_tiny", "slow_tiny", "slowfast_tiny", "i3d_inception_tiny", "vivit_tiny")


@pytest.mark.parametrize(("input", "fields", "channels"), [("flow", 5, 10), ("rgb+flow", 1, 5)])
@pytest.mark.parametrize("name", OF_FLOW)
def test_any_model_takes_flow(name, input, fields, channels):
    """Shapes alone."""
    model, colours = abstract(name, input=input, flow_fields=fields), split(abstract(name))[1]
    video, (graphdef, params, stats) = get_variant(name).spec.video, split(model)
    assert model.channels == channels and params.keys() == colours.keys()
    changed = [path for path in params if params[path].shape != colours[path].shape]
    assert changed and all(params[path].shape[3] == channels for path in changed)
    clip = jax.ShapeDtypeStruct((1, video.num_frames, video.size, video.size, channels), np.float32)
    out = jax.eval_shape(lambda p, s, v: merge(graphdef, p, s)(v), params, stats, clip)
    assert out.shape == (1, 400)


@pytest.mark.slow
def test_a_network_made_for_flow_has_it_anyway():
    assert abstract("tsn_r50_flow").channels == 10 and abstract("tsn_r50_flow", flow_fields=2).channels == 4
    assert abstract("slow_r50_flow_mm").channels == abstract("i3d_inception_flow", input="flow").channels == 2
    with pytest.raises(ConfigError, match="slow_r50_flow_mm is made for flow"):
        abstract("slow_r50_flow_mm", input="rgb+flow")


@pytest.mark.parametrize(
    ("channels", "changes", "expected"),
    [
        (10, {"content": "flow", "flow": FlowFields(count=5)}, ["mean"] * 10),
        (6, {"content": "flow", "flow": FlowFields(count=3)}, ["mean"] * 6),
        (7, {"content": "rgb+flow", "flow": FlowFields(count=2)}, [0, 1, 2, *["mean"] * 4]),
        (6, {"enters": "both"}, [0, 1, 2, None, None, None]),
        (4, {"content": "flow", "flow": FlowFields(), "enters": "both"}, ["mean", "mean", None, None]),
    ],
)
def test_first_kernels_of_other_channels(channels, changes, expected):
    read = sum(each is not None for each in expected)
    spec = VideoInput(4, mean=(0.5,) * read, std=(0.5,) * read, **changes)
    kernel = np.random.default_rng(0).normal(size=(3, 2, 2, 3, 4)).astype(np.float32)
    parts = {0: kernel[..., 0, :], 1: kernel[..., 1, :], 2: kernel[..., 2, :]}
    parts |= {"mean": kernel.mean(axis=3), None: np.zeros_like(kernel[..., 0, :])}
    wanted = np.stack([parts[each] for each in expected], axis=3)
    np.testing.assert_allclose(fit_channels(kernel, (3, 2, 2, channels, 4), spec), wanted, rtol=1e-6)
    own = np.ones((1, 2, 2, channels, 4), np.float32)
    assert fit_channels(own, own.shape, spec) is own  # of the same flow: exactly as it is


def test_what_enters_the_network():
    spec = get_variant("frame_pool_tiny").spec
    video = np.asarray(draw((2, 3, 2, 2, 3)))
    differences = np.zeros_like(video)
    differences[:, 1:] = video[:, 1:] - video[:, :-1]
    for entering, expected in (
        ("frames", video),
        ("differences", differences),
        ("both", np.concatenate([video, differences], axis=-1)),
    ):
        given = network_input(jnp.asarray(video), spec.with_video(enters=entering).video)
        chex.assert_trees_all_close(given, expected, atol=1e-6)
    # Differences of neighbours are small: they are taken before rounding to 16 bits.
    close = jnp.asarray([1.0, 1.001])[None, :, None, None, None] * jnp.ones((1, 2, 1, 1, 3))
    small = network_input(close, spec.with_video(enters="differences").video, jnp.bfloat16)
    assert small.dtype == jnp.bfloat16
    chex.assert_trees_all_close(small[:, 1].astype(jnp.float32), jnp.full((1, 1, 1, 3), 0.001), rtol=1e-2)
    with pytest.raises(ValueError, match="'depth': must be one of frames, differences, both"):
        network_input(close, spec.with_video(enters="depth").video)


def test_weights_for_frames_answer_as_before_whatever_the_differences():
    one, both = (create_model("frame_pool_tiny", input=entering) for entering in ("rgb", "rgb+diff"))
    video, other = draw((1, 2, 8, 8, 3)), draw((1, 2, 8, 8, 3), 1)
    answer = nnx.jit(lambda model, video: model(video))
    kernel = both.stem.conv.kernel
    before = answer(both, jnp.concatenate([video, other], axis=-1))
    kernel.set_value(jnp.asarray(fit_channels(np.asarray(one.stem.conv.kernel[...]), kernel.shape)))
    after = answer(both, jnp.concatenate([video, other], axis=-1))
    chex.assert_trees_all_close(after, answer(one, video), atol=1e-6)
    # Fresh networks see both.
    assert float(jnp.abs(before - after).max()) > 1e-4


def test_other_kernels_are_left_alone():
    for shape, wanted in (((3, 3), (3, 6)), ((1, 3, 3, 8, 4), (1, 3, 3, 16, 4)), ((1, 3, 3, 3, 4), (1, 3, 3, 3, 4))):
        kernel = np.ones(shape, np.float32)
        assert fit_channels(kernel, wanted) is kernel


def test_channels_are_an_argument_of_every_model():
    for name in sorted(FIRST_OF_ITS_KIND.values()):
        assert "in_channels" in arguments_of(get_variant(name).build), name
    assert abstract("frame_pool_tiny", in_channels=5).channels == 5


def test_an_unknown_input_is_refused():
    with pytest.raises(ValueError, match="'depth': must be one of rgb, diff"):
        create_model("frame_pool_tiny", input="depth")
