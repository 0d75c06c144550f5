"""Specs: of older versions as well, the one video among the inputs, what a config changes."""

import dataclasses
import json

import pytest

from vidjax.config import ClipConfig, ConfigError, DataConfig, Spec, apply_preset
from vidjax.config.spec import need_colour, resolve_spec, with_input
from vidjax.errors import UserError
from vidjax.inputs import FeatureInput, FlowFields, VideoInput

VIDEO = VideoInput(16, 4, size=112, resize=(128, 171))
TWO = Spec("two", {"near": VIDEO, "far": VideoInput(8)})

# As checkpoints held it before inputs had names.
OLD = {
    "name": "x", "num_frames": 16, "stride": 4, "fps": None, "size": 112, "resize": [128, 171],
    "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7], "input": "rgb", "objective": "classify", "num_classes": 101,
    "paper": "arXiv 1", "sources": ["torchvision"], "published": "76.5 %",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "enters", "task"),
    [
        ({}, "frames", "classify"),
        ({"input": "diff"}, "differences", "classify"),
        ({"input": "rgb+diff"}, "both", "classify"),
        ({"objective": "reconstruct"}, "frames", "reconstruct"),
    ],
)
def test_specs_of_older_versions_are_lifted(change, enters, task):
    values = OLD | change
    before = json.dumps(values)
    video = VideoInput(16, 4, None, 112, (128, 171), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), enters=enters)
    expected = Spec("x", {"video": video}, task, 101, "arXiv 1", ("torchvision",), "76.5 %")
    spec = Spec.from_dict(values)
    assert spec == expected and json.dumps(values) == before
    assert Spec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_the_oldest_specs_say_neither_what_enters_nor_what_it_is_for():
    values = {k: v for k, v in OLD.items() if k not in ("input", "objective", "fps", "published")}
    spec = Spec.from_dict(values)
    assert (spec.video.enters, spec.task, spec.video.fps) == ("frames", "classify", None)


@pytest.mark.parametrize("values", [OLD, Spec.from_dict(OLD).to_dict()], ids=["old", "new"])
def test_unknown_fields_are_named(values):
    with pytest.raises(ConfigError, match="spec of x: unknown fields colour"):
        Spec.from_dict(values | {"colour": "grey"})


def test_fields_of_the_video_and_of_the_spec_are_told_apart():
    spec = Spec.of_video("x", 8, 2, fps=5.0, size=64, task="reconstruct", sources=("mcg",), paper="p")
    assert spec == Spec("x", {"video": VideoInput(8, 2, 5.0, 64)}, "reconstruct", sources=("mcg",), paper="p")
    with pytest.raises(TypeError, match="siez"):
        Spec.of_video("x", 8, siez=64)


def test_the_one_video_is_found_beside_other_inputs():
    spec = Spec("x", {"features": FeatureInput(4, 8), "clip": VIDEO})
    assert spec.video is VIDEO
    changed = spec.with_video(fps=5.0, size=64)
    assert changed.video == dataclasses.replace(VIDEO, fps=5.0, size=64) and list(changed.inputs) == [
        "features",
        "clip",
    ]
    assert changed.inputs["features"] is spec.inputs["features"] and spec.video.size == 112


def test_without_one_video_there_is_an_error():
    with pytest.raises(UserError, match=r"two has 2 video inputs where one is needed: it takes near \(video\), far"):
        _ = TWO.video
    with pytest.raises(UserError, match=r"x has no video inputs where one is needed: it takes f \(features\)"):
        _ = Spec("x", {"f": FeatureInput(4, 8)}).video


def resolved(input=None, **clip):
    return resolve_spec(Spec("x", {"video": VIDEO}), DataConfig(clip=ClipConfig(**clip)), input).video


def test_a_config_changes_what_it_names():
    assert resolved() == VIDEO
    changes = {"num_frames": 8, "size": 64, "resize": (72,), "mean": (0.1,) * 3, "std": (0.2,) * 3, "stride": 3}
    assert resolved(**changes) == dataclasses.replace(VIDEO, **changes)


def test_the_margin_is_kept_where_only_the_crop_changes():
    assert resolved(size=56).resize == (64, 86)


def test_a_rate_and_a_stride_take_each_others_place():
    assert resolved(fps=5.0).fps == 5.0
    timed = Spec("x", {"video": dataclasses.replace(VIDEO, fps=15.0)})
    by_stride = resolve_spec(timed, DataConfig(clip=ClipConfig(stride=2))).video
    assert (by_stride.stride, by_stride.fps) == (2, None)
    assert resolve_spec(timed, DataConfig()).video.fps == 15.0


@pytest.mark.parametrize(
    ("input", "enters"), [(None, "both"), ("rgb", "frames"), ("diff", "differences"), ("rgb+diff", "both")]
)
def test_what_enters_is_the_configs_where_it_is_given(input, enters):
    spec = Spec("x", {"video": dataclasses.replace(VIDEO, enters="both")})
    assert resolve_spec(spec, DataConfig(), input).video.enters == enters


def test_networks_without_video_stay_as_they_are():
    spec = Spec("x", {"f": FeatureInput(4, 8)})
    assert resolve_spec(spec, DataConfig(clip=ClipConfig(size=64))) is spec


def test_networks_of_other_things_than_colour_are_refused():
    need_colour(Spec("x", {"video": VIDEO}))
    with pytest.raises(UserError, match=r"x takes 2 channels \(data.clip.mean: \(0.5, 0.5\)\), but videos have 3"):
        need_colour(Spec.of_video("x", 4, mean=(0.5, 0.5), std=(0.5, 0.5)))
    with pytest.raises(UserError, match=r"x takes 1 field of flow \(dis_fast, ±20 pixels\), which frames of a clip"):
        need_colour(with_input(Spec("x", {"video": VIDEO}), "flow", FlowFields()))


def flowing(input, config=None, **video):
    """Video of a network that gets an input by name, with settings of data, and with changes of its own video."""
    spec = Spec("x", {"video": dataclasses.replace(VIDEO, **video)})
    return resolve_spec(spec, config or DataConfig(), input).video


def test_flow_is_a_word_in_a_config():
    scale = sum(VIDEO.std) / 3
    alone = flowing("flow")
    assert (alone.content, alone.flow, alone.channels) == ("flow", FlowFields("dis_fast", 1, 20), 2)
    assert (alone.mean, alone.std, alone.enters) == ((0.5, 0.5), (scale, scale), "frames")
    both = flowing("rgb+flow", DataConfig(flow="tvl1", flow_fields=5, flow_bound=8))
    assert (both.content, both.flow, both.channels) == ("rgb+flow", FlowFields("tvl1", 5, 8), 13)
    assert both.mean == VIDEO.mean + (0.5,) * 10 and both.std == VIDEO.std + (scale,) * 10
    spec = Spec("x", {"video": both})
    assert Spec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


MADE = {"content": "flow", "flow": FlowFields("tvl1", 5, 20, "truncated"), "mean": (0.4,) * 10, "std": (0.6,) * 10}


def test_a_network_made_for_flow_keeps_its_own():
    assert (
        flowing("rgb", **MADE) == flowing(None, **MADE) == flowing("flow", **MADE) == dataclasses.replace(VIDEO, **MADE)
    )
    changed = flowing("rgb", DataConfig(flow="dis_fast", flow_fields=2), **MADE)
    assert changed.flow == FlowFields("dis_fast", 2, 20, "truncated") and changed.mean == (0.4,) * 4
    with pytest.raises(ConfigError, match=r"config.model.input = 'rgb\+flow': x is made for flow; leave it out"):
        flowing("rgb+flow", **MADE)


@pytest.mark.parametrize(("name", "value"), [("flow", "tvl1"), ("flow_fields", 2), ("flow_bound", 8.0)])
def test_settings_of_flow_are_not_ignored(name, value):
    with pytest.raises(ConfigError, match=f"config.data.{name}: x reads no flow; set config.model.input to flow or"):
        flowing("rgb", DataConfig(**{name: value}))


def test_a_mean_for_each_direction_holds_for_all_fields():
    config = DataConfig(flow_fields=2, clip=ClipConfig(mean=(0.1, 0.2), std=(0.3, 0.4)))
    video = flowing("flow", config)
    assert (video.mean, video.std) == ((0.1, 0.2, 0.1, 0.2), (0.3, 0.4, 0.3, 0.4))
    config = DataConfig(flow_fields=2, clip=ClipConfig(mean=(0.1, 0.2, 0.3, 0.4, 0.5), std=(0.5, 0.6, 0.7)))
    video = flowing("rgb+flow", config)
    assert video.mean == (0.1, 0.2, 0.3, 0.4, 0.5, 0.4, 0.5) and video.std[:3] == (0.5, 0.6, 0.7)
    assert video.std[3:] == (sum(VIDEO.std) / 3,) * 4
    with pytest.raises(ConfigError, match=r"config.data.clip.mean = \(0.1, 0.1, 0.1\): x reads flow; give 2 numbers"):
        flowing("flow", DataConfig(clip=ClipConfig(mean=(0.1,) * 3)))
    with pytest.raises(ConfigError, match=r"config.data.clip.std = \(0.1, 0.1\): x reads rgb; give 3 numbers"):
        flowing("rgb", DataConfig(clip=ClipConfig(std=(0.1,) * 2)))


def test_colours_of_a_preset_say_nothing_about_flow():
    config = apply_preset(DataConfig(clip=ClipConfig(preset="torchvision_resnet")))
    assert flowing("flow", config).mean == (0.5, 0.5) and flowing("rgb+flow", config).mean[:3] == config.clip.mean
