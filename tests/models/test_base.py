"""What all networks refuse: integer pixels, other orders of axes, other numbers of channels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import vidjax
from tests.models.abstract import abstract
from vidjax.models import registry
from vidjax.models.base import TAKE_CLIPS, VideoNetwork
from vidjax.models.state import merge, split
from vidjax.nn.clips import ClipError

# Name and further arguments: every small model, so that each family is there, and what is built around one.
NETWORKS = [(name, {}) for name in vidjax.list_models("*_tiny*")] + [
    ("i3d_inception_flow", {}),
    ("vjepa2_large_ssv2", {"depth": 1}),
    ("r2plus1d_tiny", {"probe": "linear"}),
    ("swin3d_tiny", {"probe": "attentive"}),
    ("slowfast_tiny", {"input": "rgb+diff"}),
    ("vivit_tiny", {"input": "rgb+diff"}),
    ("mvit_tiny", {"input": "rgb+diff", "probe": "linear"}),
    ("csn_tiny", {"num_classes": 0}),
]
IDS = ["-".join([name, *map(str, kwargs.values())]) for name, kwargs in NETWORKS]


def test_every_family_is_here():
    families = {registry.family_of(name)[1] for name, _ in NETWORKS}
    assert families == set(registry.FAMILIES)


def given(name, kwargs):
    """The network, its clips' shape (B, T, H, W, C), and a function that traces one of its methods."""
    spec, model = vidjax.get_spec(name), abstract(name, **{"num_classes": 3, **kwargs})
    channels = len(spec.video.mean) * (2 if kwargs.get("input") == "rgb+diff" else 1)
    graphdef, params, stats = split(model)

    def call(method, shape, dtype=np.float32):
        def run(params, stats, video):
            return getattr(merge(graphdef, params, stats), method)(video)

        return jax.eval_shape(run, params, stats, jax.ShapeDtypeStruct(shape, dtype))

    return model, (2, spec.video.num_frames, spec.video.size, spec.video.size, channels), call


@pytest.mark.parametrize(("name", "kwargs"), NETWORKS, ids=IDS)
def test_integer_pixels_are_refused_with_the_mend(name, kwargs):
    model, shape, call = given(name, kwargs)
    for method in TAKE_CLIPS:
        if hasattr(model, method):
            for dtype in (np.uint8, np.int32, np.bool_):
                mend = rf"pixels are {np.dtype(dtype)}: normalise them first, vidjax.preprocess\(frames, spec\)"
                with pytest.raises(ClipError, match=mend):
                    call(method, shape, dtype)
    with pytest.raises(TypeError, match="pixels are uint8"):
        model(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(("name", "kwargs"), NETWORKS, ids=IDS)
def test_other_orders_are_refused_with_the_transposition(name, kwargs):
    model, (b, t, h, w, c), call = given(name, kwargs)
    shapes = {
        (b, c, t, h, w): "(0, 2, 3, 4, 1)",
        (b, t, c, h, w): "(0, 1, 3, 4, 2)",
        (c, t, h, w): "(1, 2, 3, 0)[None]",
        (t, c, h, w): "(0, 2, 3, 1)[None]",
        (t, h, w, c): "[None]",
        (b, 4, t, h, w, c): ".reshape(-1, *video.shape[2:])",
        (b, t, h, w, c + 1): "",
        (b, h, w): "",
    }
    for shape, mend in shapes.items():
        for method in TAKE_CLIPS:
            if hasattr(model, method):
                with pytest.raises(ClipError) as info:
                    call(method, shape)
                assert f"video {shape}: expected (B, T, H, W, C) with C = {c}, channels last" in str(info.value)
                assert mend in str(info.value)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 6), (2, 4, 3, 5, 6), (3, 4, 5, 6), (4, 3, 5, 6), (4, 5, 6, 3),
                                   (2, 9, 4, 5, 6, 3)])  # fmt: skip
def test_the_transposition_of_the_message_is_right(shape):
    """What the message says, done to an array of that order, gives one whose channels are last."""
    network = abstract("conv3d_tiny", num_classes=3)
    with pytest.raises(ClipError) as info:
        network(np.zeros(shape, np.float32))
    video = np.zeros(shape, np.float32)
    mended = eval(str(info.value).split("Then ")[1], {"video": video})
    batch = {3: 1, 4: 1, 2: 2}[shape[0]] if len(shape) < 6 else 18
    assert mended.shape == (batch, 4, 5, 6, 3)


def test_colours_are_not_taken_for_flow_or_for_frames_beside_differences():
    flow, _, call = given("i3d_inception_flow", {})
    assert flow.channels == 2
    with pytest.raises(ClipError, match="C = 2, channels last: optical flow, not colours"):
        call("__call__", (1, 16, 64, 64, 3))
    wide, _, call = given("slowfast_tiny", {"input": "rgb+diff"})
    assert wide.channels == 6
    with pytest.raises(ClipError, match=r"C = 6, channels last: .*vidjax\.preprocess .*input='rgb\+diff'"):
        call("__call__", (1, 8, 64, 64, 3))


def test_floats_of_any_width_pass_under_every_transformation():
    model = vidjax.create_model("conv3d_tiny", num_classes=3)
    video = np.random.default_rng(0).standard_normal((2, 4, 8, 8, 3)).astype(np.float32)
    expected = model(video)
    for dtype in (jnp.float16, jnp.bfloat16):
        assert model(jnp.asarray(video, dtype)).shape == (2, 3)
    np.testing.assert_allclose(nnx.jit(lambda m, v: m(v))(model, video), expected, atol=1e-5)
    graphdef, state = nnx.split(model)
    np.testing.assert_allclose(jax.jit(lambda s, v: nnx.merge(graphdef, s)(v))(state, video), expected, atol=1e-5)
    np.testing.assert_allclose(jax.vmap(lambda v: model(v[None])[0])(video), expected, atol=1e-5)
    assert nnx.grad(lambda m: m(video).sum())(model)["head"]["bias"][...].tolist() == [2, 2, 2]
    with pytest.raises(ClipError, match="uint8"):
        nnx.jit(lambda m, v: m(v))(model, np.zeros(video.shape, np.uint8))


def test_the_check_leaves_no_trace_in_the_program():
    class Unchecked(nnx.Module):
        def __init__(self):
            self.scale = nnx.Param(jnp.ones(3))

        def __call__(self, video):
            return video * self.scale[...][None, None, None, None]

    class Checked(VideoNetwork):
        __init__, __call__ = Unchecked.__init__, Unchecked.__call__

    video = jnp.ones((1, 2, 4, 4, 3))
    programs = [str(jax.make_jaxpr(build())(video)) for build in (Unchecked, Checked)]
    assert programs[0] == programs[1]
    with pytest.raises(ClipError):
        Checked()(video.astype(jnp.int8))
