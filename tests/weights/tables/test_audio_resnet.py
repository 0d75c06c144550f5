"""Tables of mmaction2's networks of sound: every key has its place, and the scores are the reference's."""

import numpy as np
import pytest

from tests.golden import read_keys
from tests.models.abstract import abstract
from tests.weights.answers import errors
from tests.weights.listing import assert_complete, golden_keys
from vidjax.models.state import merge, split
from vidjax.weights.write import to_state_dict


def empty(name):
    graphdef, *parts = split(abstract(name, 400))
    return merge(graphdef, *({p: np.broadcast_to(np.float32(0), a.shape) for p, a in part.items()} for part in parts))


def test_every_published_key_and_shape_has_its_place():
    state = golden_keys("mmaction2_audio_r50")
    assert assert_complete("audio_r50_mm", state, 400).name == "mmaction2"
    written = to_state_dict(empty("audio_r50_mm"), "audio_r50_mm", "mmaction2")
    assert {k: a.shape for k, a in written.items()} == {k: shape for k, shape, _ in read_keys("mmaction2_audio_r50")}


def test_the_names_of_its_resnet_18_of_one_channel():
    """They are TSN's with basic blocks: mmaction2 builds both with `ResNet`."""
    state = to_state_dict(empty("audio_r18_mm"), "audio_r18_mm", "mmaction2")
    shapes = {key: array.shape for key, array in state.items()}
    assert shapes["backbone.conv1.conv.weight"] == (64, 1, 7, 7) and shapes["cls_head.fc_cls.weight"] == (400, 512)
    assert shapes["backbone.layer2.0.downsample.conv.weight"] == (128, 64, 1, 1)
    assert shapes["backbone.layer4.1.conv2.conv.weight"] == (512, 512, 3, 3) and len(shapes) == 122
    assert assert_complete("audio_r18_mm", state, 400).name == "mmaction2"


@pytest.mark.slow
def test_scores_are_the_references():
    assert max(errors("mmaction2_audio_r50_128x80", "audio_r50_mm")) < 1e-4
