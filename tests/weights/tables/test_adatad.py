"""OpenTAD's AdaTAD: every key has its place, outputs are the reference's, and what is written has all its keys."""

import jax
import numpy as np
import pytest

from tests import localisation
from tests.golden import read_keys, relative_error
from tests.weights.answers import compiled
from tests.weights.listing import golden_keys, num_params, shapes
from tests.weights.test_write import empty
from vidjax.models.registry import get_spec
from vidjax.weights import load_pretrained
from vidjax.weights.mapping import convert
from vidjax.weights.read import read_state_dict
from vidjax.weights.table import recognise
from vidjax.weights.write import to_state_dict, write_file

NAME, KEYS = "adatad_videomae_small", "opentad_adatad_videomae_small"
UNUSED = ("pos_embed", "fc_norm.weight", "fc_norm.bias", "loss_normalizer")


def test_every_key_and_shape_has_its_place():
    state, wanted = golden_keys(KEYS), shapes(NAME, 20)
    table = recognise(state, NAME)
    assert table.name == "opentad" and table.name in get_spec(NAME).sources
    assert wanted.keys() - convert(state, table, wanted).keys() == {"positives"}
    assert sum(a.size for key, a in state.items() if not key.endswith(UNUSED)) == num_params(NAME, 20)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("size", "count"), [("base", 117_515_560), ("large", 345_754_676), ("huge", 689_270_076)])
def test_the_larger_ones_have_as_many_parameters_as_the_references(size, count):
    assert num_params(f"adatad_videomae_{size}", 20) == count


@pytest.mark.slow
def test_outputs_are_the_references():
    expected = localisation.arrays(KEYS)
    model = load_pretrained(NAME, localisation.state_of(KEYS))
    video = np.random.default_rng(0).standard_normal((2, 3, 32, 160, 160)).astype(np.float32)
    inputs = {"video": np.moveaxis(video, 1, -1), "mask": np.arange(32)[None] < np.array([32, 21])[:, None]}
    found = jax.tree.map(np.asarray, compiled(model)(inputs))
    np.testing.assert_array_equal(found.mask, expected["mask"])
    for ours, theirs in (("classes", "cls"), ("offsets", "offset")):
        answer, reference = (x * found.mask[..., None] for x in (getattr(found, ours), expected[f"{theirs}64"]))
        assert relative_error(answer, reference) < 1e-5
        assert relative_error(answer[1], answer[0]) > 0.1  # the clips differ


@pytest.mark.slow
def test_every_key_is_written_again_and_read(tmp_path):
    written = to_state_dict(empty(NAME, 20), NAME, "opentad")
    assert {key: array.shape for key, array in written.items()} == {
        f"module.{key}": shape for key, shape, _ in read_keys(KEYS)
    }
    write_file(tmp_path / "best.pth", written, "opentad")
    assert read_state_dict(tmp_path / "best.pth").keys() == {key for key, *_ in read_keys(KEYS)}
