"""Networks of several streams: every kind of fusion against its definition, from what the two networks give alone."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.models.abstract import abstract, filled
from tests.models.tiny import clips
from vidjax.errors import UserError
from vidjax.models.heads import Attentive
from vidjax.models.registry import OneKey, abstract_model, create_model
from vidjax.models.state import assign, split
from vidjax.models.streams import FusionOptions, Streams, summing

pytestmark = pytest.mark.usefixtures("plain_convolutions")

NAME = "two_stream_tiny"
VIDEO = clips(NAME)


@functools.cache
def network(**kwargs):
    """The two-stream network of 3 classes with drawn weights, in evaluation mode."""
    model = filled(abstract_model(NAME, num_classes=3, **kwargs))
    model.eval()
    return model


@functools.cache
def alone():
    """Logits and features of the two networks, each called by itself on its channels."""
    model, found = network(), {}
    for stream, video in (("rgb", VIDEO[..., :3]), ("flow", VIDEO[..., 3:])):
        with model.alone(stream) as own:
            found[stream] = jax.jit(lambda net, video: (net(video), net.encode(video)))(own, video)
    return found


@functools.cache
def call(model):
    return np.asarray(jax.jit(lambda net, video: net(video))(model, VIDEO))


def scores(of=None):
    logits = [np.asarray(found[0], np.float64) for found in alone().values()]
    return logits if of is None else [of(z) for z in logits]


def softmax(x):
    exp = np.exp(x - x.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def with_arrays_of_the_mean(**kwargs):
    """A network of another fusion of scores whose streams are those of `network()`."""
    model = filled(abstract_model(NAME, num_classes=3, **kwargs), seed=1)
    assign(model, {path: array for part in split(network())[1:] for path, array in part.items()})
    return model


def test_the_mean_of_probabilities():
    rgb, flow = scores(softmax)
    np.testing.assert_allclose(softmax(call(network())), (rgb + flow) / 2, atol=1e-6)
    assert np.abs(rgb - flow).max() > 0.05


def test_weighted_probabilities():
    model = with_arrays_of_the_mean(fusion="weighted", weights=(1, 1.5))
    rgb, flow = scores(softmax)
    np.testing.assert_allclose(softmax(call(model)), (rgb + 1.5 * flow) / 2.5, atol=1e-6)


def test_added_and_averaged_logits():
    rgb, flow = scores()
    added = with_arrays_of_the_mean(fusion="weighted", scores="logits", weights=(1, 1))
    np.testing.assert_allclose(call(added), rgb + flow, atol=1e-5)
    mean = with_arrays_of_the_mean(scores="logits")
    np.testing.assert_allclose(call(mean), (rgb + flow) / 2, atol=1e-5)


@pytest.mark.parametrize("rule", ["probabilities", "logits"])
def test_learned_weights_start_equal_and_are_a_softmax(rule):
    fresh = abstract(NAME, num_classes=3, fusion="learned").head
    assert fresh.balance.shape == (2,)
    model = with_arrays_of_the_mean(fusion="learned", scores=rule)
    assign(model, {"head.balance": jnp.asarray([np.log(3.0), 0.0])})  # shares 3/4 and 1/4
    rgb, flow = scores(softmax if rule == "probabilities" else None)
    found = call(model)
    np.testing.assert_allclose(softmax(found) if rule == "probabilities" else found, (3 * rgb + flow) / 4, atol=1e-5)


def test_probabilities_of_classes_that_are_not_exclusive():
    model = with_arrays_of_the_mean(exclusive=False)
    rgb, flow = scores(sigmoid)
    np.testing.assert_allclose(sigmoid(call(model)), (rgb + flow) / 2, atol=1e-6)


@pytest.mark.slow
def test_losses_of_logits_are_those_of_the_mixture():
    """Cross-entropy of the fused logits is that of the averaged probabilities, and its gradient is finite."""
    head, labels = network().head, np.array([2, 0])
    rgb, flow = scores(softmax)
    expected = -np.log(((rgb + flow) / 2)[np.arange(2), labels])
    logits = [jnp.asarray(z, jnp.float32) for z in scores()]

    def loss(logits):
        return optax.softmax_cross_entropy_with_integer_labels(head.fused(logits), labels)

    np.testing.assert_allclose(loss(logits), expected, rtol=1e-5)
    sure = [jnp.asarray([[0.0, 0.0, 2000.0]] * 2), jnp.asarray([[0.0, 2000.0, 0.0]] * 2)]
    for scale in (1, -1):
        gradients = jax.grad(lambda z: loss(z).sum())([scale * z for z in sure])
        assert all(np.isfinite(gradient).all() for gradient in gradients)
    independent = with_arrays_of_the_mean(exclusive=False).head
    targets = np.array([[1, 0, 1], [0, 1, 0]], np.float32)
    mixture = sum(scores(sigmoid)) / 2
    expected = -(targets * np.log(mixture) + (1 - targets) * np.log(1 - mixture))
    np.testing.assert_allclose(optax.sigmoid_binary_cross_entropy(independent.fused(logits), targets), expected, 1e-4)


def test_features_side_by_side_before_one_classifier():
    model = filled(abstract_model(NAME, num_classes=3, fusion="concat"), seed=1)
    streams = {p: a for part in split(network())[1:] for p, a in part.items() if not p.startswith("head.")}
    assign(model, streams)
    side = np.concatenate([np.asarray(found[1].pooled) for found in alone().values()], axis=-1)
    kernel, bias = (np.asarray(getattr(model.head, leaf)[...]) for leaf in ("kernel", "bias"))
    np.testing.assert_allclose(call(model), side @ kernel + bias, atol=1e-4)
    for name in ("tokens", "maps"):
        parts = [getattr(found[1], name) for found in alone().values()]
        own = getattr(model.encode(VIDEO), name)
        if name == "tokens":
            np.testing.assert_allclose(own, np.concatenate(parts, axis=-1), atol=1e-5)
            continue
        assert own.keys() == parts[0].keys()
        for stride, x in own.items():
            np.testing.assert_allclose(x, np.concatenate([part[stride] for part in parts], axis=-1), atol=1e-5)


def convolved(x, kernel):
    """Zero-padded convolution of stride 1: (B, T, H, W, I) and (k, k, k, I, O)."""
    half = kernel.shape[0] // 2
    wide = np.pad(x, ((0, 0), *3 * ((half, half),), (0, 0)))
    out = np.zeros((*x.shape[:4], kernel.shape[-1]))
    for i, j, k in np.ndindex(kernel.shape[:3]):
        out += wide[:, i : i + x.shape[1], j : j + x.shape[2], k : k + x.shape[3]] @ kernel[i, j, k]
    return out


@pytest.mark.parametrize("size", [1, 3])
def test_last_maps_joined_by_a_convolution(size):
    model = filled(abstract_model(NAME, num_classes=3, fusion="conv", kernel=size), seed=1)
    assign(model, {p: a for part in split(network())[1:] for p, a in part.items() if not p.startswith("head.")})
    last = [np.asarray(found[1].maps[max(found[1].maps)], np.float64) for found in alone().values()]
    kernel = np.asarray(model.join.kernel[...], np.float64)
    assert kernel.shape == (size, size, size, 128, 64)
    joined = np.maximum(convolved(np.concatenate(last, axis=-1), kernel), 0)
    parts = jax.jit(lambda net, video: net.encode(video))(model, VIDEO)
    np.testing.assert_allclose(parts.maps[max(parts.maps)], joined, atol=1e-4)
    np.testing.assert_allclose(parts.pooled, joined.mean(axis=(1, 2, 3)), atol=1e-5)
    head = np.asarray(model.head.kernel[...])
    bias = np.asarray(model.head.bias[...])
    np.testing.assert_allclose(call(model), joined.mean(axis=(1, 2, 3)) @ head + bias, atol=1e-4)


def test_a_joining_convolution_starts_as_the_sum_of_the_maps():
    fresh = abstract_model(NAME, num_classes=3, fusion="conv", kernel=3).join.kernel
    kernel = np.asarray(summing((64, 64))(jax.random.key(0), fresh.shape, jnp.float32))
    x = np.random.default_rng(0).standard_normal((1, 2, 3, 3, 128))
    np.testing.assert_allclose(convolved(x, kernel), x[..., :64] + x[..., 64:], atol=1e-6)


@pytest.mark.parametrize("kind", ["add", "multiply"])
def test_motion_enters_the_stages_of_appearance(kind):
    model = filled(abstract_model(NAME, num_classes=3, fusion="lateral", lateral=kind), seed=1)
    assign(model, {path: array for part in split(network())[1:] for path, array in part.items()})
    flow = alone()["flow"][1].maps
    assert model.lateral_strides == (4, 8)

    @jax.jit
    def rgb(model):
        with model.alone("rgb") as own:
            x = own.stem(VIDEO[..., :3])
            for index, blocks in enumerate(own.stages):
                for block in blocks:
                    x = block(x)
                if index < 2:
                    y = flow[(4, 8)[index]] @ model.laterals[index].kernel[...][0, 0, 0]
                    x = x + y if kind == "add" else x * (1 + y)
            return own.head(x.mean(axis=(1, 2, 3)))

    expected = (softmax(np.asarray(rgb(model), np.float64)) + scores(softmax)[1]) / 2
    np.testing.assert_allclose(softmax(call(model)), expected, atol=1e-5)
    assert np.abs(expected - softmax(call(network()))).max() > 0.01


def test_lateral_connections_start_without_effect():
    model = abstract(NAME, num_classes=3, fusion="lateral")
    assert [conv.kernel.shape for conv in model.laterals] == [(1, 1, 1, 16, 16), (1, 1, 1, 32, 32)]
    model = with_arrays_of_the_mean(fusion="lateral", weights=(3, 1))
    assign(model, {p: jnp.zeros(a.shape) for p, a in split(model)[1].items() if p.startswith("laterals.")})
    rgb, flow = scores(softmax)
    np.testing.assert_allclose(softmax(call(model)), (3 * rgb + flow) / 4, atol=1e-6)


def test_maps_of_other_lengths_and_grids_are_averaged_to_the_coarser():
    """A stream that halves time beside one that does not."""
    model = abstract(NAME, num_classes=3, fusion="concat", rgb="conv3d_tiny")
    video = jax.ShapeDtypeStruct((2, 8, 64, 64, 5), np.float32)
    parts = nnx.eval_shape(lambda net, video: net.encode(video), model, video)
    own = [abstract(name, num_classes=3, **kwargs) for name, kwargs in
           (("conv3d_tiny", {}), ("frame_pool_tiny", {"in_channels": 2}))]  # fmt: skip
    maps = [nnx.eval_shape(lambda net, video: net.encode(video), net, video.update(shape=(2, 8, 64, 64, c))).maps
            for net, c in zip(own, (3, 2), strict=True)]  # fmt: skip
    assert list(parts.maps) == [4] and maps[0][4].shape[1] < maps[1][4].shape[1]
    for stride, x in parts.maps.items():
        assert x.shape[1:4] == tuple(map(min, *(m[stride].shape[1:4] for m in maps)))
        assert x.shape[-1] == model.widths.maps[stride] == sum(m[stride].shape[-1] for m in maps)
    # Maps of strides 2 and 4 beside those of 8 have nothing in common; tokens are places all the same.
    mixed = abstract(NAME, num_classes=3, fusion="concat", rgb="conv3d_tiny", flow="videomae_tiny")
    parts = nnx.eval_shape(lambda net, video: net.encode(video), mixed, video)
    assert mixed.widths.maps is None and parts.maps is None
    assert parts.tokens.shape == (2, np.prod(parts.grid), mixed.widths.tokens)


def test_any_head_can_take_the_place_of_the_classifiers():
    model = abstract_model(NAME, num_classes=3)
    assert {p for p in split(model)[1] if "head" in p} == {
        f"head.{stream}.{leaf}" for stream in ("rgb", "flow") for leaf in ("kernel", "bias")
    }
    model.head = nnx.eval_shape(lambda: Attentive(model.width_of("tokens"), 5, rngs=OneKey()))
    assert nnx.eval_shape(lambda net, video: net(video), model, VIDEO).shape == (2, 5)
    assert not any(path.startswith(("head.rgb", "head.flow", "rgb.head", "flow.head")) for path in split(model)[1])
    with model.alone("flow") as own:
        assert own.head is None


def test_a_stream_alone_shares_its_arrays_and_goes_back():
    model = filled(abstract_model(NAME, num_classes=3))
    with pytest.raises(RuntimeError, match="inside"), model.alone("rgb") as own:
        assert own.channels == 3 and own.head.out_features == 3
        assign(own, {"head.bias": jnp.full(3, 7.0)})
        raise RuntimeError("inside")
    assert model.rgb.head is None
    np.testing.assert_array_equal(model.head.rgb.bias[...], 7)
    with pytest.raises(UserError, match="no stream 'sound'; there are rgb, flow"), model.alone("sound"):
        pass


def test_dropout_is_drawn_for_each_stream():
    model = filled(abstract_model(NAME, num_classes=3, dropout=0.5))
    model.train()
    drawn = [np.asarray(model(VIDEO, rngs=nnx.Rngs(dropout=seed))) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.abs(drawn[2] - drawn[0]).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "max"}, "fusion = 'max': must be one of mean, weighted, learned, lateral, concat, conv"),
        ({"scores": "votes"}, "scores = 'votes': must be one of probabilities, logits"),
        ({"fusion": "lateral", "lateral": "gate"}, "lateral = 'gate': must be one of add, multiply"),
        ({"kernel": 2}, "kernel = 2: must be 1 or 3"),
        ({"kernel": 3}, "kernel = 3: does not apply to fusion = 'mean'"),
        ({"weights": (1, 2)}, r"weights = \(1, 2\): does not apply to fusion = 'mean'"),
        ({"fusion": "weighted"}, "give weights, one for each stream"),
        ({"fusion": "concat", "scores": "logits"}, "scores = 'logits': does not apply to fusion = 'concat'"),
        ({"fusion": "conv", "exclusive": False}, "exclusive = False: does not apply to fusion = 'conv'"),
        ({"scores": "logits", "exclusive": False}, "exclusive = False: does not apply to fusion = 'mean' of logits"),
        ({"lateral": "add"}, "lateral = 'add': does not apply to fusion = 'mean'"),
    ],
)
def test_options_that_do_not_apply_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        FusionOptions(**options)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"fusion": "conv", "flow": "videomae_tiny"}, "strides in pixels differ: rgb 16, flow 8"),
        ({"fusion": "lateral", "rgb": "videomae_tiny"}, "rgb = 'videomae_tiny' takes nothing in between its stages"),
        ({"fusion": "lateral", "flow": "videomae_tiny"}, "strides of 4, 8, 16 pixels, those of videomae_tiny 8; take"),
        ({"fusion": "weighted", "weights": (1, 2, 3)}, "one for each of the 2 networks"),
    ],
)
def test_networks_that_do_not_fit_the_fusion_are_named(kwargs, message):
    with pytest.raises(UserError, match=message):
        abstract_model(NAME, num_classes=3, **kwargs)


@pytest.mark.parametrize(
    ("fusion", "message"),
    [
        ("conv", r"joins the last maps, which frame_pool_tiny \(flow\) lacks; take"),
        ("lateral", "strides of 4, 8, 16 pixels, those of frame_pool_tiny no maps; take"),
    ],
)
def test_networks_without_maps_are_named(fusion, message):
    names = {"rgb": "frame_pool_tiny", "flow": "frame_pool_tiny"}

    def build():
        networks = {stream: create_model(name, num_classes=3) for stream, name in names.items()}
        networks["flow"].widths = dataclasses.replace(networks["flow"].widths, maps=None)
        return Streams(networks, 3, names=names, options=FusionOptions(fusion), rngs=OneKey())

    with pytest.raises(UserError, match=message):
        nnx.eval_shape(build)


def test_lateral_maps_of_another_length_are_refused():
    model = abstract(NAME, num_classes=3, fusion="lateral", flow="r2plus1d_tiny")
    with pytest.raises(UserError, match=r"after the stage of stride \d+ the maps \(T, H, W\) are"):
        nnx.eval_shape(lambda net, video: net(video), model, jax.ShapeDtypeStruct((1, 8, 64, 64, 5), np.float32))
