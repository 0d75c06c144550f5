"""What all networks have in common: what they give by what names, and what they refuse."""

import math
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import vidjax
from tests.models.abstract import abstract
from tests.models.tiny import of_families
from vidjax.errors import UserError
from vidjax.models import registry
from vidjax.models.base import TAKE_CLIPS, Features, Head, NoSuchPartError, VideoNetwork, Widths
from vidjax.models.calls import module_paths
from vidjax.models.state import merge, split
from vidjax.nn.clips import ClipError
from vidjax.nn.remat import keeping


# Name and further arguments: every small model that takes clips, so that each family is there, and what is built
# around one.
def of_video(pattern):
    """Networks of videos, without those for segments, whose protocol is in tests/models/test_pyramid.py."""
    specs = [vidjax.get_spec(name) for name in vidjax.list_models(pattern)]
    return [spec.name for spec in specs if "video" in spec.inputs and spec.task != "localise"]


SMALL = of_video("*_tiny*")
NETWORKS = [(name, {}) for name in SMALL] + [
    ("i3d_inception_flow", {}),
    ("vjepa2_large_ssv2", {"depth": 1}),
    ("r2plus1d_tiny", {"probe": "linear"}),
    ("swin3d_tiny", {"probe": "attentive"}),
    ("slowfast_tiny", {"input": "rgb+diff"}),
    ("vivit_tiny", {"input": "rgb+diff"}),
    ("mvit_tiny", {"input": "rgb+diff", "probe": "linear"}),
    ("csn_tiny", {"num_classes": 0}),
]
_FIRST = of_families(SMALL)
CASES = [
    pytest.param(name, kwargs, id="-".join([name, *map(str, kwargs.values())]),
                 marks=() if kwargs or name in _FIRST else pytest.mark.exhaustive)
    for name, kwargs in NETWORKS
]  # fmt: skip


def test_every_family_is_here():
    families = [{registry.family_of(name)[1] for name in names} for names in (of_video("*"), dict(NETWORKS))]
    assert families[0] == families[1]


def heard(name, video):
    """Clips, beside a spectrogram of each for a network that hears too."""
    inputs = vidjax.get_spec(name).inputs
    if "audio" not in inputs:
        return video
    return {"video": video, "audio": np.zeros((*video.shape[:1], *inputs["audio"].shape), np.float32)}


def given(name, kwargs):
    """The network, its clips' shape (B, T, H, W, C), and a function that traces one of its methods."""
    spec, model = vidjax.get_spec(name), abstract(name, **{"num_classes": 3, **kwargs})
    channels = len(spec.video.mean) * (2 if kwargs.get("input") == "rgb+diff" else 1)
    graphdef, params, stats = split(model)

    def call(method, shape, dtype=np.float32):
        def run(params, stats, video):
            return getattr(merge(graphdef, params, stats), method)(heard(name, video))

        return jax.eval_shape(run, params, stats, jax.ShapeDtypeStruct(shape, dtype))

    return model, (2, spec.video.num_frames, spec.video.size, spec.video.size, channels), call


@pytest.mark.slow(after=12, first=8)
@pytest.mark.parametrize(("name", "kwargs"), CASES)
def test_integer_pixels_are_refused_with_the_mend(name, kwargs):
    model, shape, call = given(name, kwargs)
    for method in TAKE_CLIPS:
        if hasattr(model, method):
            for dtype in (np.uint8, np.int32, np.bool_):
                mend = rf"pixels are {np.dtype(dtype)}: normalise them first, vidjax.preprocess\(frames, spec\)"
                with pytest.raises(ClipError, match=mend):
                    call(method, shape, dtype)
    with pytest.raises(TypeError, match="pixels are uint8"):
        model(heard(name, np.zeros(shape, np.uint8)))


@pytest.mark.slow(after=12, first=8)
@pytest.mark.parametrize(("name", "kwargs"), CASES)
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


@pytest.mark.slow
def test_floats_of_any_width_pass_under_every_transformation(plain_convolutions):
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


class Net(VideoNetwork):
    """Dense layers at every pixel; its features are a mean, its head sees the mean of each frame."""

    def __init__(self, remat="", tokens=True):
        rngs = nnx.Rngs(0)
        self.blocks = nnx.List([nnx.Linear(3, 3, rngs=rngs) for _ in range(3)])
        self.unused = nnx.Linear(3, 3, rngs=rngs)
        self.dropout, self.head = nnx.Dropout(0.5), nnx.Linear(3, 4, rngs=rngs)
        self.widths = Widths.of_maps({1: 3}, windows=True) if tokens else Widths(3)
        self.remat = remat
        self.eval()

    def encode(self, video, rngs=None):
        x = video
        for block in self.blocks:
            x = keeping(self.remat)(block, x)
        frames = x.mean(axis=(2, 3))
        if self.widths.tokens is None:
            return Features(frames.mean(axis=1))
        return Features.of_maps({1: x}, frames.mean(axis=1), frames)


class Summed(Head, nnx.Linear):
    sees = "tokens"

    def __call__(self, x, drop):
        return drop(super().__call__(x)).sum(axis=1)


VIDEO = np.random.default_rng(0).standard_normal((2, 3, 4, 4, 3)).astype(np.float32)


def test_a_family_writes_encode_and_has_the_rest_of_it():
    net = Net()
    parts = net.encode(VIDEO)
    chex.assert_trees_all_close(net.features(VIDEO), parts.pooled)
    chex.assert_trees_all_close(net.tokens(VIDEO), parts.tokens)
    chex.assert_shape(parts.tokens, (2, 48, 3))
    assert parts.grid == (3, 4, 4)
    chex.assert_trees_all_close(net(VIDEO), net.head(parts.pooled))
    net.head = nnx.data(None)
    chex.assert_trees_all_close(net(VIDEO), parts.pooled)


@pytest.mark.parametrize("method", ["__call__", "encode", "features", "tokens"])
def test_a_mapping_is_taken_as_well_as_an_array(method):
    run = getattr(Net(), method)
    chex.assert_trees_all_close(run({"video": VIDEO}), run(VIDEO))
    with pytest.raises(ClipError):
        run({"video": VIDEO.astype(np.uint8)})
    with pytest.raises(UserError, match="Net takes an input named 'video', but got 'audio'"):
        run({"audio": VIDEO})


def test_features_pass_through_jit_with_their_grid_as_numbers():
    net = Net()
    parts = nnx.jit(lambda net, video: net.encode(video))(net, VIDEO)
    assert parts.grid == (3, 4, 4) and list(parts.maps) == [1]
    chex.assert_trees_all_close(parts, net.encode(VIDEO), rtol=1e-5)


def test_parts_that_are_not_used_cost_nothing_in_a_compiled_program():
    class Bare(Net):
        def encode(self, video, rngs=None):
            return Features(super().encode(video, rngs=rngs).pooled)

    graphdef, state = nnx.split(Net())
    bare = nnx.split(Bare())[0]
    programs = [
        jax.jit(lambda s, v, g=g: nnx.merge(g, s)(v)).lower(state, VIDEO).compile().cost_analysis()["flops"]
        for g in (graphdef, bare)
    ]
    assert programs[0] == programs[1]


def test_a_head_is_replaced_and_looks_at_what_it_wants():
    net = Net()
    net.head = Summed(net.width_of("tokens"), 5, rngs=nnx.Rngs(1))
    x = VIDEO
    for block in net.blocks:
        x = block(x)
    chex.assert_trees_all_close(net(VIDEO), nnx.Linear.__call__(net.head, x).sum(axis=(1, 2, 3)), rtol=1e-4)
    net.train()
    dropped = [net(VIDEO, rngs=nnx.Rngs(dropout=seed)) for seed in (0, 0, 1)]
    chex.assert_trees_all_equal(dropped[0], dropped[1])
    assert float(jnp.abs(dropped[0] - dropped[2]).max()) > 0


def test_a_part_that_a_network_has_not_is_named_with_who_wants_it():
    net = Net(tokens=False)
    with pytest.raises(NoSuchPartError, match="Net has no tokens; it has pooled"):
        net.tokens(VIDEO)
    net.head = Summed(3, 5, rngs=nnx.Rngs(1))
    with pytest.raises(NoSuchPartError, match="Net has no tokens, which Summed reads; it has pooled"):
        net(VIDEO)
    assert Net().width_of("maps") == {1: 3} and Net().width_of("windows") == 3


def test_widths_can_stand_in_a_graph_definition():
    assert hash(Widths.of_maps({4: 8, 8: 16})) == hash(Widths(16, 16, {4: 8, 8: 16}))
    assert nnx.split(Net())[0] == nnx.split(Net())[0]


@pytest.mark.parametrize("remat", ["", "full"])
def test_any_module_inside_can_be_looked_at(remat):
    net = Net(remat)
    x, expected = VIDEO, {}
    for index, block in enumerate(net.blocks):
        expected[f"blocks.{index}"] = x = block(x)
    chex.assert_trees_all_close(net.intermediates(VIDEO, "blocks.*"), expected)
    compiled = nnx.jit(lambda net, video: net.intermediates(video, ["blocks.1", "blocks.0"]))(net, VIDEO)
    chex.assert_trees_all_close(compiled, {path: expected[path] for path in ("blocks.0", "blocks.1")}, rtol=1e-5)
    gradient = nnx.grad(lambda net: net.intermediates(VIDEO, "blocks.1")["blocks.1"].sum())(net)
    assert np.asarray(gradient["blocks"][1]["bias"][...]).all()
    assert not np.asarray(gradient["blocks"][2]["bias"][...]).any()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("block.1", "Net has no module 'block.1'; did you mean blocks.1"),
        ("blocks", "Net has no module 'blocks'; did you mean blocks.0"),
        ("*.9", r"Net has no module '\*.9'"),
        ("unused", "Net: unused does not run while clips are encoded"),
    ],
)
def test_a_name_that_no_module_has_is_told_with_close_ones(name, message):
    with pytest.raises(UserError, match=message):
        Net().intermediates(VIDEO, ["blocks.0", name])


def test_a_module_inside_a_loop_has_no_one_output():
    class Looping(Net):
        def encode(self, video, rngs=None):
            frames = jax.lax.map(self.blocks[0], video)
            return Features(frames.mean(axis=(1, 2, 3)))

    with pytest.raises(UserError, match=r"Looping: blocks\.0 runs inside a loop"):
        Looping().intermediates(VIDEO, "blocks.0")


# One of each kind of network: all small ones, and the families that have none.
CONTRACT = [*SMALL, "c3d", "vjepa2_large_ssv2"]


@pytest.mark.slow(after=10, first=8)
@pytest.mark.parametrize("name", of_families(CONTRACT))
def test_parts_are_as_wide_and_as_fine_as_is_announced(name):
    """Shapes alone, in the dtype of activations too."""
    spec = vidjax.get_spec(name)
    model = abstract(name, **({"depth": 2} if name.startswith("vjepa2") else {}), dtype=jnp.bfloat16)
    graphdef, state = nnx.split(model)
    shapes = {key: value.shape for key, value in spec.inputs.items()}
    shapes["video"] = (*shapes["video"][:-1], model.channels)
    video = {key: jax.ShapeDtypeStruct((2, *shape), np.float32) for key, shape in shapes.items()}
    inside = [path for path in module_paths(model) if re.fullmatch(r"(slow\.)?(stages\.\d+\.\d+|blocks\.\d+)", path)]

    def run(state, video):
        network = nnx.merge(graphdef, state)
        return (
            network.encode(video),
            network.features(video),
            network.tokens(video),
            network.intermediates(video, inside),
        )

    parts, features, tokens, found = jax.eval_shape(run, state, video)
    widths = model.widths
    chex.assert_shape((features, parts.pooled), (2, widths.pooled))
    assert parts.pooled.dtype == np.float32
    assert parts.tokens.shape == tokens.shape == (2, tokens.shape[1], widths.tokens)
    # A class token; those of the sound come first where there is sound.
    rest = 0 if parts.grid is None else tokens.shape[1] - math.prod(parts.grid)
    assert rest in (0, 1) or "audio" in spec.inputs
    assert (parts.maps is None) == (widths.maps is None)
    assert {stride: x.shape[-1] for stride, x in (parts.maps or {}).items()} == (widths.maps or {})
    for stride, x in (parts.maps or {}).items():
        assert x.shape[0] == 2 and x.shape[2:4] == 2 * (-(-spec.video.size // stride),)
    if parts.maps:
        last = parts.maps[max(parts.maps)].shape[1:4]
        # Tokens are the places of the last map, or one for each of its frames.
        assert parts.grid in (last, (last[0], 1, 1))
    assert (parts.windows is not None) == widths.windows
    if widths.windows:
        assert parts.windows.shape[0] == 2 and parts.windows.shape[-1] == widths.pooled
    assert list(found) == inside or not inside
