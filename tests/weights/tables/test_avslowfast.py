"""AVSlowFast's table: every key of pytorchvideo has its place, there and back, and the logits are the reference's."""

import numpy as np
import pytest

from tests.golden import golden, read_keys, relative_error
from tests.models.abstract import filled
from tests.weights.answers import compiled
from tests.weights.listings import assert_everything_has_its_place, count, keys_here, zeros
from vidjax.models.families.avslowfast import VARIANTS
from vidjax.models.registry import abstract_model, get_spec
from vidjax.weights import load_pretrained
from vidjax.weights.table import sources
from vidjax.weights.write import to_state_dict

GOLDEN, NAME = "pytorchvideo_avslowfast_r50_64x224", "avslowfast_r50_8x8"


def test_every_key_and_shape_has_its_place():
    assert assert_everything_has_its_place(NAME, zeros(keys_here(GOLDEN))).name == "pytorchvideo"
    assert count(NAME) == 42_321_800


def test_every_source_is_served():
    for name in VARIANTS:
        assert set(get_spec(name).sources) == {source.name for source in sources() if source.serves(name)}


@pytest.mark.slow
def test_written_state_dicts_are_whole_and_read_again():
    model = filled(abstract_model(NAME))
    state = to_state_dict(model, NAME, "pytorchvideo")
    listed = {key: (shape, dtype) for key, shape, dtype in read_keys(GOLDEN)}
    assert {key: (array.shape, str(array.dtype)) for key, array in state.items()} == listed
    again = to_state_dict(load_pretrained(NAME, state), NAME, "pytorchvideo")
    for key, array in state.items():
        np.testing.assert_array_equal(again[key], array)


@pytest.mark.slow
def test_logits_are_the_references():
    """Of one clip. Both pathways' frames are chosen from 64, as the reference's were."""
    expected = golden(GOLDEN)
    sound = expected.sound_of_both[1:, 0, :, 0]
    network = compiled(load_pretrained(NAME, expected.state, fast_stride=2))
    logits = np.asarray(network({"video": expected.both[1:], "audio": sound}))
    assert relative_error(logits, expected.of_both("logits")[1:]) < 1e-4
