"""CSN's tables: every published key has its place in every named model, and the logits are the references'."""

import math

import numpy as np
import pytest

from tests.golden import read_keys
from tests.models.abstract import params_of, shapes_of
from tests.weights.answers import errors
from vidjax.models.registry import get_spec
from vidjax.weights.mapping import convert
from vidjax.weights.read import CheckpointError
from vidjax.weights.table import recognise

# name → source, table of keys here, and parameters with 400 classes (the mmaction2 README gives them in millions)
TABLES = {
    "csn_r101": ("pytorchvideo", "pytorchvideo_csn_r101", 22_213_776),
    "csn_ir_r50": ("mmaction2", "mmaction2_csn_ir50", 13_131_152),
    "csn_ir_r152": ("mmaction2", "mmaction2_csn_ir152_16x224", 29_703_568),
    "csn_ip_r152": ("mmaction2", "mmaction2_csn_ip152", 33_016_592),
}


def zeros(rows):
    """Zeros of the listed shapes that take no memory."""
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape in rows}


def keys_of(table):
    return zeros((key, shape) for key, shape, _ in read_keys(table))


def everything_has_its_place(name, state):
    shapes = shapes_of(name)
    table = recognise(state, name)
    assert table.name in get_spec(name).sources
    assert convert(state, table, shapes).keys() == shapes.keys()
    floats = [array for key, array in state.items() if not key.endswith("num_batches_tracked")]
    assert sum(array.size for array in floats) == sum(map(math.prod, shapes.values()))
    return table.name


@pytest.mark.parametrize("name", TABLES)
def test_every_key_and_shape_has_its_place(name):
    source, table, count = TABLES[name]
    assert everything_has_its_place(name, keys_of(table)) == source
    assert sum(map(math.prod, params_of(name).values())) == count


@pytest.mark.parametrize(("name", "listing"), [("csn_r101", "pytorchvideo_csn_r101"), ("csn_ir_r152", "mmaction2_csn")])
def test_published_listings_and_counts(shared, name, listing):
    rows = (shared / "reference" / "checkpoint-keys" / f"{listing}.tsv").read_text().splitlines()
    state = zeros((k, tuple(int(n) for n in s.split("x") if n)) for k, s, *_ in (row.split("\t") for row in rows))
    everything_has_its_place(name, state)
    rows = [line.split("\t") for line in (shared / "reference" / "models.tsv").read_text().splitlines()[1:]]
    assert {row[0]: int(row[1]) for row in rows}[listing] == TABLES[name][2]


def test_the_depthwise_kernel_is_the_last_of_its_sequence():
    rng = np.random.default_rng(0)
    state = keys_of("mmaction2_csn_ip152")
    keys = {"mix.conv": "backbone.layer2.1.conv2.0.conv.weight", "conv2": "backbone.layer2.1.conv2.1.conv.weight"}
    for key in keys.values():
        state[key] = rng.standard_normal(state[key].shape).astype(np.float32)
    shapes = shapes_of("csn_ip_r152")
    arrays = convert(state, recognise(state, "csn_ip_r152"), shapes)
    for path, key in keys.items():
        np.testing.assert_array_equal(arrays[f"stages.1.1.{path}.kernel"], state[key].transpose(2, 3, 4, 1, 0))


def test_the_other_kind_is_refused():
    with pytest.raises(CheckpointError, match=r"layer1\.0\.conv2\.1\.conv\.weight"):
        recognise(keys_of("mmaction2_csn_ir152_16x224"), "csn_ip_r152")
    shapes = shapes_of("csn_ir_r152")
    state = keys_of("mmaction2_csn_ip152")
    with pytest.raises(CheckpointError, match=r"layer1\.0\.conv2\.1\.conv\.weight"):
        convert(state, recognise(state, "csn_ir_r152"), shapes)


@pytest.mark.slow(first=1)
@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("mmaction2_csn_ir50_16x224", "csn_ir_r50"),
        ("pytorchvideo_csn_r101_16x224", "csn_r101"),
        ("mmaction2_csn_ir152_16x224", "csn_ir_r152"),
        ("mmaction2_csn_ip152_16x224", "csn_ip_r152"),
    ],
)
def test_logits_are_the_references(reference, name):
    assert max(errors(reference, name)) < 1e-4
