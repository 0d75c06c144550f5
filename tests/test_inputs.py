"""Kinds of inputs: kept in JSON, what is read of them, what enters a network."""

import json
import math

import pytest

from vidjax import inputs
from vidjax.batch import Field
from vidjax.errors import UserError
from vidjax.inputs import (
    AudioInput,
    BankInput,
    BoxInput,
    FeatureInput,
    FlowFields,
    PairInput,
    PromptInput,
    SequenceInput,
    TextInput,
    VideoInput,
)
from vidjax.text import TokenizerFile

EVERY = {
    "video": VideoInput(16, stride=4, fps=12.5, size=112, resize=(128, 171), mean=(0.1, 0.2, 0.3), enters="both"),
    "flow": VideoInput(8, mean=(0.5, 0.5), std=(0.5, 0.5), content="flow", flow=FlowFields("tvl1")),
    "streams": VideoInput(
        4, mean=(0.4,) * 9, std=(0.2,) * 9, content="rgb+flow", flow=FlowFields("dis_medium", 3, 8.0, "truncated", True)
    ),
    "sound": AudioInput("slaney", 1.5, frames=140),
    "words": TextInput(32, 30522, "bert", TokenizerFile.of("tokenizer.json", b"{}")),
    "prompt": PromptInput(32, 30522, "bert", TokenizerFile.of("tokenizer.json", b"{}")),
    "features": FeatureInput(10, 768),
    "boxes": BoxInput(12),
    "bank": BankInput(60, 8, seconds=30),
    "steps": SequenceInput(2304, 512),
    "pair": PairInput(368, 496),
    "resized": SequenceInput(192, 512, resized=True),
}


def test_every_kind_is_tried():
    assert {value.kind for value in EVERY.values()} == set(inputs.KINDS)


@pytest.mark.parametrize("name", EVERY)
def test_json_round_trip(name):
    values = json.loads(json.dumps(inputs.to_dict({name: EVERY[name]})))
    assert values[name]["kind"] == EVERY[name].kind
    assert inputs.from_dict(values) == {name: EVERY[name]}


def test_several_keep_their_order_and_names():
    assert list(inputs.from_dict(inputs.to_dict(EVERY)).items()) == list(EVERY.items())


def test_reading_leaves_what_was_read_as_it_is():
    values = inputs.to_dict(EVERY)
    before = json.dumps(values)
    inputs.from_dict(values)
    assert json.dumps(values) == before


def test_kinds_of_later_versions_are_refused_by_name():
    message = r"has kind 'points'; this version of vidjax supports video, audio, text, prompt, features, sequence"
    with pytest.raises(UserError, match=message):
        inputs.from_dict({"radar": {"kind": "points", "rate": 10}})


@pytest.mark.parametrize(
    ("name", "field", "shape"),
    [
        ("video", Field((16, 112, 112, 3), "uint8", below=256), (16, 112, 112, 6)),
        ("flow", Field((8, 224, 224, 2), "uint8", below=256), (8, 224, 224, 2)),
        ("streams", Field((4, 224, 224, 9), "uint8", below=256), (4, 224, 224, 9)),
        ("sound", Field((24000,), "int16"), (140, 64)),
        ("words", Field((32,), "int32", below=30522), (32,)),
        ("features", Field((10, 768), "float32"), (10, 768)),
        ("bank", Field((60, 8), "float32"), (60, 8)),
        ("boxes", Field((12, 4), "float32", ragged=True), (12, 4)),
        ("steps", Field((2304, 512), "float32", ragged=True, fill=math.nan), (2304, 512)),
    ],
)
def test_what_is_read_and_what_enters(name, field, shape):
    assert EVERY[name].field == field and EVERY[name].shape == shape


def test_words():
    assert EVERY["video"].phrase == "clips of 16 frames (12.5 frames/s) at 112²"
    assert VideoInput(1, stride=2).phrase == "clips of 1 frame (every 2nd frame) at 224²"
    assert VideoInput(4).phrase == "clips of 4 frames (every frame) at 224²"
    assert EVERY["sound"].phrase == "1.5 s of sound (140 spectra of 64 values)"
    assert EVERY["words"].phrase == "32 tokens of text"
    assert EVERY["features"].phrase == "clips of 10 vectors of 768 features"
    assert EVERY["bank"].phrase == "60 vectors of 8 features of the 30 s around a clip"
    assert EVERY["boxes"].phrase == "up to 12 boxes a clip" and BoxInput(1).brief == "≤ 1 box"
    assert EVERY["steps"].phrase == "clips of up to 2304 vectors of 512 features"
    assert EVERY["resized"].phrase == "clips of 192 vectors of 512 features"


def test_what_frames_are_resized_to():
    assert EVERY["video"].target == (128, 171) and VideoInput(4).target == 256


def test_words_of_flow():
    assert EVERY["flow"].phrase.endswith("at 224², as 1 field of flow (tvl1, ±20 pixels)")
    assert EVERY["streams"].phrase.endswith("at 224², with 3 fields of flow (dis_medium, ±8 pixels, less their mean)")
    assert EVERY["streams"].brief == "4×1, 224², rgb + 3 dis_medium" and EVERY["flow"].brief == "8×1, 224², 1 tvl1"
    assert "3 fields of flow" in EVERY["streams"].preparation and EVERY["flow"].facts["flow"] == "tvl1"
    assert (EVERY["streams"].colours, EVERY["flow"].colours, EVERY["video"].colours) == (3, 0, 3)


def test_two_channels_from_before_flow_was_an_input_are_those_of_i3d():
    values = inputs.to_dict({"flow": EVERY["flow"]})
    del values["flow"]["flow"]
    values["flow"]["content"] = "rgb"
    assert inputs.from_dict(values) == {"flow": EVERY["flow"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"content": "flow"}, "content 'flow' with no fields of flow: content must be one of rgb, flow, rgb\\+flow"),
        ({"flow": FlowFields()}, "content 'rgb' with fields of flow"),
        ({"content": "depth"}, "content 'depth' with no fields"),
        ({"content": "rgb+flow", "flow": FlowFields()}, "with 3 means and 3 deviations: give 5 each"),
        ({"content": "flow", "flow": FlowFields("tvl1", 5)}, "with 3 means and 3 deviations: give 10 each"),
        ({"mean": (0.5,)}, "with 1 means and 3 deviations: give equally many"),
    ],
)
def test_channels_that_do_not_fit_the_content_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        VideoInput(4, **changes)
