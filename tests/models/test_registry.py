"""Named models: listing, errors, what every one of them keeps to."""

import re

import chex
import jax
import numpy as np
import pytest

import vidjax
from tests.models.abstract import abstract
from tests.models.tiny import of_families
from vidjax.models.base import VideoNetwork
from vidjax.models.registry import UnknownModelError, get_variant
from vidjax.models.state import assign, merge, split


def of_video(pattern):
    """Networks of videos, without those for segments, whose protocol is in tests/models/test_pyramid.py."""
    specs = [vidjax.get_spec(name) for name in vidjax.list_models(pattern)]
    return [spec.name for spec in specs if "video" in spec.inputs and spec.task != "localise"]


def test_list_models_by_pattern():
    assert "r2plus1d_18" in vidjax.list_models() and vidjax.list_models() == sorted(vidjax.list_models())
    assert vidjax.list_models("videomae_?a*e_*") == [
        "videomae_base_ava", "videomae_base_pretrain", "videomae_large_ava", "videomae_large_pretrain"
    ]  # fmt: skip
    assert vidjax.list_models("nothing*") == []


def test_unknown_name():
    with pytest.raises(UnknownModelError, match=r"no model 'r2plus1d_81'. Did you mean r2plus1d_18"):
        vidjax.create_model("r2plus1d_81")


_KINDS = {get_variant(name).build: name for name in reversed(of_video("*"))}
# The small ones are called with every run of the tests, and the first of each kind with the slow ones. Others are of
# recipes or in the table of costs, where they are built, too.
MARKS = dict.fromkeys(of_video("*"), "exhaustive") | dict.fromkeys(_KINDS.values(), "slow")
MARKS |= {"csn_ip_r152": "exhaustive"} | dict.fromkeys(of_video("*_tiny"), "")


@pytest.mark.slow(after=20, first=10)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=getattr(pytest.mark, mark) if mark else ()) for name, mark in MARKS.items()]
)
def test_every_model_keeps_the_protocol(name):
    """Shapes of parameters alone; that large models can be called: test_cost_table.py."""
    spec = vidjax.get_spec(name)
    assert spec.name == name and spec.paper.startswith("http")
    fields = spec.video.flow.count if spec.video.flow else 0
    assert len(spec.video.mean) == len(spec.video.std) == spec.video.colours + 2 * fields
    assert ("_flow" in name) == (spec.video.content == "flow")
    assert len(spec.video.resize) in (1, 2) and spec.video.size <= min(spec.video.resize)
    model = abstract(name, num_classes=7)
    assert isinstance(model, VideoNetwork) and model.channels == len(spec.video.mean)
    graphdef, params, stats = split(model)
    if spec.task == "reconstruct":
        assert name.endswith("_pretrain") and not any(path.startswith("head.") for path in params)
        return  # its protocol: tests/models/test_videomae_pretrain.py
    if spec.task == "retrieve":
        assert model.head is None and tuple(spec.inputs) == ("video", "text")
        return  # their protocol: tests/models/families/test_clip.py
    kernels = [array for path, array in params.items() if re.fullmatch(r"head\.(\w+\.)?kernel", path)]
    tied = "head.decoder.words.embedding" in params and "head.output.kernel" not in params
    assert model.head.out_features == 7 and {kernel.shape[-1] for kernel in kernels} == (set() if tied else {7})
    others = getattr(model.head, "reads", ())
    heard = ("audio",) if "audio" in spec.inputs else ()
    assert tuple(spec.inputs) == ("video", *heard, *others)
    if MARKS[name] != "exhaustive":
        answer, features = shapes_of_a_call(spec, graphdef, params, stats)
        assert answer == (*(spec.inputs[key].shape[0] for key in others[:1]), 7)
        # A network of several streams may have a classifier for each.
        assert others or features == sum(kernel.shape[0] for kernel in kernels)


def shapes_of_a_call(spec, graphdef, params, stats):
    """Shape of a clip's logits and width of its features; nothing is allocated or compiled."""
    inputs = {key: jax.ShapeDtypeStruct((2, *value.shape), np.float32) for key, value in spec.inputs.items()}

    def parts(params, stats, inputs):  # of a call, in one trace
        model = merge(graphdef, params, stats)
        features = model.encode(inputs)
        return model(inputs), features.pooled

    logits, features = jax.eval_shape(parts, params, stats, inputs)
    assert logits.shape[0] == 2
    chex.assert_shape(features, (2, None))
    chex.assert_type([logits, features], np.float32)
    return logits.shape[1:], features.shape[1]


def test_seed_decides_the_weights():
    one, again, other = (split(vidjax.create_model("frame_pool_tiny", seed=s))[1] for s in (0, 0, 1))
    chex.assert_trees_all_equal(one, again)
    assert not np.array_equal(one["head.kernel"], other["head.kernel"])


def test_default_number_of_classes_is_the_published_one():
    assert get_variant("r2plus1d_tiny").spec.num_classes == vidjax.create_model("r2plus1d_tiny").head.out_features


def test_assign_refuses_other_shapes():
    model = vidjax.create_model("frame_pool_tiny", num_classes=3)
    with pytest.raises(ValueError, match=r"head.bias: the model has shape \(3,\), not \(4,\)"):
        assign(model, {"head.bias": np.zeros(4, np.float32)})
    assign(model, {"head.bias": np.ones(3, np.float32)})
    np.testing.assert_array_equal(model.head.bias[...], 1)


@pytest.mark.slow(after=1)
@pytest.mark.parametrize("name", ["conv3d_tiny", "single_frame_tiny", "vivit_tiny"])
def test_without_classes_a_call_gives_the_features(name):
    spec = vidjax.get_spec(name)
    video = np.random.default_rng(0).standard_normal((2, spec.video.num_frames, 32, 32, 3)).astype(np.float32)
    whole, headless = vidjax.create_model(name, num_classes=5), vidjax.create_model(name, num_classes=0)
    params, left = split(whole)[1], split(headless)[1]
    assert params.keys() - left.keys() == {"head.kernel", "head.bias"}
    chex.assert_trees_all_equal({path: params[path] for path in left}, left)
    answer = jax.jit(lambda model, video: model(video))(headless, video)
    assert answer.shape == (2, params["head.kernel"].shape[0])
    np.testing.assert_allclose(answer, jax.jit(lambda model, video: model.features(video))(whole, video), atol=1e-5)
    graphdef, params, stats = split(headless)
    np.testing.assert_allclose(merge(graphdef, params, stats)(video), answer, atol=1e-5)


@pytest.mark.parametrize("name", of_families(of_video("*_tiny")))
def test_every_family_goes_without_classes(name):
    model, spec = abstract(name, num_classes=0), vidjax.get_spec(name)
    graphdef, params, stats = split(model)
    assert not any(path.startswith("head.") for path in params)
    video = {key: jax.ShapeDtypeStruct((2, *value.shape), np.float32) for key, value in spec.inputs.items()}
    answer = jax.eval_shape(lambda p, s, v: merge(graphdef, p, s)(v), params, stats, video)
    features = jax.eval_shape(lambda p, s, v: merge(graphdef, p, s).features(v), params, stats, video)
    assert answer == features and answer.ndim == 2


def test_a_pre_training_network_has_no_classes_to_lose():
    assert split(abstract("videomae_tiny_pretrain", num_classes=0))[1].keys() == (
        split(abstract("videomae_tiny_pretrain", num_classes=7))[1].keys()
    )


def test_a_probe_without_classes_gives_what_its_last_layer_would_see():
    model = vidjax.create_model("conv3d_tiny", num_classes=0, probe="linear")
    video = np.random.default_rng(0).standard_normal((1, 4, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(model(video), model.backbone.features(video), atol=1e-6)
