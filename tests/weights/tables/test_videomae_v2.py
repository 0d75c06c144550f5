"""VideoMAE V2: all keys of the giant have their place and are written again; logits are the reference's."""

import numpy as np
import pytest

from tests.golden import golden, read_keys, relative_error
from tests.weights.answers import compiled
from tests.weights.listing import assert_complete, golden_keys, shapes
from tests.weights.test_write import empty
from vidjax.weights import load_pretrained
from vidjax.weights.mapping import conversion, convert
from vidjax.weights.read import read_state_dict
from vidjax.weights.table import recognise
from vidjax.weights.write import to_state_dict

NAME, KEYS = "videomaev2_giant_k710", "videomaev2_vit_giant_patch14_224"
# A network with the giant's patches of 14 pixels, and MLPs 48/11 as wide as its tokens.
TINY = {"dim": 66, "depth": 3, "heads": 3, "mlp": 288, "num_frames": 8, "size": 56}


@pytest.mark.slow
def test_every_key_has_its_place_and_is_written_again():
    assert assert_complete(NAME, golden_keys(KEYS), 710).name == "videomae"
    written = to_state_dict(empty(NAME, 710), NAME, "videomae")
    assert {key: array.shape for key, array in written.items()} == {key: shape for key, shape, _ in read_keys(KEYS)}


def test_logits_are_the_references():
    expected = golden("videomaev2_vit_patch14_8x56")
    answers = compiled(load_pretrained("videomaev2_giant", expected.state, num_classes=20, **TINY))(expected.both)
    for ours, theirs in zip(answers, expected.of_both("logits"), strict=True):
        assert relative_error(ours, theirs) < 1e-5


@pytest.mark.exhaustive
def test_a_classifier_takes_the_encoder_of_the_pre_training_network():
    state, wanted = golden_keys("videomaev2_pretrain_giant_patch14_224"), shapes(NAME, 710)
    made = conversion(state, recognise(state, NAME), wanted, allow_head_mismatch=True)
    assert wanted.keys() - made.arrays.keys() == {"fc_norm.scale", "fc_norm.bias", "head.kernel", "head.bias"}
    assert all(
        key.startswith(("mask_token", "decoder.", "encoder_to_decoder.", "encoder.norm.")) for key in made.dropped
    )


def test_what_the_fine_tuning_script_saves_is_read():
    """DeepSpeed's files hold the weights as "module", others as "model"."""
    for wrapper in ("module", "model"):
        assert read_state_dict({wrapper: {"fc_norm.weight": np.zeros(2)}}).keys() == {"fc_norm.weight"}


@pytest.mark.exhaustive
def test_names_of_mmaction2_with_the_positions_of_patches_of_14_pixels():
    written = to_state_dict(empty(NAME, 710), NAME, "mmaction2")
    assert written["backbone.pos_embed"].shape == (1, 8 * 16 * 16, 1408)
    assert len(written) == 1 + len(read_keys(KEYS))
    table, wanted = recognise(written, NAME), shapes(NAME, 710)
    assert table.name == "mmaction2" and convert(written, table, wanted).keys() == wanted.keys()
