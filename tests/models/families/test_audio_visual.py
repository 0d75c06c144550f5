"""Named networks of two others: their inputs are those of the two, whatever they are."""

import pytest

from tests.models.abstract import abstract
from vidjax.errors import UserError
from vidjax.models.registry import abstract_model, get_spec


def test_inputs_are_those_of_the_two():
    for names in ({}, {"pictures": "tsm_tiny"}, {"sound": "audio_resnet_tiny", "fusion": "gated"}):
        spec = get_spec("audio_visual_tiny", names)
        pictures, sound = names.get("pictures", "r2plus1d_tiny"), names.get("sound", "panns_tiny")
        assert spec.inputs == {**get_spec(pictures).inputs, **get_spec(sound).inputs}
        assert spec.name == "audio_visual_tiny"


def test_arguments_of_the_two():
    network = abstract_model(
        "audio_visual_tiny", num_classes=4, pictures="slow_tiny", pictures_options={"width": 8},
        sound="audio_resnet_tiny", sound_options={"width": 8}, fusion="gated",
    )  # fmt: skip
    assert network.pictures.widths.pooled == 128  # half of its own
    assert network.head.out_features == 4 and network.pictures.head is network.sound.head is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"pictures": "panns_tiny"}, "pictures = 'panns_tiny': takes audio; give a network of video alone"),
        ({"sound": "slow_tiny"}, "sound = 'slow_tiny': takes video; give a network of audio alone"),
        ({"pictures": "avslowfast_tiny"}, "takes video, audio; give a network of video alone"),
        ({"sound": "panns"}, "there is no model 'panns'"),
    ],
)
def test_other_networks_are_refused(names, message):
    with pytest.raises(UserError, match=message):
        abstract("audio_visual_tiny", num_classes=4, **names)
    with pytest.raises(UserError, match=message):
        get_spec("audio_visual_tiny", names)
