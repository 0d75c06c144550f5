"""The goldens' own rule: tensors and inputs are those that the references were given."""

import math

import numpy as np
import pytest

from tests.golden import (
    FOLDER,
    channels_last,
    coarse_noise,
    fill,
    golden,
    read_index,
    read_keys,
    relative_error,
    state_crc32,
)


@pytest.mark.parametrize("name", read_index())
def test_data_are_whole(name):
    expected = golden(name)
    outputs = [shape[0] for _, shape, _ in read_keys(expected.table) if shape]
    for logits in (expected.logits, expected.coarse_logits, expected.logits64, expected.coarse_logits64):
        assert logits.shape[0] == 2 and logits.shape[-1] in outputs
        assert np.isfinite(logits).all()
    noise, coarse = np.broadcast_to(expected.entry["float32_error"], 2)
    assert relative_error(expected.logits, expected.logits64) <= 1.1 * noise
    assert relative_error(expected.coarse_logits, expected.coarse_logits64) <= 1.1 * coarse


def of_each_reference() -> list:
    """The smallest golden of each project; those that take seconds to fill are slow tests."""
    index = read_index()
    sizes = {name: sum(math.prod(shape) for _, shape, _ in read_keys(entry["keys"])) for name, entry in index.items()}
    smallest = {index[name]["reference"].split()[0]: name for name in sorted(sizes, key=sizes.get, reverse=True)}
    return [pytest.param(name, marks=pytest.mark.slow if sizes[name] > 6e7 else ()) for name in smallest.values()]


@pytest.mark.parametrize("name", of_each_reference())
def test_filled_states_are_the_references(name):
    expected = golden(name)
    keys = read_keys(expected.table)
    assert expected.state.keys() == {key for key, _, _ in keys}
    assert state_crc32(keys, expected.state) == expected.entry["state_crc32"]


def test_every_table_can_be_read():
    for path in (FOLDER / "keys").glob("*.tsv"):
        keys = read_keys(path.stem)
        assert len({key for key, _, _ in keys}) == len(keys) > 15


def test_the_rule_by_what_a_tensor_is():
    assert abs(fill("a.weight", (64, 32, 3, 3)).std() * np.sqrt(32 * 9) - 1.25) < 0.05
    assert abs(fill("a.weight", (4096,)).mean() - 1) < 0.01
    assert fill("a.running_var", (64,)).min() >= 1
    assert abs(fill("a.bias", (4096,)).std() - 0.1) < 0.01
    assert abs(fill("cls_token", (1, 1, 4096)).std() - 0.2) < 0.02
    assert not np.array_equal(fill("a.bias", (8,)), fill("b.bias", (8,)))


def test_coarse_noise_is_constant_in_blocks():
    x = coarse_noise((2, 3, 6, 112, 60))
    assert x.shape == (2, 3, 6, 112, 60)
    assert (x[:, :, :4, :56, :56] == x[:, :, :1, :1, :1]).all()
    assert (x[:, :, 3] != x[:, :, 4]).all() and (x[..., 55] != x[..., 56]).all()
    assert channels_last(coarse_noise((2, 3, 112, 112))).shape == (2, 1, 112, 112, 3)


def test_relative_error():
    assert relative_error(np.array([3.0, 0.0]), np.array([3.0, 4.0])) == pytest.approx(0.8)
    with pytest.raises(AssertionError, match="compared"):
        relative_error(np.zeros((2, 1)), np.zeros(2))
