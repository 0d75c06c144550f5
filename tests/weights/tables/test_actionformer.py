"""ActionFormer's table: every key has its place, and the outputs are the reference's."""

import numpy as np
import pytest

from tests.golden import read_keys
from tests.models.abstract import filled
from tests.weights.listing import golden_keys
from tests.weights.segments import assert_complete, compare_with_golden
from tests.weights.test_write import empty
from vidjax.models.registry import abstract_model
from vidjax.models.state import split
from vidjax.weights.mapping import convert
from vidjax.weights.patterns import unfill
from vidjax.weights.read import read_state_dict
from vidjax.weights.table import sources
from vidjax.weights.torch_files import write_archive
from vidjax.weights.write import to_state_dict


def test_every_key_and_shape_has_its_place():
    assert assert_complete("actionformer_thumos_i3d", golden_keys("actionformer_thumos_i3d"), 20).name == "actionformer"


@pytest.mark.slow
def test_outputs_are_the_references(shared):
    fields = {"classes": "cls", "offsets": "offset"}
    compare_with_golden("actionformer_thumos_i3d", [576, 401], fields, shared)


def state_of_tiny(name="actionformer_tiny", classes=3, seed=0):
    """A state dict in the source's names of a small network with drawn weights, and the network."""
    model = filled(abstract_model(name, num_classes=classes), seed)
    table = next(s for s in sources() if s.name == name.removesuffix("_tiny"))
    arrays = {path: np.asarray(array) for part in split(model)[1:] for path, array in part.items()}
    state = {}
    for path, array in arrays.items():
        found = [(rule, values) for rule in table.rules if (values := unfill(rule.path, path)) is not None]
        if found:
            rule, values = found[0]
            state |= dict(zip(rule.fill(values)[0], rule.transform.inverse(array), strict=True))
    return table, state, arrays


@pytest.mark.parametrize("name", ["actionformer_tiny", "tridet_tiny"])
def test_what_is_converted_back_reads_as_it_was(name):
    table, state, arrays = state_of_tiny(name)
    again = convert(state, table, {path: array.shape for path, array in arrays.items()})
    assert arrays.keys() - again.keys() == {"positives"}
    for path, array in again.items():
        np.testing.assert_array_equal(array, arrays[path])


def test_the_moving_average_is_read_and_prefixes_are_taken_off(tmp_path):
    first, second = ({f"module.{k}": a for k, a in state_of_tiny(seed=seed)[1].items()} for seed in (0, 1))
    file = tmp_path / "epoch_034.pth.tar"
    write_archive(file, {"state_dict": first, "state_dict_ema": second})
    read = read_state_dict(file)
    assert read.keys() == {key.removeprefix("module.") for key in second}
    for key, array in read.items():
        np.testing.assert_array_equal(array, second[f"module.{key}"])


@pytest.mark.parametrize(
    ("name", "heads"), [("actionformer_tiny", ["classes"]), ("tridet_tiny", ["classes", "start", "end"])]
)
def test_with_other_classes_what_answers_for_them_starts_anew(name, heads):
    table, state, _ = state_of_tiny(name)
    shapes = {
        path: array.shape for part in split(abstract_model(name, num_classes=5))[1:] for path, array in part.items()
    }
    found = convert(state, table, shapes, allow_head_mismatch=True)
    anew = {f"head.{head}.out.conv.{leaf}" for head in heads for leaf in ("kernel", "bias")}
    assert shapes.keys() - found.keys() == {"positives"} | anew
    shapes = {
        path: array.shape for part in split(abstract_model(name, num_classes=0))[1:] for path, array in part.items()
    }
    assert convert(state, table, shapes).keys() == shapes.keys() - {"positives"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["actionformer_thumos_i3d", "tridet_thumos_i3d", "temporalmaxer_thumos_i3d"])
def test_every_key_is_written_again(name):
    written = to_state_dict(empty(name, 20), name, name.partition("_")[0])
    assert {key: array.shape for key, array in written.items()} == {key: shape for key, shape, _ in read_keys(name)}
